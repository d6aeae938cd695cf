"""One request and its response, as messages: where the request goes, how fast, how often, and how it ends.

An exchange is made when a request head is complete. The router (of a server or an agent) then chooses an upstream and
calls ``forward``, or answers itself with ``fail``. From there the request body flows to the upstream and the response
body to the client, in pieces, each at the speed of its receiver, until the last piece, ``fail``, or the loss of the
client ends the exchange.

An exchange writes no byte of a message and knows no framing. Its two ends frame what it passes on: ``Downstream`` is
the client's side of one request, ``Upstream`` the side of the service. ``proxy.http1`` has both for HTTP/1.1.
``states`` has the life of an exchange as a drawing and as a table, with the rules behind it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from pico_core.errors import LocalProtocolError
from pico_core.http.message import MessageError, RequestHead, ResponseHead
from pico_core.machine.channel import Channel, HoldingChannel
from pico_core.pieces import Piece
from pico_core.proxy.downstream import Downstream
from pico_core.proxy.failures import Failure
from pico_core.proxy.pipe import Pipe
from pico_core.proxy.reasons import CLIENT_GONE, CLIENT_LEFT, reason_of
from pico_core.proxy.replay import Replay
from pico_core.proxy.states import CHOOSING, OVER, PIPED, REQUESTED, RESPONDING, ExchangeState
from pico_core.timers import NEVER

MAX_TRIES = 4
"""How many upstreams one request may be sent to."""


class Upstream(Protocol):
    """The side of the service, of an agent, of another node, or of an application. It frames the request."""

    @property
    def writable(self) -> bool:
        """Whether more of the request should be sent now. Next, after False: ``Exchange.request_writable``."""

    def request(
        self,
        exchange: "Exchange",
        fields: bytes,
        pieces: Sequence[Piece] = (),
        *,
        last: bool = True,
        trailers: bytes = b"",
    ) -> None:
        """Send the head of ``exchange`` with the field lines ``fields`` added, and what has come of the body."""

    def request_more(self, pieces: Sequence[Piece], *, last: bool, trailers: bytes) -> None:
        """Send more of the request body."""

    def pause_response(self) -> None:
        """Stop the service from sending more of the response. What is on its way still arrives."""

    def resume_response(self) -> None:
        """Let the service send again."""

    def upgrade(self) -> Channel:
        """Give the channel away to a pipe. Next: ``upgrade_over``."""

    def upgrade_over(self, now: float) -> None:
        """The pipe has ended; the channel is closed already."""

    def give_up(self, now: float) -> None:
        """The exchange does not want an answer any more: end this so that the service sees it at once."""


class Router(Protocol):
    """The part that decides about requests: where they go, how long they may take, and what is counted and logged."""

    idle_timeout_s: float
    """How long a step of the client may take."""
    response_timeout_s: float
    """How long a step of the upstream may take."""
    timed_out: Failure
    """How an upstream failed that did not answer in ``response_timeout_s``."""

    def begin(self, exchange: "Exchange", now: float) -> None:
        """Choose an upstream for a new exchange: call ``forward`` or ``fail``, now or later. If later: ``stamp``."""

    def answered(self, exchange: "Exchange", now: float) -> None:
        """A response has begun that did not come whole. Next, when all of it has come: ``finished``."""

    def failed(self, exchange: "Exchange", now: float) -> None:
        """Count ``exchange.failure``, and take note that the upstream failed."""

    def retry(self, exchange: "Exchange", now: float) -> None:
        """Choose again after ``exchange.failure``: call ``forward`` or ``give_up``, now or later."""

    def own_answer(self, exchange: "Exchange", status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        """Return the answer that says ``message`` and ``exchange.reason``, with the field lines ``fields``."""

    def finished(self, exchange: "Exchange", now: float) -> None:
        """Count and log an exchange that is over."""


class Exchange(msgspec.Struct, eq=False):
    """See the module's text; ``start`` makes one. ``endpoint``, ``route`` and ``avoid`` are the router's own notes.

    ``client_host`` is the client's address, behind trusted proxies and nodes too; empty in an agent. ``is_entry`` says
    that the client is connected to this process, and not to a node that forwarded the request; ``is_from_node`` says
    that a node of the cluster did, so that what it tells of the client is true. ``deadline_at`` is when something must
    have happened, in seconds on the clock of ``now``; the downstream watches it and calls ``on_deadline``. ``failure``
    is how the last upstream failed, if one did, and ``story`` how each of them did, with its route. ``reason`` is why
    the service did not answer, or not wholly (``reasons``). ``incomplete`` says which side ended a response that had
    begun: ``upstream`` or ``client``. ``acceptance`` is the 101 for a client that wants a raw stream to the service.
    A call that ``states`` does not permit raises ``LocalProtocolError``.
    """

    router: Router
    downstream: Downstream
    head: RequestHead
    started_at: float
    request_done: bool
    replay: Replay | None
    endpoint: str = ""
    client_host: str = ""
    request_id: bytes = b""
    is_entry: bool = True
    is_from_node: bool = False
    upstream: Upstream | None = None
    route: object | None = None
    avoid: tuple[object, ...] = ()
    state: ExchangeState = CHOOSING
    status: int = 0
    tries: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    deadline_at: float = NEVER
    failure: Failure | None = None
    incomplete: str = ""
    reason: str = ""
    story: tuple[tuple[Failure, object], ...] = ()
    acceptance: ResponseHead | None = None
    _pipe: Pipe | None = None

    @staticmethod
    def start(router: Router, downstream: Downstream, head: RequestHead, now: float, bodiless: bool) -> "Exchange":
        """Return the exchange for a request whose head has come. Next: ``receive``, then ``Router.begin``."""
        return Exchange(router, downstream, head, now, bodiless, None if bodiless else Replay())

    # --- the request ---

    def receive(self, pieces: list[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Take pieces of the request body; an empty list only says that the client still sends. ``last`` comes once."""
        state = self.state
        if self.request_done or state is PIPED or state is OVER:
            raise self._misused("receive")
        if pieces or last:
            size = sum(map(len, pieces))
            self.received_bytes += size
            self.request_done = last
            if self.replay is not None:
                self.replay.add(pieces, size, trailers)
                if self.replay.is_too_long and state is not CHOOSING:
                    self.replay = None
            if self.upstream is not None:
                self.upstream.request_more(pieces, last=last, trailers=trailers)
            self._match_request_speed()
        if state is not RESPONDING:
            self.stamp(now)

    def _match_request_speed(self) -> None:
        """Pause the client while its request cannot go on; once that is whole, read on, to see whether it leaves."""
        if self.request_done:
            return
        if self.upstream is not None:
            if not self.upstream.writable:
                self.downstream.pause_request()
        elif self.replay is not None and self.replay.is_full:
            self.downstream.pause_request()

    def request_writable(self, now: float) -> None:
        """The upstream takes more: the request makes progress."""
        if self.state is not REQUESTED and self.state is not RESPONDING:
            raise self._misused("request_writable")
        self.downstream.resume_request()
        self.stamp(now)

    def forward(self, upstream: Upstream, fields: bytes, now: float) -> None:
        """Send the request to ``upstream``, with the field lines ``fields`` added to its head."""
        if self.state is not CHOOSING:
            raise self._misused("forward")
        self.tries += 1
        self.state = REQUESTED
        self.upstream = upstream
        replay = self.replay
        if replay is None:
            upstream.request(self, fields)
        else:
            upstream.request(self, fields, replay.pieces, last=self.request_done, trailers=replay.trailers)
            if replay.is_too_long:
                self.replay = None
        if self.request_done:
            self.deadline_at = now + self.router.response_timeout_s
            return
        if upstream.writable:
            self.downstream.resume_request()
        else:
            self.downstream.pause_request()
        self.stamp(now)

    def stamp(self, now: float) -> None:
        """Say by when something must have happened: a step of the client, else of the upstream."""
        router = self.router
        if self.state is RESPONDING:
            self.deadline_at = NEVER if self.downstream.writable else now + router.idle_timeout_s
        elif self.request_done or (self.upstream is not None and not self.upstream.writable):
            self.deadline_at = now + router.response_timeout_s
        else:
            self.deadline_at = now + router.idle_timeout_s

    # --- the response ---

    def respond_interim(self, head: ResponseHead, now: float) -> None:
        """Pass on a 1xx head other than 101 (RFC 9110 section 15.2). It is a sign of life: time begins anew."""
        if self.state is not REQUESTED:
            raise self._misused("respond_interim")
        self.downstream.respond_interim(head, now)
        self.stamp(now)

    def respond_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Pass on a response that came in one piece, of known length: the exchange is over."""
        if self.state is not REQUESTED:
            raise self._misused("respond_whole")
        self.state = OVER
        self.upstream = None
        self.replay = None
        self.status = head.status
        self.sent_bytes = len(body)
        self.router.finished(self, now)
        self.downstream.respond_whole(head, body, now)

    def respond(
        self, head: ResponseHead, pieces: list[Piece], now: float, *, last: bool, trailers: bytes = b""
    ) -> None:
        """Pass on the final head, and the pieces of the body that came with it. Next, unless ``last``: more."""
        if self.state is not REQUESTED:
            raise self._misused("respond")
        self.status = head.status
        self.sent_bytes += sum(map(len, pieces))
        self.replay = None
        if last:
            self.upstream = None
            self._over(now)
        else:
            self.state = RESPONDING
            self.router.answered(self, now)
        self.downstream.respond(head, pieces, now, last=last, trailers=trailers)
        self._match_response_speed(now)

    def respond_more(self, pieces: list[Piece], now: float, *, last: bool, trailers: bytes = b"") -> None:
        """Pass on more of the body."""
        if self.state is not RESPONDING:
            raise self._misused("respond_more")
        self.sent_bytes += sum(map(len, pieces))
        if last:
            self.upstream = None
            self._over(now)
        self.downstream.respond_more(pieces, now, last=last, trailers=trailers)
        self._match_response_speed(now)

    def _match_response_speed(self, now: float) -> None:
        """Read from the upstream only while the client takes more."""
        if self.state is RESPONDING:
            if self.downstream.writable:
                self.deadline_at = NEVER
            else:
                if self.upstream is not None:
                    self.upstream.pause_response()
                self.stamp(now)

    def response_writable(self, now: float) -> None:
        """The client takes more."""
        if self.state is not REQUESTED and self.state is not RESPONDING:
            raise self._misused("response_writable")
        if self.upstream is not None:
            self.upstream.resume_response()
        self.stamp(now)

    def switch_protocols(self, head: ResponseHead, rest: bytes, now: float) -> None:
        """Pass on a 101 and join both sides (RFC 9110 section 7.8); only now may the client's raw bytes go through.

        Raises ``MessageError`` if the client did not ask for an upgrade.
        """
        if self.state is not REQUESTED or self.upstream is None:
            raise self._misused("switch_protocols")
        if not self.head.upgrade:
            raise MessageError(502, "switching protocols without being asked")
        self._join(self.upstream, head, rest, None, now)

    def join(
        self, upstream: Upstream, head: ResponseHead, wrap: Callable[[HoldingChannel], Channel] | None, now: float
    ) -> None:
        """Answer with ``head``, a 101 of our own, and join ``upstream`` with what ``wrap`` makes of the client."""
        if self.state is not CHOOSING:
            raise self._misused("join")
        self._join(upstream, head, b"", wrap, now)

    def _join(
        self,
        upstream: Upstream,
        head: ResponseHead,
        rest: bytes,
        wrap: Callable[[HoldingChannel], Channel] | None,
        now: float,
    ) -> None:
        self.state, self.status, self.upstream = PIPED, head.status, upstream
        self.deadline_at = NEVER
        self.router.answered(self, now)
        right = upstream.upgrade()
        channel, backlog = self.downstream.upgrade(head, rest, now)
        self._pipe = pipe = Pipe(channel if wrap is None else wrap(channel), right, self._pipe_ended)
        if backlog:
            channel.user.on_data(backlog, now)
        pipe.start()

    # --- the end ---

    def fail(self, status: int, message: str, now: float, fields: bytes = b"", reason: str = "") -> None:
        """Answer with an error of our own; ``fields`` are more field lines. Only before a response has begun.

        ``reason`` is left out where ``reasons.reason_of`` the status says it.
        """
        if self.state is not CHOOSING and self.state is not REQUESTED:
            raise self._misused("fail")
        self._give_up_upstream(now)
        self.reason = reason or reason_of(status)
        head, body = self.router.own_answer(self, status, message, fields)
        if self.head.method == b"HEAD":
            body = b""
        self.status = status
        self.sent_bytes = len(body)
        self._over(now)
        self.downstream.respond_whole(head, body, now)

    def failed(self, failure: Failure, now: float) -> None:
        """The upstream gave no response, or not the whole of one. Its side is cleaned up already.

        The request is sent elsewhere if the evidence permits it and all of it is still kept.
        """
        state = self.state
        if state is PIPED or state is OVER:
            raise self._misused("failed")
        self.upstream = None
        self.failure = failure
        self.router.failed(self, now)
        if state is RESPONDING:
            self.incomplete, self.reason = "upstream", failure.reason
            self._over(now)
            self.downstream.cut(now)
            return
        self.tries += state is CHOOSING  # it could not even be connected to
        if self.may_repeat(failure):
            self.state = CHOOSING
            self.downstream.resume_request()
            self.router.retry(self, now)
        else:
            self.give_up(now)

    def give_up(self, now: float) -> None:
        """Answer with the last failure."""
        failure = self.failure
        if failure is None or (self.state is not CHOOSING and self.state is not REQUESTED):
            raise self._misused("give_up")
        self.fail(failure.status, failure.answer, now, reason=failure.reason)

    def abandon_upstream(self, failure: Failure, now: float) -> None:
        """Do not wait any longer for an upstream that seems dead, if the request may be sent to another one."""
        if self.state is OVER:
            raise self._misused("abandon_upstream")
        if self.state is REQUESTED and self.may_repeat(failure):
            self._give_up_upstream(now)
            self.failed(failure, now)

    def may_repeat(self, failure: Failure) -> bool:
        """Return whether the request is still kept, and may be sent again after ``failure``."""
        kept = self.replay is not None or (self.request_done and not self.received_bytes)
        return kept and self.tries < MAX_TRIES and failure.permits(self.head.method)

    def client_lost(self, now: float) -> None:
        """The client is gone: the upstream must see it at once."""
        if self.state is PIPED or self.state is OVER:
            raise self._misused("client_lost")
        self._give_up_upstream(now)
        if self.state is RESPONDING:
            self.incomplete = "client"
        self.reason = CLIENT_LEFT
        self.status = self.status or CLIENT_GONE
        self._over(now)

    def client_error(self, error: MessageError, now: float) -> None:
        """The client broke the framing of its request body; the upstream is not at fault."""
        if self.state is PIPED or self.state is OVER:
            raise self._misused("client_error")
        if self.state is RESPONDING:
            self._stop_responding(now)
        else:
            self.fail(error.status, error.reason, now, reason=error.code)

    def on_deadline(self, now: float) -> None:
        """Nothing happened for too long, or a raw stream is over because the router has set a deadline for it."""
        if self.state is OVER:
            raise self._misused("on_deadline")
        if self._pipe is not None:
            self._pipe.cut(now)
        elif self.state is RESPONDING:
            self._stop_responding(now)
        elif self.request_done or self.upstream is None or not self.upstream.writable:
            self.failure = self.router.timed_out
            self.router.failed(self, now)
            self.give_up(now)
        else:
            self.fail(408, "request timeout", now)

    def _stop_responding(self, now: float) -> None:
        self._give_up_upstream(now)
        self.incomplete = "client"
        self._over(now)
        self.downstream.abort(now)

    def _give_up_upstream(self, now: float) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.give_up(now)

    def _pipe_ended(self, now: float) -> None:
        upstream, self.upstream = self.upstream, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None and upstream is not None:
            self.received_bytes += pipe.left_bytes
            self.sent_bytes += pipe.right_bytes
            upstream.upgrade_over(now)
            self._over(now)
            self.downstream.upgrade_over(now)

    def _over(self, now: float) -> None:
        self.state = OVER
        self.replay = None
        self.router.finished(self, now)

    def _misused(self, call: str) -> LocalProtocolError:
        return LocalProtocolError(f"{call} is not permitted while an exchange is {self.state.value}")
