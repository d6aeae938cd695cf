"""A relay of bytes between an agent and its server, with which tests build proxies and balancers."""

import contextlib
import threading

from tests.e2e.origin import HangUpError
from tests.e2e.wire import Head, Wire, dial


def first_head(wire: Wire) -> Head:
    """Return the first head; a client that leaves before it, as one that is stopped does, ends the handler."""
    wire.buffer = wire.receive()
    if not wire.buffer:
        raise HangUpError
    return wire.receive_head()


def pump(source: Wire, sink: Wire) -> None:
    """Pass bytes on in one direction, and then the end."""
    with contextlib.suppress(OSError):
        while data := source.receive():
            sink.send(data)
        sink.send_eof()


def join(wire: Wire, port: int, first: bytes = b"") -> None:
    """Connect to a port, send ``first``, and pass bytes on in both directions until both ends are over."""
    with dial(port) as upstream:
        for each in (wire, upstream):
            each.socket.settimeout(None)
        upstream.send(first)
        back = threading.Thread(target=pump, args=(upstream, wire), daemon=True)
        back.start()
        pump(wire, upstream)
        back.join()
