"""The far end of an exchange that the inspector has begun: the response is recorded, and no client gets it."""

from collections.abc import Sequence

from pico_core.agent.inspector.captured_request import CapturedRequest
from pico_core.errors import LocalProtocolError
from pico_core.http.message import ResponseHead
from pico_core.machine.channel import HoldingChannel
from pico_core.machine.parts import AnsweringHost
from pico_core.pieces import Piece
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.timers import NEVER

REPLAY_TIMEOUT_S = 120.0
"""How long a replay may take; the response of an endless stream is cut then."""


class ReplayDownstream:
    """A ``Downstream``. Set ``exchange`` and ``record``, then call ``start``."""

    def __init__(self, host: AnsweringHost) -> None:
        self.client = ClientFacts("")
        self.exchange: Exchange | None = None
        self.record: CapturedRequest | None = None
        self.writable = True
        self._timers = host.timers
        self._latest_at = NEVER

    def start(self, now: float) -> None:
        """Watch the deadlines of the exchange, and the one of every replay."""
        self._latest_at = now + REPLAY_TIMEOUT_S
        self._timers.watch(self, now)

    @property
    def deadline_at(self) -> float:
        """When something must have happened."""
        return self._latest_at if self.exchange is None else min(self._latest_at, self.exchange.deadline_at)

    def on_deadline(self, now: float) -> None:
        """The service is silent, or takes too long in all."""
        exchange = self.exchange
        if exchange is not None and now >= self._latest_at:
            exchange.client_lost(now)
            self._over(now)
        elif exchange is not None:
            exchange.on_deadline(now)

    def _over(self, now: float) -> None:
        self.exchange = None
        self._timers.unwatch(self)
        if self.record is not None:
            self.record.end(now)

    # --- as the downstream of the exchange ---

    def pause_request(self) -> None:
        """Do nothing: all of the request has come."""

    def resume_request(self) -> None:
        """Do nothing: all of the request has come."""

    def limit_request(self, most_bytes: int) -> None:
        """Do nothing: all of the request has come."""

    def respond_interim(self, head: ResponseHead, now: float) -> None:
        """Do nothing: the final response is what counts."""

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Record the response."""
        self.respond(head, (body,), now, last=True)

    def respond(
        self, head: ResponseHead, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        """Record the head, and the part of the body that came with it."""
        if self.record is not None:
            self.record.respond(head, pieces, now)
        if last:
            self._over(now)

    def respond_more(self, pieces: Sequence[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Record more of the body."""
        if self.record is not None:
            self.record.add_response(pieces)
        if last:
            self._over(now)

    def cut(self, now: float) -> None:
        """The response ends before its end."""
        self._over(now)

    def abort(self, now: float) -> None:
        """End at once."""
        self._over(now)

    def upgrade(self, head: ResponseHead, rest: bytes, now: float) -> tuple[HoldingChannel, bytes]:
        """Raise ``LocalProtocolError``: ``replaying`` refuses to repeat a request for an upgrade."""
        raise LocalProtocolError("a replay is not upgraded")

    def upgrade_over(self, now: float) -> None:
        """Do nothing: a replay is never upgraded."""
