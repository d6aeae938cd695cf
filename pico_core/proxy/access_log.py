"""The access log: one line per request, for ``boundary.AccessLog``: the inside of a JSON object, formatted as bytes.

The query string is left out: it may hold secrets. So are all header fields.
"""

import re

from pico_core.machine.parts import Emitter
from pico_core.proxy.exchange import Exchange
from pico_core.records import AccessLog

_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
"""What needs no escaping in JSON."""

_LINE = (
    b'"subsystem":"%b","method":"%b","path":"%b","endpoint":"%b","status":%d,'
    b'"client":"%b","duration_ms":%.3f,"request_bytes":%d,"response_bytes":%d'
)


class AccessLogger:
    """Gathers the lines of a turn and emits them as one batch. ``subsystem`` is what the lines are filed under."""

    def __init__(self, emitter: Emitter, subsystem: str) -> None:
        self._emitter = emitter
        self._subsystem = subsystem.encode()
        self._lines: list[bytes] = []

    def add(self, exchange: Exchange, client: bytes, now: float) -> None:
        """Log an exchange that is over; ``client`` is the address it came from."""
        head = exchange.head
        self._append(
            _LINE
            % (
                self._subsystem,
                head.method,
                _escaped(head.target.partition(b"?")[0]),
                _escaped(exchange.endpoint.encode()),
                exchange.status,
                _escaped(client),
                (now - exchange.started_at) * 1000,
                exchange.received_bytes,
                exchange.sent_bytes,
            )
            + (b',"incomplete":"%b"' % exchange.incomplete.encode() if exchange.incomplete else b"")
        )

    def add_refused(self, status: int, client: bytes) -> None:
        """Log bytes that were not a request."""
        self._append(b'"subsystem":"%b","status":%d,"client":"%b"' % (self._subsystem, status, _escaped(client)))

    def flush(self, now: float) -> None:
        """Emit what was gathered."""
        if self._lines:
            self._emitter.emit(AccessLog(tuple(self._lines)))
            self._lines.clear()

    def _append(self, line: bytes) -> None:
        if not self._lines:
            self._emitter.mark_dirty(self)
        self._lines.append(line)


def _escaped(text: bytes) -> bytes:
    if _PLAIN.fullmatch(text):
        return text
    return b"".join(b"%c" % byte if _PLAIN.fullmatch(b"%c" % byte) else b"\\u%04x" % byte for byte in text)
