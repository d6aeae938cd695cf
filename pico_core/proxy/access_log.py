"""The access log: one line per request, for ``boundary.AccessLog``: the inside of a JSON object, formatted as bytes.

The query string is left out: it may hold secrets. So are all header fields.
"""

import re

from pico_core.machine.parts import Emitter
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.reasons import REASONS
from pico_core.proxy.trace_context import trace_parent
from pico_core.records import AccessLog

_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
"""Bytes that need no escaping in JSON."""

_LINE = (
    b'"subsystem":"%b","method":"%b","path":"%b","endpoint":"%b","status":%d,'
    b'"client":"%b","duration_ms":%.3f,"request_bytes":%d,"response_bytes":%d,"request_id":"%b","hop":"%b","tries":%d'
)


class AccessLogger:
    """Gathers the lines of a turn and emits them as one batch. ``subsystem`` is what the lines are filed under.

    ``hop`` is what a line calls this process where the request did not come from its client: a node that has the
    ``tunnel``, or the ``agent``.
    """

    __slots__ = ("_emitter", "_hop", "_lines", "_subsystem")

    def __init__(self, emitter: Emitter, subsystem: str, hop: str) -> None:
        self._emitter = emitter
        self._hop = hop.encode()
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
                exchange.request_id,
                b"entry" if exchange.is_entry else self._hop,
                exchange.tries,
            )
            + _more(exchange)
        )

    def add_refused(self, status: int, client: bytes, reason: str, request_id: bytes) -> None:
        """Log bytes that were not a request."""
        line = b'"subsystem":"%b","status":%d,"client":"%b","request_id":"%b","reason":"%b","by":"server"'
        self._append(line % (self._subsystem, status, _escaped(client), request_id, reason.encode()))

    def flush(self, now: float) -> None:
        """Emit what was gathered."""
        if self._lines:
            self._emitter.emit(AccessLog(tuple(self._lines)))
            self._lines.clear()

    def _append(self, line: bytes) -> None:
        if not self._lines:
            self._emitter.mark_dirty(self)
        self._lines.append(line)


def _more(exchange: Exchange) -> bytes:
    """Return the fields that only some lines have."""
    more = b""
    if exchange.reason:
        more = b',"reason":"%b","by":"%b"' % (exchange.reason.encode(), REASONS[exchange.reason].by.encode())
    if exchange.incomplete:
        more += b',"incomplete":"%b"' % exchange.incomplete.encode()
    fields = exchange.head.fields
    # A search more, for names that are written in capitals, would cost each line a tenth more.
    if b"raceparent" in fields and (found := trace_parent(fields)):
        more += b',"trace_id":"%b"' % found.trace_id.encode()
    return more


def _escaped(text: bytes) -> bytes:
    if _PLAIN.fullmatch(text):
        return text
    return b"".join(b"%c" % byte if _PLAIN.fullmatch(b"%c" % byte) else b"\\u%04x" % byte for byte in text)
