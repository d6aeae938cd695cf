"""Gossip over TCP: the connections that other nodes open to us, and those that our own engine asks for.

A stream works in turns, one after the other, so that a message of many thousand entries delays nothing else for long.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from pico_core.client_group import client_group
from pico_core.gossip.bucket import Bucket
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import SendStreamData, StreamRequest
from pico_core.gossip.sealing.refusals import SealError
from pico_core.gossip.streams import TURN_US, InboundStream
from pico_core.gossip.wire.records import WireError
from pico_core.machine.admission import Dismissible
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, Logger
from pico_core.machine.turns import TURN_PAUSE_S
from pico_core.pieces import Piece
from pico_core.server import gossip_budget
from pico_core.server.gossip_budget import StreamBudget
from pico_core.timers import NEVER

CarryOut: TypeAlias = Callable[[float], None]
"""Does what the engine wants done after it was fed."""

STREAM_TIMEOUT_S = 10.0
"""How long a peer may take to send its request, and then to take the answer."""
STRANGER_PAUSE_S = 0.05
"""The pause where only work for strangers is due and its budget is spent: that grows by 2.5 ms meanwhile."""
STRANGERS_US_PER_S = 50_000
"""The work for peers that have not answered us: five percent of a core."""
STRANGERS_SPARE_US = 500_000
"""Work that may gather while none is done: newcomers get the 100,000 endpoints of a cluster in a few turns."""
TURNS_US_PER_S = 800_000
"""The work of all streams, in microseconds: a fifth of a core is left to requests, however much gossip comes."""
TURNS_SPARE_US = 2 * TURN_US
"""Work that is done as bytes arrive, in the same turn of the loop; a small message needs a tenth of it."""


class GossipHost(Connector, Logger, Protocol):
    """The part of the machine that a stream needs."""


class Task(Protocol):
    """A stream that has work to do."""

    is_stranger: bool

    @property
    def can_work(self) -> bool:
        """Whether a turn is due, and its outcome can be sent."""

    def turn(self, now: float) -> float:
        """Work for one turn; return how long that takes, in microseconds."""


class GossipStreams:
    """All gossip streams of a node, with their bounds and turns."""

    def __init__(self, host: GossipHost, gossip: Gossip, carry_out: CarryOut) -> None:
        self.host = host
        self.gossip = gossip
        self.carry_out = carry_out
        self.strangers = StreamBudget(
            gossip_budget.STRANGER_STREAMS,
            gossip_budget.STRANGER_STREAMS_PER_HOST,
            gossip_budget.STRANGER_BYTES,
            gossip_budget.STRANGER_BYTES_PER_HOST,
            client_group,
        )
        self.members = StreamBudget(
            gossip_budget.MEMBER_STREAMS,
            gossip_budget.MEMBER_STREAMS_PER_HOST,
            gossip_budget.MEMBER_BYTES,
            gossip_budget.MEMBER_BYTES_PER_HOST,
        )
        self._opened: dict[int, OutboundGossipStream] = {}
        self._due: dict[Task, None] = {}
        self._is_scheduled = False
        self._turns = Bucket(TURNS_US_PER_S, TURNS_SPARE_US, 0.0)
        self._strangers_turns = Bucket(STRANGERS_US_PER_S, STRANGERS_SPARE_US, 0.0)

    def accept(self, channel: TcpChannel, now: float) -> bool:
        """Serve a peer's stream; return whether there is room for it. If not: close it; the peer tries again soon."""
        stream = self.gossip.accept_stream(channel.host, now)
        if stream is not None:
            InboundGossipStream(self, stream, channel, now)
        return stream is not None

    def open(self, request: StreamRequest, now: float) -> None:
        """Open a stream for our own engine."""
        self._opened[request.number] = OutboundGossipStream(self, request, now)

    def send(self, data: SendStreamData) -> None:
        """Send more on a stream of our own engine."""
        stream = self._opened.get(data.number)
        if stream is not None:
            stream.send(data.data)

    def closed(self, number: int) -> None:
        """A stream of our own engine is over."""
        self._opened.pop(number, None)

    def work(self, task: Task, now: float) -> None:
        """Let a stream work: now if there was little work of late, else in turn."""
        if not self._due and self._may_work(task, now):
            self._turn_of(task, now)
        if task.can_work:
            self._due[task] = None
            self._schedule(now + TURN_PAUSE_S)

    def forget(self, task: Task) -> None:
        """Give no more turns to a stream that has ended."""
        self._due.pop(task, None)

    def _may_work(self, task: Task, now: float) -> bool:
        return self._turns.has(0.0, now) and (not task.is_stranger or self._strangers_turns.has(0.0, now))

    def _turn_of(self, task: Task, now: float) -> None:
        spent_us = task.turn(now)
        self._turns.take(spent_us)
        if task.is_stranger:
            self._strangers_turns.take(spent_us)
        self.carry_out(now)

    def _schedule(self, at: float) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.host.timers.schedule(at, self._next_turn)

    def _next_turn(self, now: float) -> None:
        """Let the next stream work, and plan the turn after it."""
        self._is_scheduled = False
        pause_s = TURN_PAUSE_S
        for task in list(self._due):
            if not task.can_work:
                del self._due[task]
            elif self._may_work(task, now):
                del self._due[task]
                self._turn_of(task, now)
                if task.can_work:
                    self._due[task] = None
                pause_s = TURN_PAUSE_S
                break
            else:
                pause_s = STRANGER_PAUSE_S
        if self._due:
            self._schedule(now + pause_s)


