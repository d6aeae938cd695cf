"""The streams of a session and all that they share: turns, frames to send, unread bytes, and the end."""

from pico_core.mux.events import MuxEvent, SessionFailed, StreamReset, StreamWritable
from pico_core.mux.frame import GO_AWAY, HEADER, HEADER_BYTES, RST, WINDOW_UPDATE, GoAwayCode
from pico_core.mux.stream import MuxStream
from pico_core.mux.windows import SharedWindows
from pico_core.pieces import Piece


class StreamTable:
    """The lowest of the three layers of a session; ``session.Session`` lists the attributes that are there to read.

    It implements ``stream.StreamHost``. For the layers above, ``ready`` holds the streams that want a turn at the next
    output, in order. ``waiting`` holds those that their user found not writable, by id, and is made for the first of
    them. ``output`` holds the frames made since the last output, ``output_bytes`` in all.
    """

    __slots__ = (
        "_client",
        "_incoming",
        "_max_unread_bytes",
        "failed",
        "output",
        "output_bytes",
        "paused",
        "ready",
        "streams",
        "unread_bytes",
        "waiting",
        "windows",
    )

    def __init__(self, *, client: bool, windows: SharedWindows, max_unread_bytes: int) -> None:
        self.streams: dict[int, MuxStream] = {}
        self.ready: list[MuxStream] = []
        self.waiting: dict[int, MuxStream] | None = None
        self.output: list[Piece] = []
        self.output_bytes = 0
        self.paused = False
        self.failed = ""
        self.unread_bytes = 0
        self.windows = windows
        self._client = client
        self._incoming = 0  # how many of the streams the peer opened
        self._max_unread_bytes = max_unread_bytes

    def end_by_reset(self, stream: MuxStream) -> None:
        """Carry out ``MuxStream.reset``."""
        if not stream.unknown_to_peer:
            # An ACK that is due goes with the RST: without one it would say that the stream was never accepted.
            self._queue_frame(WINDOW_UPDATE, RST | stream.flags_due, stream.id, 0)
        self._forget(stream)

    def wait(self, stream: MuxStream) -> None:
        """Report when a stream that was found not writable is writable again."""
        if self.waiting is None:
            self.waiting = {}
        self.waiting[stream.id] = stream

    def _queue_frame(self, kind: int, flags: int, stream_id: int, value: int) -> None:
        self.output.append(HEADER.pack(kind, flags, stream_id, value))
        self.output_bytes += HEADER_BYTES

    def _report_writable(self, stream: MuxStream, events: list[MuxEvent]) -> None:
        if self.waiting and stream.pending_bytes < stream.send_window_bytes:
            del self.waiting[stream.id]
            events.append(StreamWritable(stream))

    def _reset_most_unread(self, events: list[MuxEvent]) -> None:
        """Reset the stream with most unread bytes. Open streams cannot hold that many, so ended ones hold most."""
        stream = max(self.streams.values(), key=lambda each: each.unread_bytes)
        self._queue_frame(WINDOW_UPDATE, RST, stream.id, 0)
        self._drop(stream, events)

    def _is_incoming(self, stream: MuxStream) -> bool:
        """Say whether the peer opened the stream: the client has the odd ids, the server the even ones."""
        return stream.id % 2 != self._client

    def _drop(self, stream: MuxStream, events: list[MuxEvent]) -> None:
        """End a stream in both directions for a reason its user has not given, and tell the user."""
        self._forget(stream)
        self.unread_bytes -= stream.unread_bytes
        stream.unread_bytes = 0
        events.append(StreamReset(stream))

    def _forget(self, stream: MuxStream) -> None:
        """Keep nothing of a stream that is over. Its unread bytes stay counted until they are consumed."""
        del self.streams[stream.id]
        self._incoming -= self._is_incoming(stream)
        if self.waiting:
            self.waiting.pop(stream.id, None)
        if stream.scheduled:
            self.ready.remove(stream)
        stream.silence()

    def _break_off(self, reason: str, events: list[MuxEvent]) -> None:
        """End the session because the peer broke a rule, and tell the peer."""
        self._queue_frame(GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR)
        self._end(reason, events)

    def _end(self, reason: str, events: list[MuxEvent]) -> None:
        self.failed = reason
        streams = tuple(self.streams.values())
        for stream in streams:
            stream.silence()
            stream.unread_bytes = 0
        self.streams.clear()
        self.waiting = None
        self.ready.clear()
        self.unread_bytes = 0
        self._incoming = 0
        events.append(SessionFailed(reason, streams))
