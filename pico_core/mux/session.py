"""A yamux session: bytes in, events out; frames for many streams out of what their users queued.

An engine, not a machine: whoever owns the connection calls ``receive`` and acts on the events, calls the streams'
methods, and then fetches what has to be sent with ``take_output``. Nothing a peer sends makes it raise; the most it can
do is end the session, which is the event ``SessionFailed``. Source: the yamux specification.
"""

from typing import cast

from pico_core.errors import LocalProtocolError
from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    PongReceived,
    SessionFailed,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReset,
    StreamWritable,
)
from pico_core.mux.frame import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_BYTES,
    KNOWN_FLAGS,
    MAX_UINT32,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    GoAwayCode,
)
from pico_core.mux.stream import AFTER_PEER_END, CLOSED, HELD_BELOW_BYTES, TURN_BYTES, Stream
from pico_core.pieces import VIEW_BYTES

DEFAULT_WINDOW_BYTES = 262_144
"""What a peer may have on its way or unread here, per stream: 5 MB/s at 50 ms, and the least that yamux allows."""

MIN_WINDOW_BYTES = 2 * HELD_BELOW_BYTES
"""Below it, a sender that leaves a small rest of the window and a receiver that waits for half of it would be stuck."""

MAX_OUTGOING_STREAMS = 1_024
"""One per request in flight. Beyond it another tunnel, or a clear refusal, serves better than a longer queue."""

MAX_UNREAD_BYTES = 16_777_216
"""All streams together. Sixty-four streams with a full window reach it; more means that somebody does not read."""

MAX_PINGS_OWED = 32
"""Pings answered per output. Nobody needs more than one in flight; the rest of a flood is dropped."""

MAX_OUTPUT_BYTES = 163_840
"""Frames that may wait to be fetched: one turn's worth of data and 8,192 RST. A peer that causes more does not read."""

RESET_BURST = 4_096
"""Streams the peer may open and reset, or open in vain, at once: a load test of a thousand clients that is killed ends
so, while the rapid-reset floods of the field count hundreds of thousands. Then ``RESETS_PER_SECOND``."""

RESETS_PER_SECOND = 1_000.0


