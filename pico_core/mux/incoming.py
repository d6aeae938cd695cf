"""The incoming side of a session: the peer's bytes are cut into frames, and each frame is checked and carried out."""

from typing import cast

from pico_core.mux.budget import ResetBudget
from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    PongReceived,
    StreamAccepted,
    StreamData,
    StreamEnded,
    StreamOpened,
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
)
from pico_core.mux.stream import AFTER_FIN, CLOSED, PEER, MuxStream
from pico_core.mux.table import StreamTable
from pico_core.mux.windows import SharedWindows
from pico_core.pieces import VIEW_BYTES, Piece
from pico_core.timers import NEVER

MAX_PONGS_PER_OUTPUT = 32
"""Pings answered per output. No peer needs more than one in flight; the rest of a flood is dropped."""

NOT_YET = -NEVER
"""When the peer of a new session has pinged last."""

MAX_OUTPUT_BYTES = 163_840
"""Frames that may wait to be fetched: one turn's worth of data and 8,192 RST. A peer that causes more does not read."""


class IncomingFrames(StreamTable):
    """The middle layer of a session: ``receive`` and ``feed``, on top of the table of streams.

    It is a layer and not an object beside the table because a call from one to the other per frame would show.
    """

    __slots__ = (
        "_body_bytes",
        "_body_flags",
        "_body_stream",
        "_header",
        "_max_incoming_streams",
        "_pongs_queued",
        "_resets",
        "frames_left",
        "peer_going_away",
        "pinged_at",
    )

    def __init__(
        self, *, client: bool, max_incoming_streams: int, windows: SharedWindows, max_unread_bytes: int
    ) -> None:
        super().__init__(client=client, windows=windows, max_unread_bytes=max_unread_bytes)
        self.peer_going_away = False
        self.pinged_at = NOT_YET
        self._max_incoming_streams = max_incoming_streams
        self._resets: ResetBudget | None = None  # made for the first one
        self._pongs_queued = 0
        self.frames_left = 0
        self._header = b""  # the beginning of a cut frame header
        self._body_bytes = 0  # the rest of a data frame that is arriving, with these flags and for this stream
        self._body_flags = 0
        self._body_stream: MuxStream | None = None

    def receive(self, data: Piece, now: float) -> list[MuxEvent]:
        """Take bytes from the peer, cut anywhere, and return their events. Never raises. Next: ``take_output``."""
        events: list[MuxEvent] = []
        self.frames_left = len(data)
        self.feed(data, now, events)
        return events

    def feed(self, data: Piece, now: float, events: list[MuxEvent]) -> int:
        """As ``receive``, but append to ``events``, take at most ``frames_left`` frames; return their size in bytes.

        For a caller that has several pieces at once, and sets ``frames_left`` before the first. Small data frames that
        came in one piece, which are nearly all of them, are handled right here.
        """
        size = len(data)
        at = 0
        is_bytes = isinstance(data, bytes)
        left = self.frames_left
        while at < size and left and not self.failed:
            left -= 1
            if self._body_bytes:
                at = self._continue_body(data, at, now, events)
                continue
            if self._header or size - at < HEADER_BYTES:
                missing = HEADER_BYTES - len(self._header)
                self._header += data[at : at + missing]
                at += missing
                if len(self._header) < HEADER_BYTES:
                    break
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
                        self._reset_most_unread(events)
                    at = end
            elif kind == WINDOW_UPDATE:
                self._receive_window_update(flags, stream_id, length, now, events)
            elif kind == PING:
                self._receive_ping(flags, stream_id, length, now, events)
            elif kind == GO_AWAY:
                self._receive_go_away(flags, stream_id, length, events)
            else:
                self._break_off(f"unknown version or frame type {kind:#06x}", events)
        self.frames_left = left
        return at

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

    def _continue_body(self, data: Piece, at: int, now: float, events: list[MuxEvent]) -> int:
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

    def _deliver(self, stream: MuxStream, data: Piece, at: int, end: int, events: list[MuxEvent]) -> None:
        """Hand over a part of a body: a large one as a view, unless that keeps much more memory than it shows.

        While the session is short of memory it is copied in any case: what one reader leaves would keep what others
        took.
        """
        size = end - at
        piece: Piece
        if size < VIEW_BYTES:
            piece = bytes(data[at:end])
        else:
            # A view is always of bytes here: it comes from the WebSocket decoder or from our own caller.
            whole = data if isinstance(data, bytes) else cast("bytes", data.obj)
            is_view = size * 4 >= len(whole) and not self.windows.is_short(self.unread_bytes)
            piece = memoryview(data)[at:end] if is_view else bytes(data[at:end])
        stream.unread_bytes += size
        self.unread_bytes += size
        events.append(StreamData(stream, piece))
        if self.unread_bytes > self._max_unread_bytes:
            self._reset_most_unread(events)

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

    def _receive_ping(self, flags: int, stream_id: int, number: int, now: float, events: list[MuxEvent]) -> None:
        if stream_id or flags not in (SYN, ACK):
            self._break_off(f"ping with flags {flags:#x} on stream {stream_id}", events)
        elif flags == ACK:
            events.append(PongReceived(number))
        else:
            self.pinged_at = now
            if self._pongs_queued < MAX_PONGS_PER_OUTPUT:
                self._pongs_queued += 1
                self._queue_frame(PING, ACK, 0, number)

    def _receive_go_away(self, flags: int, stream_id: int, code: int, events: list[MuxEvent]) -> None:
        if stream_id or flags:
            self._break_off(f"go away with flags {flags:#x} on stream {stream_id}", events)
        elif not self.peer_going_away:
            self.peer_going_away = True
            events.append(GoAwayReceived(code))

    def _stream_of(self, flags: int, stream_id: int, now: float, events: list[MuxEvent]) -> MuxStream | None:
        """Return the stream of a frame, opened now if it carries SYN; ``None`` if it is gone, refused, or an error."""
        if flags & ~KNOWN_FLAGS:
            self._break_off(f"unknown flags {flags:#x}", events)
        elif not stream_id:
            self._break_off("stream 0 used for a stream", events)
        elif not flags & SYN:
            stream = self.streams.get(stream_id)
            if flags & ACK and stream is not None and not stream.accepted:
                stream.accepted = True
                events.append(StreamAccepted(stream))
            return stream
        elif stream_id % 2 == self._client:
            self._break_off(f"stream {stream_id} opened with an id of the other side", events)
        elif stream_id in self.streams:
            self._break_off(f"stream {stream_id} opened while in use", events)
        elif self.output_bytes > MAX_OUTPUT_BYTES:
            self._break_off("the peer does not read our answers", events)
        elif self._incoming >= self._max_incoming_streams:
            self._queue_frame(WINDOW_UPDATE, RST, stream_id, 0)
            self._count_reset(now, events)
        else:
            stream = self.streams[stream_id] = MuxStream(self, stream_id, ACK)
            self._incoming += 1
            events.append(StreamOpened(stream))
            return stream
        return None

    def _finish_frame(self, stream: MuxStream | None, flags: int, now: float, events: list[MuxEvent]) -> None:
        """Apply a FIN or RST among the flags, once all data of the frame was delivered."""
        if stream is None or stream.state is CLOSED:
            return
        if flags & RST:
            self._drop(stream, events)
            if self._is_incoming(stream):
                self._count_reset(now, events)
        elif flags & FIN:
            state = AFTER_FIN[stream.state].get(PEER)
            if state is not None:
                stream.state = state
                stream.receive_window_bytes = 0
                events.append(StreamEnded(stream))
                if state is CLOSED:
                    self._forget(stream)

    def _count_reset(self, now: float, events: list[MuxEvent]) -> None:
        """Count a stream that the peer opened without a use; too many of them are a flood and end the session."""
        if self._resets is None:
            self._resets = ResetBudget()
        if not self._resets.spend(now):
            self._break_off("too many streams opened in vain", events)

    def _end(self, reason: str, events: list[MuxEvent]) -> None:
        super()._end(reason, events)
        self._header = b""
        self._body_bytes = 0
        self._body_stream = None
