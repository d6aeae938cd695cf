"""One stream of a yamux session: the bytes that wait to be sent, the windows of both directions, and how it ends."""

from enum import Enum
from typing import Any, Protocol

from pico_core.boundary import Data
from pico_core.errors import LocalProtocolError
from pico_core.mux.frame import ACK, DATA, FIN, HEADER, HEADER_BYTES, SYN, WINDOW_UPDATE
from pico_core.mux.windows import HELD_BELOW_BYTES, SharedWindows
from pico_core.pieces import Piece, compact

TURN_BYTES = 65_536
"""How much one stream may send before the next has its turn: a quarter of a message, so that four bulk streams share
each message."""

SHORT_TURN_BYTES = 16_384
"""How much while more than ``MANY_READY`` streams wait for their turn. A short answer waits for the turns of all the
others, and what a reader does not take is kept for it."""

MANY_READY = 64
"""With whole turns, so many streams take 4 MiB a round."""


class StreamState(Enum):
    """Which ends of a stream still send. ``CLOSED`` also stands for reset: nothing is sent or received any more."""

    OPEN = "open"
    LOCAL_ENDED = "local ended"
    PEER_ENDED = "peer ended"
    CLOSED = "closed"


class Sender(Enum):
    """The end that sent a FIN."""

    LOCAL = "local"
    PEER = "peer"


# How a stream ends.
#
# A stream is two half-streams, one in each direction. Each ends with a FIN from its sender, in either order, and the
# other half goes on: a client may send all of its question, FIN included, before the answer begins. When the second
# half ends, the stream is CLOSED and the session forgets it; late frames for its id are skipped.
#
# A RST from either end leads from every state straight to CLOSED, and so does the end of the session. Neither is in the
# table, because neither depends on the state.
#
# A FIN that is missing in the table changes nothing: a second one from the peer is ignored, since it does no harm, and
# we never send two. CLOSED is never left; the id is not used again.
AFTER_FIN: dict[StreamState, dict[Sender, StreamState]] = {
    StreamState.OPEN: {Sender.LOCAL: StreamState.LOCAL_ENDED, Sender.PEER: StreamState.PEER_ENDED},
    StreamState.LOCAL_ENDED: {Sender.PEER: StreamState.CLOSED},
    StreamState.PEER_ENDED: {Sender.LOCAL: StreamState.CLOSED},
    StreamState.CLOSED: {},
}

# As globals because they are needed for every frame: on CPython 3.11 a member costs 110 ns to look up in its class.
CLOSED = StreamState.CLOSED
PEER_ENDED = StreamState.PEER_ENDED
LOCAL = Sender.LOCAL
PEER = Sender.PEER


class StreamHost(Protocol):
    """The part of a session that its streams use (``table.StreamTable``)."""

    output: list[Piece]
    """Frames made since the last output, ``output_bytes`` in all."""
    output_bytes: int
    paused: bool
    streams: "dict[int, MuxStream]"
    """Those that are open, by id."""
    unread_bytes: int
    """Of all streams."""
    windows: SharedWindows
    ready: "list[MuxStream]"
    """Streams that want a turn at the next output."""

    def wait(self, stream: "MuxStream") -> None:
        """Report when a stream that was found not writable is writable again."""

    def end_by_reset(self, stream: "MuxStream") -> None:
        """Forget the stream and tell the peer, if it knows of it."""


