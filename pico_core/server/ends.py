"""The ends of an exchange at a server's ports, in HTTP/1.1: no other module of the server names their classes.

A second protocol is chosen here, by what a connection has agreed on.
"""

from pico_core.machine.channel import HoldingChannel
from pico_core.machine.parts import AnsweringHost
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.http1.source import RequestSource
from pico_core.proxy.http1.upstream import UpstreamConnection
from pico_core.proxy.kept import KeptUpstream, UpstreamSource


def serve_client(
    channel: HoldingChannel, source: RequestSource, host: AnsweringHost, client: ClientFacts, now: float
) -> None:
    """Serve the requests that come on a client's channel; ``source`` decides about each of them."""
    DownstreamConnection(channel, source, host, client, now)


def keep_upstream(channel: HoldingChannel, source: UpstreamSource) -> KeptUpstream:
    """Return an upstream that sends its requests on ``channel``, one after another."""
    return UpstreamConnection(channel, source)
