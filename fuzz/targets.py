"""Parsers as functions of bytes: what Hypothesis and the coverage-guided mode both run.

A target raises nothing, whatever the bytes are: it asserts that they mean the same whole and in pieces, where they come
from a stream. ``corpus/NAME`` has beginnings for the target of that name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from fuzz.test_client_address import outcome as proxy_header
from fuzz.test_gossip import outcome_of
from fuzz.test_http import compare
from fuzz.test_http import outcome as messages
from fuzz.test_tls import both
from fuzz.test_tokens import gate
from fuzz.test_tokens import outcome as access
from fuzz.test_websocket import decode
from pico_core.gossip.wire.reading import decode_datagram
from pico_core.websocket.decoding import FrameDecoder

CORPUS: Final = Path(__file__).parent / "corpus"

MAX_BYTES: Final = 4_096


def request(data: bytes) -> None:
    """A connection of a client."""
    _stream(data, response=False)


def response(data: bytes) -> None:
    """A connection of a service."""
    _stream(data, response=True)


def _stream(data: bytes, *, response: bool) -> None:
    whole = messages(data, [], response=response)
    compare(whole, messages(data, [len(data) // 3, len(data) // 2], response=response))
    compare(whole, messages(data, list(range(len(data))), response=response))


def frames(data: bytes) -> None:
    """Frames of a WebSocket; the first byte says which end reads them."""
    masked, rest = data[:1] == b"\x01", data[1:]
    whole = decode(FrameDecoder(masked=masked), [rest] if rest else [])
    assert decode(FrameDecoder(masked=masked), [rest[place : place + 1] for place in range(len(rest))]) == whole


def datagram(data: bytes) -> None:
    """A packet of gossip."""
    outcome_of(decode_datagram, data)


def token(data: bytes) -> None:
    """The value of Authorization."""
    access(gate(), data)


def proxied(data: bytes) -> None:
    """The header of a balancer, versions 1 and 2."""
    proxy_header(data)


def tls(data: bytes) -> None:
    """Records for a server that expects a handshake."""
    _, server = both([], [])
    if data:
        server.take(data)
    assert not server.heard


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each for each in (request, response, frames, datagram, token, proxied, tls)
}


def seeds(name: str) -> list[bytes]:
    """Return the corpus of a target."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
