"""IDs of requests: what joins the lines of a client's request in the logs of nodes and agents.

The node that a client is connected to makes one for each request and tells it in ``X-Pico-Request-ID``: to the service,
to the other nodes and the agent on the way, and to the client where the answer is an error.
"""

import re
from collections.abc import Iterator

from pico_core.entropy import Entropy
from pico_core.http.message import MessageError

MAX_PASSES = 16
"""How often one request may come back as a client's. Services that call each other through Pico and pass fields on come
to a handful; beyond that an agent's service leads to the server again, in a circle."""

_PASSES = re.compile(rb"-([1-9][0-9]?)\Z")

_TAILS = tuple(b"%02x" % number for number in range(256))


def request_ids(entropy: Entropy) -> Iterator[bytes]:
    """Yield IDs of 16 hexadecimal digits without end.

    256 of them have the same beginning, which is drawn at random: to draw each ID would cost a microsecond more.
    """
    while True:
        beginning = b"%014x" % entropy.getrandbits(56)
        for tail in _TAILS:
            yield beginning + tail


def next_pass(known: bytes, fresh: bytes) -> bytes:
    """Return the ID of a client's request that has the ID ``known`` already: ``fresh``, and how often it came back.

    A service passed the fields of its own request on. Raises ``MessageError`` (508) where that goes in a circle.
    """
    match = _PASSES.search(known)
    passes = (int(match[1]) if match else 0) + 1
    if passes > MAX_PASSES:
        raise MessageError(508, "the request comes back again and again", "loop")
    return fresh + b"-%d" % passes
