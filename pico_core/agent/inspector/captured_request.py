"""One request with its response, as it is kept: without credentials, and without what is beyond the bound of a body."""

from collections.abc import Sequence
from typing import Protocol

from pico_core.agent.inspector.decoding import UnknownCodingError, codings_of, decode
from pico_core.agent.inspector.redaction import HIDDEN, HiddenValues, Redaction, UnsearchableError
from pico_core.agent.inspector.searching import Searches, Steps, finished
from pico_core.http.message import RequestHead, ResponseHead, field_values
from pico_core.pieces import Piece
from pico_core.proxy.exchange import Exchange
from pico_core.timers import NEVER

MAX_LIVE_BYTES = 262_144
"""Of a body that is shown before it was searched: its beginning is searched for each viewer."""

OVERHEAD_BYTES = 2_048
"""The bytes that a record takes beside its texts and bodies."""


class Keeper(Protocol):
    """The part of the store that a record needs."""

    redaction: Redaction
    most_body_bytes: int

    searches: Searches

    def changed(self, more_bytes: int) -> None:
        """Note that a record is another one than before, and takes ``more_bytes`` of memory."""


class Body:
    """One body. ``size`` is its length on the wire, without framing; ``data`` is what is kept of it.

    Until ``seal`` the data is as it came. ``is_cut`` says that more came than is kept, ``is_redacted`` that
    credentials were taken out of it, and ``note`` why nothing is kept.
    """

    __slots__ = ("codings", "data", "is_cut", "is_over", "is_redacted", "is_sealed", "media_type", "note", "size")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.size = 0
        self.media_type = b""
        self.codings: list[bytes] = []
        self.is_cut = False
        self.is_over = False
        self.is_redacted = False
        self.is_sealed = False
        self.note = ""

    def describe(self, fields: bytes) -> None:
        """Take the type and the codings from the fields of the head."""
        lower = b"\r\n" + fields.lower()
        at = lower.find(b"\r\ncontent-type:")
        if at >= 0:
            begin = at + len(b"\r\ncontent-type:")
            self.media_type = lower[begin : lower.find(b"\r\n", begin)].strip(b" \t")
        if b"\r\ncontent-encoding:" in lower:
            self.codings = codings_of(b",".join(field_values(fields, b"content-encoding")))

    def add(self, pieces: Sequence[Piece], most_bytes: int) -> int:
        """Keep the bytes that came, as far as there is room; return the number of bytes kept."""
        before = len(self.data)
        if self.is_over or self.is_sealed:
            return 0
        for piece in pieces:
            self.size += len(piece)
            room = most_bytes - len(self.data)
            if len(piece) <= room:
                if isinstance(self.data, bytes):
                    self.data = bytearray(self.data)
                self.data += piece
            elif room > 0:
                self.data = bytearray(self.data)
                self.data += piece[:room]
                self.is_cut = True
            else:
                self.is_cut = True
        return len(self.data) - before

    def drop(self, note: str) -> None:
        """Keep nothing of it; say why."""
        self.data, self.note, self.is_sealed = b"", note, True

    def seal(self, redaction: Redaction, values: HiddenValues, most_bytes: int) -> Steps[None]:
        """Take credentials out, once the body has ended. It is kept as it came where there are none."""
        if self.is_sealed:
            return
        if not self.data or redaction.shows_all:
            self.data, self.is_sealed = bytes(self.data), True
            return
        try:
            shown, content, is_all = yield from self.shown(redaction, values, most_bytes)
        except UnknownCodingError:
            self.drop("its content coding cannot be undone here, so it cannot be searched for credentials")
        except UnsearchableError as error:
            self.drop(str(error))
        else:
            self._keep(shown, content, is_all=is_all)

    def _keep(self, shown: bytes, content: bytes, *, is_all: bool) -> None:
        if self.is_sealed:
            return  # the record has left meanwhile
        self.is_sealed = True
        if shown is content and is_all:
            self.data = bytes(self.data)
            return
        self.data, self.codings = shown, []
        self.is_cut = self.is_cut or not is_all
        self.is_redacted = shown is not content

    def shown(self, redaction: Redaction, values: HiddenValues, most_bytes: int) -> Steps[tuple[bytes, bytes, bool]]:
        """Return in steps the content without credentials, and with them, and whether all that is kept is in it.

        ``most_bytes`` are looked at.
        """
        content, is_all = bytes(self.data[:most_bytes]), len(self.data) <= most_bytes
        if self.codings:
            content, is_all = yield from decode(content, self.codings, most_bytes)
        if self.is_sealed:
            return content, content, is_all
        shown = yield from redaction.body(content, self.media_type, values)
        return values.hide_end(shown) if self.is_cut or not is_all else shown, content, is_all