class InboundGossipStream(Dismissible):
    """A join or leave that another node sends."""

    def __init__(self, streams: GossipStreams, stream: InboundStream, channel: TcpChannel, now: float) -> None:
        self.deadline_at = now + STREAM_TIMEOUT_S
        self.host = channel.host
        self.size_bytes = 0
        self.is_stranger = not streams.gossip.has_answered(channel.host)
        self._streams = streams
        self._channel = channel
        self._stream = stream
        self._has_ended = False
        self._is_answering = False
        self._budget = streams.strangers if self.is_stranger else streams.members
        self._budget.add(self, now)
        channel.user = self
        streams.host.timers.watch(self, now)

    @property
    def can_work(self) -> bool:
        """Whether a turn is due, and the peer takes its outcome."""
        return not self._has_ended and self._stream.is_busy and self._channel.writable

    @property
    def idle_since(self) -> float:
        """Since when the request is not whole: a node sends it at once."""
        return self.deadline_at - STREAM_TIMEOUT_S

    def dismiss(self, now: float) -> None:
        """End the connection: others need its place."""
        self._end()

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes; answer when the request is whole. What it has to work on is worked on before more is read."""
        if not self._budget.grow(self, len(data), now):
            return
        try:
            self._stream.gather(bytes(data))
        except WireError as error:
            self._malformed(error)
            return
        self._streams.work(self, now)
        if self._stream.is_busy:
            self._channel.pause_reading()

    def turn(self, now: float) -> float:
        """Work for one turn; return how long that takes, in microseconds."""
        before_us = self._stream.spent_us
        try:
            output = self._stream.work(now)
        except WireError as error:
            self._malformed(error)
            return self._stream.spent_us - before_us
        if output:
            self._channel.send(output)
            if not self._is_answering:
                self._is_answering = True
                self.deadline_at = now + STREAM_TIMEOUT_S
        if self._stream.is_done:
            self._end()
        elif not self._stream.is_busy:
            self._channel.resume_reading()
        return self._stream.spent_us - before_us

    def on_eof(self, now: float) -> None:
        """No more comes: it ended early, unless the request is here."""
        if not self._stream.is_busy:
            self._end()

    def on_lost(self, now: float) -> None:
        """The peer's connection has ended: drop the request, whatever is there of it."""
        self._end()

    def on_writable(self, now: float) -> None:
        """The peer takes more of the answer."""
        self._streams.work(self, now)

    def on_deadline(self, now: float) -> None:
        """End a stream that takes too long."""
        self._end()

    def give_way(self, now: float) -> None:
        """End, since other streams need the room."""
        self._streams.host.warn("gossip", "too many or too large gossip streams", host=self.host)
        self._end()

    def _malformed(self, error: WireError) -> None:
        host = self._streams.host
        if isinstance(error, SealError):
            host.warn("gossip", str(error), host=self.host)
            if error.answer:
                self._channel.send(error.answer)
        else:
            self._streams.gossip.counters.malformed += 1
            host.warn("gossip", "malformed stream", host=self.host, reason=str(error))
        self._end()

    def _end(self) -> None:
        self._has_ended = True
        self.deadline_at = NEVER
        self._budget.remove(self)
        self._streams.forget(self)
        self._streams.host.timers.unwatch(self)
        self._channel.close()


class OutboundGossipStream:
    """A join, repair or leave of ours."""

    is_stranger = False

    def __init__(self, streams: GossipStreams, request: StreamRequest, now: float) -> None:
        self.deadline_at = now + request.timeout_s
        self.host = request.host
        self.size_bytes = 0
        self._streams = streams
        self._gossip = streams.gossip
        self._request = request
        self._has_ended = False
        self._has_eof = False
        self._channel: TcpChannel | None = None
        streams.host.connect(request.host, request.port, request.timeout_s, self)

    @property
    def can_work(self) -> bool:
        """Whether a turn is due."""
        return not self._has_ended and self._gossip.is_stream_busy(self._request.number)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Send the request."""
        self._channel = channel
        channel.user = self
        self._streams.members.add(self, now)
        self._streams.host.timers.watch(self, now)
        channel.send(self._request.data)

    def send(self, data: bytes) -> None:
        """Send more of the request."""
        if self._channel is not None:
            self._channel.send(data)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The peer cannot be reached."""
        self._streams.host.log("debug", "gossip", "no answer", addr=self._request.host, reason=reason)
        self._fail(now)

    def on_data(self, data: Piece, now: float) -> None:
        """Take the answer."""
        if not self._streams.members.grow(self, len(data), now):
            return
        if self._gossip.stream_received(self._request.number, bytes(data), now):
            self._end()
            self._streams.carry_out(now)
        else:
            self._streams.carry_out(now)
            self._streams.work(self, now)

    def turn(self, now: float) -> float:
        """Work for one turn; return how long that takes, in microseconds."""
        if self._gossip.stream_work(self._request.number, now):
            self._end()
        elif self._has_eof and not self.can_work:
            self._fail(now)
        return TURN_US

    def on_eof(self, now: float) -> None:
        """No more comes: it ended early, unless the answer is here."""
        self._has_eof = True
        if not self.can_work:
            self._fail(now)

    def on_lost(self, now: float) -> None:
        """It is gone: as after the end of what it sent."""
        self.on_eof(now)

    def on_writable(self, now: float) -> None:
        """The request is on its way."""

    def on_deadline(self, now: float) -> None:
        """Give up a stream that takes too long."""
        self._fail(now)

    def give_way(self, now: float) -> None:
        """End, since other streams need the room."""
        self._fail(now)

    def _fail(self, now: float) -> None:
        self._end()
        self._gossip.stream_failed(self._request.number, now)
        self._streams.carry_out(now)

    def _end(self) -> None:
        self._has_ended = True
        self.deadline_at = NEVER
        self._streams.members.remove(self)
        self._streams.forget(self)
        self._streams.closed(self._request.number)
        self._streams.host.timers.unwatch(self)
        if self._channel is not None:
            self._channel.close()
