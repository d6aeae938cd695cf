"""A yamux session: bytes in, events out; and frames out, for the bytes that the users of many streams queue.

An engine, not a machine: whatever has the connection calls ``receive`` and acts on the events, calls methods of the
streams, and then fetches what has to be sent with ``take_output``. Nothing that a peer sends makes it raise; the most a
peer can do is end the session, which is the event ``SessionFailed``. Source: the yamux specification.

A session is written in three layers, each a module: ``table.StreamTable`` has the streams and their common state,
``incoming.IncomingFrames`` takes the peer's bytes, and ``Session`` adds the calls of its user.
"""

from pico_core.bounds import TUNNEL_STREAMS
from pico_core.errors import LocalProtocolError
from pico_core.mux.events import MuxEvent
from pico_core.mux.frame import GO_AWAY, INITIAL_WINDOW_BYTES, MAX_UINT32, PING, SYN, GoAwayCode
from pico_core.mux.incoming import IncomingFrames
from pico_core.mux.stream import CLOSED, MANY_READY, SHORT_TURN_BYTES, TURN_BYTES, MuxStream
from pico_core.mux.windows import MIN_WINDOW_BYTES, SHARED_BYTES, SharedWindows
from pico_core.pieces import Piece

DEFAULT_WINDOW_BYTES = INITIAL_WINDOW_BYTES
"""How much a peer may have on its way or unread here, per stream: 5 MB/s at 50 ms, and the least that Go's yamux can be
set to."""


class Session(IncomingFrames):
    """One end of yamux. ``client`` is the end that connected: it opens odd stream ids, the other end even ones.

    ``max_incoming_streams`` is how many streams the peer may have open here, 0 for none: more are refused with RST.
    ``max_outgoing_streams`` is how many this end may have open there.
    ``window_bytes`` is how much the peer may have on its way or unread per stream. Streams get smaller windows while
    many are open, or more than half of ``shared_bytes`` is unread (``windows.SharedWindows``), so that none has to be
    reset for the memory that it takes. ``first_window_bytes`` is what either end may send on a new stream at first;
    yamux's own value, or what both ends agreed on. Raises ``LocalProtocolError`` for a window that yamux cannot have.

    The streams that may be open and their windows bound the unread bytes. Only a peer that also ends streams before
    their bytes are consumed can cause more: then the open stream with most of them is reset.

    Attributes to read: ``streams`` (by id, open ones only), ``failed`` (the reason, empty while the session lives),
    ``paused``, ``unread_bytes``, ``peer_going_away``, ``going_away``, ``pinged_at`` (when the peer's last ping came).
    One to set: ``opens_after_go_away``, for a peer that is known to take streams for a while after its GO_AWAY.
    """

    __slots__ = ("_max_outgoing_streams", "_next_id", "_pings_sent", "going_away", "opens_after_go_away")

    def __init__(
        self,
        *,
        client: bool,
        max_incoming_streams: int = 0,
        max_outgoing_streams: int = TUNNEL_STREAMS,
        window_bytes: int = DEFAULT_WINDOW_BYTES,
        first_window_bytes: int = INITIAL_WINDOW_BYTES,
        shared_bytes: int = SHARED_BYTES,
    ) -> None:
        if not MIN_WINDOW_BYTES <= window_bytes <= MAX_UINT32:
            raise LocalProtocolError(f"a window of {window_bytes} bytes is not possible")
        max_streams = max_incoming_streams + max_outgoing_streams
        super().__init__(
            client=client,
            max_incoming_streams=max_incoming_streams,
            windows=SharedWindows(window_bytes, first_window_bytes, shared_bytes),
            max_unread_bytes=max_streams * max(window_bytes, first_window_bytes),
        )
        self.going_away = False
        self.opens_after_go_away = False
        self._max_outgoing_streams = max_outgoing_streams
        self._next_id = 1 if client else 2
        self._pings_sent = 0

    @property
    def can_open_stream(self) -> bool:
        """Whether ``open_stream`` would succeed."""
        return (
            not (self.failed or (self.peer_going_away and not self.opens_after_go_away))
            and len(self.streams) - self._incoming < self._max_outgoing_streams
            and self._next_id <= MAX_UINT32
        )

    def open_stream(self) -> MuxStream:
        """Open a stream; bytes that are sent on it at once travel with its SYN. Next: ``send`` on it.

        Raises ``LocalProtocolError`` where ``can_open_stream`` is False.
        """
        if not self.can_open_stream:
            raise LocalProtocolError(f"no new stream: {self.failed or 'going away, or too many streams'}")
        stream = self.streams[self._next_id] = MuxStream(self, self._next_id, SYN)
        self._next_id += 2
        return stream

    @property
    def has_output(self) -> bool:
        """Whether ``take_output`` is worth a call."""
        return bool(self.output or self.ready) and (not self.paused or bool(self.failed))

    def take_output(self, limit_bytes: int) -> tuple[list[Piece], int]:
        """Return frames to send, as pieces in order, and their size: about ``limit_bytes``, or 0 when there are none.

        Frames that are ready come first, then streams take turns of ``TURN_BYTES``, or less where many are ready. Call
        again until there is none.
        """
        if self.paused and not self.failed:
            return [], 0
        pieces, size = self.output, self.output_bytes
        self.output, self.output_bytes = [], 0
        self._pongs_queued = 0
        ready = self.ready
        turn_bytes = TURN_BYTES if len(ready) <= MANY_READY else SHORT_TURN_BYTES
        while ready and size < limit_bytes:
            stream = ready.pop(0)
            stream.scheduled = False
            room = limit_bytes - size
            size += stream.write_frames(pieces, min(room, turn_bytes) if ready else room)
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
        """Go on after ``pause_output``; return a ``StreamWritable`` for each stream that waits and can go on."""
        self.paused = False
        events: list[MuxEvent] = []
        for stream in list(self.waiting.values()) if self.waiting else ():
            self._report_writable(stream, events)
        return events

    def ping(self) -> int:
        """Queue a ping; its answer is a ``PongReceived`` with the returned number. Next: ``take_output``."""
        self._pings_sent = (self._pings_sent + 1) & MAX_UINT32
        self._queue_frame(PING, SYN, 0, self._pings_sent)
        return self._pings_sent

    def go_away(self) -> None:
        """Tell the peer to open no more streams, once; those that are open go on. Next: ``take_output``.

        Streams that the peer opens all the same are taken: they crossed the GO_AWAY on their way. We can still open
        our own, which serves requests until the peer has found another place.
        """
        if not self.going_away:
            self.going_away = True
            self._queue_frame(GO_AWAY, 0, 0, GoAwayCode.NORMAL)

    def fail(self, reason: str) -> list[MuxEvent]:
        """End the session for a reason outside it, such as a lost connection.

        Returns the ``SessionFailed`` with all its streams; nothing if the session was over already.
        """
        events: list[MuxEvent] = []
        if not self.failed:
            self._end(reason, events)
        return events