class CapturedRequest:
    """See the module's text. Times are in seconds on the clock of ``now``, ``wall_s`` since the epoch.

    ``fields`` are field lines of the request, Host and those about the client among them. ``state`` is ``live``,
    ``whole``, or ``incomplete``. ``is_over`` says that nothing more comes, and that the bodies have been searched for
    credentials; ``is_gone`` that the store has dropped it.
    """

    __slots__ = (
        "_keeper",
        "_values",
        "ended_at",
        "endpoint",
        "fields",
        "first_byte_at",
        "host",
        "id",
        "incomplete",
        "is_gone",
        "is_over",
        "is_upgrade",
        "method",
        "proto",
        "reason",
        "replay_of",
        "request",
        "request_at",
        "request_id",
        "response",
        "response_fields",
        "started_at",
        "status",
        "target",
        "tries",
        "wall_s",
    )  # fmt: skip

    def __init__(
        self, number: int, keeper: Keeper, exchange: Exchange, lines: bytes, now: float, wall_s: float
    ) -> None:
        """``lines`` are the field lines that the service gets beside those of the head."""
        self._keeper = keeper
        self._values = values = HiddenValues()
        head: RequestHead = exchange.head
        redaction = keeper.redaction
        self.id = number
        self.endpoint = exchange.endpoint
        self.method = head.method
        self.fields = redaction.fields(head.fields + lines, values)
        self.target = redaction.target(head.target, values)
        self.host = head.host
        self.proto = b"https" if head.forwarded_proto.lower() == b"https" else b"http"
        self.request_id = head.request_id
        self.is_upgrade = bool(head.upgrade)
        self.request = Body()
        self.request.describe(head.fields)
        self.response = Body()
        self.response_fields = b""
        self.status = 0
        self.reason = ""
        self.incomplete = ""
        self.tries = 0
        self.replay_of = 0
        self.started_at = now
        self.wall_s = wall_s
        self.request_at = now
        self.first_byte_at = NEVER
        self.ended_at = NEVER
        self.is_gone = False
        self.is_over = False

    @property
    def memory_bytes(self) -> int:
        """How much memory it takes, nearly."""
        texts = len(self.fields) + len(self.target) + len(self.response_fields)
        return OVERHEAD_BYTES + texts + len(self.request.data) + len(self.response.data)

    # --- what happens to it ---

    def add_request(self, pieces: Sequence[Piece]) -> None:
        """More of the request's body has come."""
        if not self.is_gone:
            self._keeper.changed(self.request.add(pieces, self._keeper.most_body_bytes))

    def respond(self, head: ResponseHead, pieces: Sequence[Piece], now: float) -> None:
        """The final head has come, and some of the body."""
        if self.is_gone:
            return
        self.status = head.status
        self.first_byte_at = now
        self.response_fields = self._keeper.redaction.fields(head.fields, self._values)
        self.response.describe(head.fields)
        more = len(self.response_fields) + self.response.add(pieces, self._keeper.most_body_bytes)
        self._keeper.changed(more)

    def add_response(self, pieces: Sequence[Piece]) -> None:
        """More of the response's body has come."""
        if not self.is_gone:
            self._keeper.changed(self.response.add(pieces, self._keeper.most_body_bytes))

    def finished(self, exchange: Exchange) -> None:
        """The exchange is over, as the router is told; the last of the response may be still to come."""
        self.status = exchange.status
        self.reason = exchange.reason
        self.incomplete = exchange.incomplete
        self.tries = exchange.tries
        if exchange.acceptance is not None or exchange.status == 101:
            self.request.size, self.response.size = exchange.received_bytes, exchange.sent_bytes

    def end(self, now: float) -> None:
        """Nothing more comes: take the credentials out of the bodies."""
        if self.ended_at != NEVER:
            return
        self.ended_at = now
        self.request.is_over = self.response.is_over = True
        size = 0 if self.is_gone else len(self.request.data) + len(self.response.data)
        self._keeper.searches.begin(self._search(), size, now)

    def _search(self) -> Steps[None]:
        keeper = self._keeper
        for body in (self.request, self.response):
            before = len(body.data)
            yield from body.seal(keeper.redaction, self._values, keeper.most_body_bytes)
            if not self.is_gone and len(body.data) != before:
                keeper.changed(len(body.data) - before)
        self.is_over = True
        if not self.is_gone:
            before = self.memory_bytes
            # What the request has of a value that only the response names, and the other way round.
            self.fields, self.target = self._values.hide(self.fields), self._values.hide(self.target)
            keeper.changed(self.memory_bytes - before)
        self._values.forget()

    def leave(self) -> None:
        """Give the memory back: the store has dropped it, and what still comes is not recorded."""
        self.is_gone = True
        self.request.drop("")
        self.response.drop("")
        self._values.forget()

    # --- what is told of it ---

    @property
    def state(self) -> str:
        """How it stands."""
        if not self.is_over:
            return "live"
        return "incomplete" if self.incomplete or not self.status else "whole"

    def content(self, body: Body) -> bytes:
        """Return a body for people: decoded, and without credentials.

        Until the record is over, that is the beginning of it.
        """
        if not body.data:
            return b""
        most = self._keeper.most_body_bytes if body.is_sealed else MAX_LIVE_BYTES
        try:
            return finished(body.shown(self._keeper.redaction, self._values, most))[0]
        except (UnknownCodingError, UnsearchableError):
            return b""

    @property
    def hidden_fields(self) -> list[bytes]:
        """The names of the fields that a replay leaves out."""
        return [name for name, value in field_pairs(self.fields) if HIDDEN in value]


def field_pairs(fields: bytes) -> list[tuple[bytes, bytes]]:
    """Return field lines as names, as they are spelt, and values."""
    lines = fields.split(b"\r\n")[:-1]
    return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