class MuxStream:
    """One duplex byte stream. Comes from ``Session.open_stream`` or a ``StreamOpened`` event; never made by hand.

    To send: ``send`` while ``writable``, then ``send_eof``. To receive: ``consume`` what ``StreamData`` brought. To
    give up: ``reset``. After any of them the frames wait for ``Session.take_output``.

    ``owner`` is free for the user of the stream. All other attributes belong to the session and are there to read.
    Sending never fails because of the peer: on a stream that is gone it does nothing, since the peer may have reset it
    a moment ago, in an event that the caller has not reached yet.

    Until the peer's end of stream, the receiving side keeps one balance. Every byte of the session's ``window_bytes``
    is in one of four places: the peer may send it (``receive_window_bytes``), it is the rest of a frame that is
    arriving, it has arrived (``unread_bytes``), or it was consumed and is not granted again yet (``credit_bytes``). The
    stream's own window, ``limit_bytes``, is what the peer may have of them: all, or less while the session is short of
    memory (``windows.SharedWindows``). So a peer whose data is consumed is never left with less than half of it.
    """

    __slots__ = (
        "accepted",
        "credit_bytes",
        "due_bytes",
        "eof_queued",
        "flags_due",
        "granted_before_bytes",
        "granted_bytes",
        "id",
        "limit_bytes",
        "owner",
        "pending_bytes",
        "queue",
        "receive_window_bytes",
        "recent_consumed_bytes",
        "recent_turnover_bytes",
        "scheduled",
        "send_window_bytes",
        "session",
        "state",
        "unread_bytes",
    )

    def __init__(self, session: StreamHost, stream_id: int, flags_due: int) -> None:
        """``flags_due`` (SYN or ACK) go out with the first frame, whatever its type.

        ``accepted`` says that the peer has acknowledged a stream which this end opened.
        """
        self.id = stream_id
        self.owner: Any = None
        self.session = session
        self.state = StreamState.OPEN
        self.queue: list[Piece] = []
        self.pending_bytes = 0
        windows = session.windows
        first_bytes = windows.first_bytes
        self.send_window_bytes = first_bytes
        self.receive_window_bytes = first_bytes
        self.unread_bytes = 0
        # Below zero when our window is smaller than the first one: then the first credit is withheld.
        self.credit_bytes = windows.window_bytes - first_bytes
        # How much credit makes a window update. What a larger window has room for at once goes with the first frame.
        self.due_bytes = 0 if self.credit_bytes > 0 else windows.window_bytes - windows.window_bytes // 2
        self.limit_bytes = min(first_bytes, windows.window_bytes)
        self.granted_before_bytes = windows.granted_bytes
        self.granted_bytes = 0  # consumed of it and granted again, since it was opened
        self.recent_consumed_bytes = self.recent_turnover_bytes = 0  # at the last grants (``SharedWindows``)
        self.flags_due = flags_due
        self.accepted = False
        self.eof_queued = False
        self.scheduled = True
        session.ready.append(self)

    @property
    def writable(self) -> bool:
        """Whether more should be sent now. After it was False, one ``StreamWritable`` says that it is True again."""
        if self.state is CLOSED:
            return False
        if self.pending_bytes < self.send_window_bytes and not self.session.paused:
            return True
        self.session.wait(self)
        return False

    def send(self, data: Data) -> None:
        """Queue bytes for the next ``take_output``, also beyond the window. Next: look at ``writable``.

        Raises ``LocalProtocolError`` after ``send_eof``.
        """
        if self.state is CLOSED:
            return
        if self.eof_queued:
            raise LocalProtocolError(f"stream {self.id}: data after the end of stream")
        size = len(data) if isinstance(data, bytes) else sum(map(len, data))
        if not size:
            return
        session = self.session
        if not (self.scheduled or self.pending_bytes or session.paused) and size <= self.send_window_bytes:
            # Nothing waits in front: frame it now, as long as streams that wait for a turn keep most of the message.
            framed_bytes = session.output_bytes + HEADER_BYTES + size
            if framed_bytes <= TURN_BYTES:
                session.output_bytes = framed_bytes
                self.send_window_bytes -= size
                output = session.output
                output.append(HEADER.pack(DATA, 0, self.id, size))
                if isinstance(data, bytes):
                    output.append(data)
                else:
                    output += data
                return
        self.queue += (data,) if isinstance(data, bytes) else data
        self.pending_bytes += size
        if self.sendable_bytes:
            self.schedule()

    def send_eof(self) -> None:
        """Send our end of stream after all that is queued; receiving goes on. A second call does nothing."""
        if self.state is CLOSED or self.eof_queued:
            return
        self.eof_queued = True
        self.schedule()

    def reset(self) -> None:
        """End both directions at once and drop all that is queued or unread. A second call does nothing."""
        if self.state is not CLOSED:
            self.session.end_by_reset(self)
        self.session.unread_bytes -= self.unread_bytes
        self.unread_bytes = 0

    def consume(self, size: int) -> None:
        """Return ``size`` received bytes as done with; once half a window is due, the peer is granted it again.

        Every byte of every ``StreamData`` has to be consumed in the end, or the stream reset. Raises
        ``LocalProtocolError`` for more than is unread; does nothing on a stream that was reset.
        """
        if size > self.unread_bytes:
            if self.state is CLOSED and not self.unread_bytes:
                return
            raise LocalProtocolError(f"stream {self.id}: {size} bytes consumed of {self.unread_bytes} unread")
        self.unread_bytes -= size
        self.session.unread_bytes -= size
        self.credit_bytes += size
        if self.credit_bytes >= self.due_bytes and self.state is not PEER_ENDED:
            self.schedule()

    def hold_acceptance(self) -> None:
        """Do not acknowledge a stream that the peer opened until ``accept``, or refuse it with ``reset``.

        Call it at once, when the stream was opened. The peer learns by a RST without an ACK that nothing was processed.
        """
        self.flags_due = 0

    def accept(self) -> None:
        """Acknowledge the stream after ``hold_acceptance``."""
        self.flags_due = ACK
        self.schedule()

    # --- for the session ---

    @property
    def sendable_bytes(self) -> int:
        """How many of the queued bytes may leave now."""
        window_bytes = self.send_window_bytes
        if window_bytes >= self.pending_bytes:
            return self.pending_bytes
        return 0 if window_bytes < HELD_BELOW_BYTES else window_bytes

    @property
    def unknown_to_peer(self) -> bool:
        """Whether nothing of this stream was sent yet, so that its end need not be sent either."""
        return bool(self.flags_due & SYN)

    def schedule(self) -> None:
        """Get a turn at the next ``take_output``."""
        if not self.scheduled and self.state is not CLOSED:
            self.scheduled = True
            self.session.ready.append(self)

    def silence(self) -> None:
        """Send nothing more: the stream is over, and its queue is dropped."""
        self.state = CLOSED
        self.scheduled = False
        self.queue.clear()
        self.pending_bytes = 0

    def write_frames(self, pieces: list[Piece], room_bytes: int) -> int:
        """Append the frames that are due, with at most ``room_bytes`` of data, and return their size.

        FIN never shares a frame with data: Go's yamux handles the flags of a frame before its data, and a reader that
        wakes up in between sees the end of the stream too early.
        """
        flags = self.flags_due
        size = 0
        if self.credit_bytes >= self.due_bytes and self.state is not PEER_ENDED:
            granted_bytes = self._grant()
            if granted_bytes:
                pieces.append(HEADER.pack(WINDOW_UPDATE, flags, self.id, granted_bytes))
                size, flags = HEADER_BYTES, 0
        data_bytes = min(self.sendable_bytes, room_bytes)
        if data_bytes:
            pieces.append(HEADER.pack(DATA, flags, self.id, data_bytes))
            if data_bytes == self.pending_bytes:
                pieces += self.queue
                self.queue.clear()
            else:
                self._take_part(pieces, data_bytes)
            self.pending_bytes -= data_bytes
            self.send_window_bytes -= data_bytes
            size, flags = size + HEADER_BYTES + data_bytes, 0
        if self.eof_queued and not self.pending_bytes:
            state = AFTER_FIN[self.state].get(LOCAL)
            if state is not None:
                self.state = state
                flags |= FIN
        if flags:
            pieces.append(HEADER.pack(WINDOW_UPDATE, flags, self.id, 0))
            size += HEADER_BYTES
        self.flags_due = 0
        return size

    def _grant(self) -> int:
        """Grant the peer what its window has room for and return it; 0 if more credit has to gather first."""
        session = self.session
        windows = session.windows
        consumed_bytes = self.credit_bytes - (windows.window_bytes - self.limit_bytes)
        turnover_bytes = windows.granted_bytes - self.granted_before_bytes + consumed_bytes
        recent_consumed_bytes = self.recent_consumed_bytes * 3 // 4 + consumed_bytes
        recent_turnover_bytes = self.recent_turnover_bytes * 3 // 4 + turnover_bytes
        limit_bytes = windows.window_of(
            recent_consumed_bytes,
            recent_turnover_bytes,
            self.granted_bytes + consumed_bytes,
            len(session.streams),
            session.unread_bytes,
        )
        self.due_bytes = windows.window_bytes - limit_bytes // 2
        if self.credit_bytes < self.due_bytes:
            return 0
        withheld_bytes = windows.window_bytes - limit_bytes
        granted_bytes = self.credit_bytes - withheld_bytes
        self.limit_bytes = limit_bytes
        self.credit_bytes = withheld_bytes
        self.receive_window_bytes += granted_bytes
        windows.granted_bytes += consumed_bytes
        self.granted_bytes += consumed_bytes
        self.granted_before_bytes = windows.granted_bytes
        self.recent_consumed_bytes = recent_consumed_bytes
        self.recent_turnover_bytes = recent_turnover_bytes
        return granted_bytes

    def _take_part(self, pieces: list[Piece], size: int) -> None:
        """Move the first ``size`` bytes of the queue to ``pieces``; the piece on the border is cut without a copy."""
        whole = 0
        while len(self.queue[whole]) <= size:
            pieces.append(self.queue[whole])
            size -= len(self.queue[whole])
            whole += 1
        del self.queue[:whole]
        if size:
            piece = memoryview(self.queue[0])
            pieces.append(piece[:size])
            self.queue[0] = compact(piece[size:])