class Session:
    """Both ends of yamux. ``client`` is the end that connected: it opens odd stream ids, the other one even ids.

    ``max_incoming_streams`` is how many streams the peer may have open here, 0 for none: more are refused with RST.
    ``window_bytes`` is what the peer may have on its way or unread per stream. ``max_unread_bytes`` bounds what was
    delivered and not consumed over all streams: beyond it the stream with most unread is reset, so that one that
    stalls never slows or ends another.

    Attributes to read: ``streams`` (by id, open ones only), ``failed`` (the reason, empty while the session lives),
    ``paused``, ``unread_bytes``, ``peer_going_away``, ``going_away``.
    """

    __slots__ = (
        "_body_bytes",
        "_body_flags",
        "_body_stream",
        "_client",
        "_header",
        "_incoming",
        "_max_incoming_streams",
        "_max_outgoing_streams",
        "_max_unread_bytes",
        "_next_id",
        "_pings_owed",
        "_pings_sent",
        "_resets_left",
        "_resets_left_at",
        "credit_due_bytes",
        "failed",
        "going_away",
        "output",
        "output_bytes",
        "paused",
        "peer_going_away",
        "ready",
        "streams",
        "unread_bytes",
        "waiting",
        "window_bytes",
    )

    def __init__(
        self,
        *,
        client: bool,
        max_incoming_streams: int = 0,
        max_outgoing_streams: int = MAX_OUTGOING_STREAMS,
        window_bytes: int = DEFAULT_WINDOW_BYTES,
        max_unread_bytes: int = MAX_UNREAD_BYTES,
    ) -> None:
        if not MIN_WINDOW_BYTES <= window_bytes <= MAX_UINT32:
            raise LocalProtocolError(f"a window of {window_bytes} bytes is not possible")
        self.streams: dict[int, Stream] = {}
        self.ready: list[Stream] = []
        self.waiting: dict[int, Stream] = {}
        self.failed = ""
        self.paused = False
        self.peer_going_away = False
        self.going_away = False
        self.unread_bytes = 0
        self.window_bytes = window_bytes
        self.credit_due_bytes = (window_bytes + 1) // 2
        self._client = client
        self._next_id = 1 if client else 2
        self._incoming = 0
        self._max_incoming_streams = max_incoming_streams
        self._max_outgoing_streams = max_outgoing_streams
        self._max_unread_bytes = max_unread_bytes
        self.output: list[bytes | memoryview] = []
        self.output_bytes = 0
        self._pings_owed = 0
        self._pings_sent = 0
        self._resets_left = float(RESET_BURST)
        self._resets_left_at = 0.0
        self._header = b""
        self._body_bytes = 0
        self._body_flags = 0
        self._body_stream: Stream | None = None

    # --- our side ---

    @property
    def can_open_stream(self) -> bool:
        """Whether ``open_stream`` would succeed."""
        return (
            not (self.failed or self.peer_going_away)
            and len(self.streams) - self._incoming < self._max_outgoing_streams
            and self._next_id <= MAX_UINT32
        )

    def open_stream(self) -> Stream:
        """Open a stream; what is sent on it at once travels with its SYN.

        Raises ``LocalProtocolError`` where ``can_open_stream`` is False.
        """
        if not self.can_open_stream:
            raise LocalProtocolError(f"no new stream: {self.failed or 'going away, or too many streams'}")
        stream = self.streams[self._next_id] = Stream(self, self._next_id, SYN)
        self._next_id += 2
        return stream

    def ping(self) -> int:
        """Queue a ping; its answer is a ``PongReceived`` with the returned number."""
        self._pings_sent = (self._pings_sent + 1) & MAX_UINT32
        self._queue_frame(PING, SYN, 0, self._pings_sent)
        return self._pings_sent

    def go_away(self, code: GoAwayCode = GoAwayCode.NORMAL) -> None:
        """Tell the peer to open no more streams, once; those that are open go on.

        Streams that the peer opens all the same are taken: they crossed the GO_AWAY on their way. We can still open
        our own, which serves requests until the peer has found another place.
        """
        if not self.going_away:
            self.going_away = True
            self._queue_frame(GO_AWAY, 0, 0, code)

    def fail(self, reason: str) -> list[MuxEvent]:
        """End the session for a reason outside it, such as a lost connection: all streams are gone."""
        events: list[MuxEvent] = []
        if not self.failed:
            self._end(reason, events)
        return events

    def end_by_reset(self, stream: Stream) -> None:
        """Carry out ``Stream.reset``."""
        if not stream.unknown_to_peer:
            self._queue_frame(WINDOW_UPDATE, RST, stream.id, 0)
        self._forget(stream)

    # --- output ---

    @property
    def has_output(self) -> bool:
        """Whether ``take_output`` is worth a call."""
        return bool(self.output or self.ready) and (not self.paused or bool(self.failed))

    def take_output(self, limit_bytes: int) -> tuple[list[bytes | memoryview], int]:
        """Return frames to send, as pieces in order, and their size: about ``limit_bytes``, or 0 when there are none.

        What was framed already comes first, then streams take turns of ``TURN_BYTES``. Call again until there is none.
        """
        if self.paused and not self.failed:
            return [], 0
        pieces, size = self.output, self.output_bytes
        self.output, self.output_bytes = [], 0
        self._pings_owed = 0
        ready = self.ready
        while ready and size < limit_bytes:
            stream = ready.pop(0)
            stream.scheduled = False
            room = limit_bytes - size
            size += stream.write_frames(pieces, min(room, TURN_BYTES) if ready else room)
            if stream.state is CLOSED:
                self._forget(stream)
            elif stream.sendable_bytes:
                stream.schedule()
        return pieces, size

    def pause_output(self) -> None:
        """Keep everything back until ``resume_output``: the connection's send buffer is full.

        Answers wait as well, within bounds: a peer that makes us answer and reads nothing cannot fill the buffer.
        """
        self.paused = True

    def resume_output(self) -> list[MuxEvent]:
        """Go on after ``pause_output``; returns a ``StreamWritable`` for each stream whose user waits and can go on."""
        self.paused = False
        events: list[MuxEvent] = []
        for stream in list(self.waiting.values()):
            self._report_writable(stream, events)
        return events

    def _queue_frame(self, kind: int, flags: int, stream_id: int, value: int) -> None:
        self.output.append(HEADER.pack(kind, flags, stream_id, value))
        self.output_bytes += HEADER_BYTES

    # --- input ---

    def receive(self, data: bytes | memoryview, now: float) -> list[MuxEvent]:
        """Take bytes from the peer, cut anywhere, and return what they mean. Next: ``take_output``."""
        events: list[MuxEvent] = []
        self.feed(data, now, events)
        return events

    def feed(self, data: bytes | memoryview, now: float, events: list[MuxEvent]) -> None:
        """As ``receive``, appending to ``events``. Small data frames that came in one piece are handled right here."""
        size = len(data)
        at = 0
        is_bytes = isinstance(data, bytes)
        while at < size and not self.failed:
            if self._body_bytes:
                at = self._continue_body(data, at, now, events)
                continue
            if self._header or size - at < HEADER_BYTES:
                missing = HEADER_BYTES - len(self._header)
                self._header += data[at : at + missing]
                at += missing
                if len(self._header) < HEADER_BYTES:
                    return
                kind, flags, stream_id, length = HEADER.unpack(self._header)
                self._header = b""
            else:
                kind, flags, stream_id, length = HEADER.unpack_from(data, at)
                at += HEADER_BYTES
            if kind == DATA:
                stream = self.streams.get(stream_id)
                end = at + length
                if (
                    stream is None
                    or flags
                    or end > size
                    or not 0 < length < VIEW_BYTES
                    or length > stream.receive_window_bytes
                ):
                    self._begin_body(flags, stream_id, length, now, events)
                else:
                    stream.receive_window_bytes -= length
                    stream.unread_bytes += length
                    self.unread_bytes += length
                    piece = data[at:end]
                    events.append(StreamData(stream, piece if is_bytes else bytes(piece)))
                    if self.unread_bytes > self._max_unread_bytes:
                        self._reset_greediest(events)
                    at = end
            elif kind == WINDOW_UPDATE:
                self._receive_window_update(flags, stream_id, length, now, events)
            elif kind == PING:
                self._receive_ping(flags, stream_id, length, events)
            elif kind == GO_AWAY:
                self._receive_go_away(flags, stream_id, length, events)
            else:
                self._break_off(f"unknown version or frame type {kind:#06x}", events)

    def _begin_body(self, flags: int, stream_id: int, length: int, now: float, events: list[MuxEvent]) -> None:
        """Check a data header that the fast path left. Bytes for a stream that is gone, or resets now, are skipped."""
        stream = self._stream_of(flags, stream_id, now, events)
        if self.failed:
            return
        if stream is not None:
            if length > stream.receive_window_bytes:
                self._break_off(f"stream {stream_id}: {length} bytes beyond the window", events)
                return
            stream.receive_window_bytes -= length
        if length:
            self._body_bytes = length
            self._body_flags = flags
            self._body_stream = stream
        if not length or flags & RST:
            self._finish_frame(stream, flags, now, events)

    def _continue_body(self, data: bytes | memoryview, at: int, now: float, events: list[MuxEvent]) -> int:
        """Take the next part of a data frame's body and return where it ends."""
        end = min(at + self._body_bytes, len(data))
        stream = self._body_stream
        self._body_bytes -= end - at
        if stream is not None and stream.state is not CLOSED:
            self._deliver(stream, data, at, end, events)
        if not self._body_bytes:
            self._body_stream = None
            self._finish_frame(stream, self._body_flags, now, events)
        return end

    def _deliver(self, stream: Stream, data: bytes | memoryview, at: int, end: int, events: list[MuxEvent]) -> None:
        """Hand over a part of a body: a large one as a view, unless that keeps much more memory alive than it shows."""
        size = end - at
        piece: bytes | memoryview
        if size < VIEW_BYTES:
            piece = bytes(data[at:end])
        else:
            # A view is always of bytes here: it comes from the WebSocket decoder or from our own caller.
            whole = data if isinstance(data, bytes) else cast("bytes", data.obj)
            piece = memoryview(data)[at:end] if size * 4 >= len(whole) else bytes(data[at:end])
        stream.unread_bytes += size
        self.unread_bytes += size
        events.append(StreamData(stream, piece))
        if self.unread_bytes > self._max_unread_bytes:
            self._reset_greediest(events)

    def _receive_window_update(
        self, flags: int, stream_id: int, delta: int, now: float, events: list[MuxEvent]
    ) -> None:
        stream = (
            self._stream_of(flags, stream_id, now, events) if flags or not stream_id else self.streams.get(stream_id)
        )
        if stream is None:
            return
        stream.send_window_bytes += delta
        if stream.send_window_bytes > MAX_UINT32:
            self._break_off(f"stream {stream_id}: window beyond 32 bits", events)
            return
        if stream.sendable_bytes:
            stream.schedule()
        if self.waiting and not self.paused and stream_id in self.waiting:
            self._report_writable(stream, events)
        if flags:
            self._finish_frame(stream, flags, now, events)

    def _receive_ping(self, flags: int, stream_id: int, number: int, events: list[MuxEvent]) -> None:
        if stream_id or flags not in (SYN, ACK):
            self._break_off(f"ping with flags {flags:#x} on stream {stream_id}", events)
        elif flags == ACK:
            events.append(PongReceived(number))
        elif self._pings_owed < MAX_PINGS_OWED:
            self._pings_owed += 1
            self._queue_frame(PING, ACK, 0, number)

    def _receive_go_away(self, flags: int, stream_id: int, code: int, events: list[MuxEvent]) -> None:
        if stream_id or flags:
            self._break_off(f"go away with flags {flags:#x} on stream {stream_id}", events)
        elif not self.peer_going_away:
            self.peer_going_away = True
            events.append(GoAwayReceived(code))

    # --- streams ---

    def _stream_of(self, flags: int, stream_id: int, now: float, events: list[MuxEvent]) -> Stream | None:
        """Return the stream of a frame, opened now if it carries SYN; ``None`` if it is gone, refused, or an error."""
        if flags & ~KNOWN_FLAGS:
            self._break_off(f"unknown flags {flags:#x}", events)
        elif not stream_id:
            self._break_off("stream 0 used for a stream", events)
        elif not flags & SYN:
            return self.streams.get(stream_id)
        elif stream_id % 2 == self._client:
            self._break_off(f"stream {stream_id} opened with an id of the other side", events)
        elif stream_id in self.streams:
            self._break_off(f"stream {stream_id} opened while in use", events)
        elif self.output_bytes > MAX_OUTPUT_BYTES:
            self._break_off("the peer does not read our answers", events)
        elif self._incoming >= self._max_incoming_streams:
            self._queue_frame(WINDOW_UPDATE, RST, stream_id, 0)
            self._charge(now, events)
        else:
            stream = self.streams[stream_id] = Stream(self, stream_id, ACK)
            self._incoming += 1
            events.append(StreamOpened(stream))
            return stream
        return None

    def _finish_frame(self, stream: Stream | None, flags: int, now: float, events: list[MuxEvent]) -> None:
        """Apply what the flags say about the end of the stream, once all data of the frame was delivered."""
        if stream is None or stream.state is CLOSED:
            return
        if flags & RST:
            self._drop(stream, events)
            if self._is_incoming(stream):
                self._charge(now, events)
        elif flags & FIN and stream.state in AFTER_PEER_END:
            stream.state = AFTER_PEER_END[stream.state]
            stream.receive_window_bytes = 0
            events.append(StreamEnded(stream))
            if stream.state is CLOSED:
                self._forget(stream)

    def _is_incoming(self, stream: Stream) -> bool:
        return stream.id % 2 != self._client

    def _forget(self, stream: Stream) -> None:
        """Keep nothing of a stream that is over. Its unread bytes stay counted until they are consumed."""
        del self.streams[stream.id]
        self._incoming -= self._is_incoming(stream)
        self.waiting.pop(stream.id, None)
        if stream.scheduled:
            self.ready.remove(stream)
        self._silence(stream)

    def _silence(self, stream: Stream) -> None:
        stream.state = CLOSED
        stream.scheduled = False
        stream.queue.clear()
        stream.pending_bytes = 0

    def _drop(self, stream: Stream, events: list[MuxEvent]) -> None:
        self._forget(stream)
        self.unread_bytes -= stream.unread_bytes
        stream.unread_bytes = 0
        events.append(StreamReset(stream))

    def _reset_greediest(self, events: list[MuxEvent]) -> None:
        stream = max(self.streams.values(), key=lambda each: each.unread_bytes)
        self._queue_frame(WINDOW_UPDATE, RST, stream.id, 0)
        self._drop(stream, events)

    def _report_writable(self, stream: Stream, events: list[MuxEvent]) -> None:
        if stream.pending_bytes < stream.send_window_bytes:
            del self.waiting[stream.id]
            events.append(StreamWritable(stream))

    # --- the end ---

    def _charge(self, now: float, events: list[MuxEvent]) -> None:
        """Take a token for a stream the peer opened in vain; without one left, it is a flood."""
        earned = (now - self._resets_left_at) * RESETS_PER_SECOND
        self._resets_left = min(float(RESET_BURST), self._resets_left + earned) - 1.0
        self._resets_left_at = now
        if self._resets_left < 0.0 and not self.failed:
            self._break_off("too many streams opened in vain", events)

    def _break_off(self, reason: str, events: list[MuxEvent]) -> None:
        """End the session for what the peer did, and tell it."""
        self._queue_frame(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR)
        self._end(reason, events)

    def _end(self, reason: str, events: list[MuxEvent]) -> None:
        self.failed = reason
        streams = tuple(self.streams.values())
        for stream in streams:
            self._silence(stream)
            stream.unread_bytes = 0
        self.streams.clear()
        self.waiting.clear()
        self.ready.clear()
        self.unread_bytes = 0
        self._incoming = 0
        self._header = b""
        self._body_bytes = 0
        self._body_stream = None
        events.append(SessionFailed(reason, streams))
