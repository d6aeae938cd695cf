"""Questions to the admin ports of other nodes, on behalf of somebody whom this node has let in."""

from pico_core.cluster.view import RemoteNode
from pico_core.config.tls import PEERS_PROFILE
from pico_core.config.values import server_url
from pico_core.errors import ConfigError
from pico_core.machine.parts import Connector
from pico_core.plain.client import MAX_RESPONSE_BODY_BYTES, PlainAsker, PlainRequest
from pico_core.server.facts import Facts

FORWARD_TIMEOUT_S = 5.0
"""Less than a client of the admin port waits, so that the answer can still say which node did not answer."""


def ask_node(
    host: Connector,
    facts: Facts,
    peer: RemoteNode,
    path: str,
    credentials: bytes,
    asker: PlainAsker,
    now: float,
    max_body_bytes: int = MAX_RESPONSE_BODY_BYTES,
) -> bool:
    """Ask a node for a path, and return whether it has a usable address. Next, if so: ``asker`` is told of the outcome.

    ``credentials`` are those of the client that asks; empty where no token is asked for.
    """
    try:
        origin = server_url(f"http://{peer.admin_addr or ''}")
    except ConfigError:  # the node itself reports it, so it may be anything
        return False
    fields = [("x-pico-authorization", credentials.decode("latin-1"))] if credentials else []
    tls = PEERS_PROFILE if facts.config.admin.tls.enabled else ""
    PlainRequest(
        host, origin, path, asker, FORWARD_TIMEOUT_S, now, fields=fields, tls=tls, max_body_bytes=max_body_bytes
    )
    return True
