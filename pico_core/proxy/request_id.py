"""IDs of requests: what joins the lines of a client's request in the logs of nodes and agents.

The node that a client is connected to makes one for each request and tells it in ``X-Pico-Request-ID``: to the service,
to the other nodes and the agent on the way, and to the client where the answer is an error.
"""

from collections.abc import Iterator

from pico_core.entropy import Entropy

_TAILS = tuple(b"%02x" % number for number in range(256))


def request_ids(entropy: Entropy) -> Iterator[bytes]:
    """Yield IDs of 16 hexadecimal digits without end.

    256 of them have the same beginning, which is drawn at random: to draw each ID would cost a microsecond more.
    """
    while True:
        beginning = b"%014x" % entropy.getrandbits(56)
        for tail in _TAILS:
            yield beginning + tail
