"""One stream of a yamux session: what waits to be sent, the windows of both directions, and how it ends."""

from enum import Enum
from typing import Any, Protocol

from pico_core.boundary import Data
from pico_core.errors import LocalProtocolError
from pico_core.mux.frame import DATA, FIN, HEADER, HEADER_BYTES, INITIAL_WINDOW_BYTES, SYN, WINDOW_UPDATE

TURN_BYTES = 65_536
"""What one stream may send before the next gets its turn: a quarter of a message, so four bulk streams share each."""


HELD_BELOW_BYTES = 16_384
"""A window smaller than this, and than what waits, is left to grow, since a frame of little costs as much as one of
much (the silly window of RFC 9293, section 3.8.6.2). Every peer grants more once it has consumed half a window."""


class StreamState(Enum):
    """Which ends of a stream still send. ``CLOSED`` also stands for reset: nothing is sent or received any more."""

    OPEN = "open"
    LOCAL_ENDED = "local ended"
    PEER_ENDED = "peer ended"
    CLOSED = "closed"


# A stream is two half-streams that end on their own, each with a FIN, in either order; when the second one ends the
# stream is gone and the session forgets it. A RST from either end leads from every state straight to CLOSED and needs
# no table. What is missing below (a second FIN from the peer) changes nothing; we never frame two FINs ourselves.
AFTER_LOCAL_END = {StreamState.OPEN: StreamState.LOCAL_ENDED, StreamState.PEER_ENDED: StreamState.CLOSED}
AFTER_PEER_END = {StreamState.OPEN: StreamState.PEER_ENDED, StreamState.LOCAL_ENDED: StreamState.CLOSED}

CLOSED = StreamState.CLOSED
PEER_ENDED = StreamState.PEER_ENDED


class StreamHost(Protocol):
    """What a stream needs of its session."""

    output: list[bytes | memoryview]
    output_bytes: int
    paused: bool
    window_bytes: int
    credit_due_bytes: int
    unread_bytes: int
    ready: "list[Stream]"
    waiting: "dict[int, Stream]"

    def end_by_reset(self, stream: "Stream") -> None:
        """Forget the stream and tell the peer, if it knows of it."""


class Stream:
    """One duplex byte stream. Comes from ``Session.open_stream`` or a ``StreamOpened`` event; never made by hand.

    ``owner`` is free for the user of the stream. All else that is not a method is the session's: look, don't touch.
    Sending never fails for what the peer did: on a stream that is gone it does nothing, since the peer may have reset
    it a moment ago, in an event that the caller has not come to yet.

    Until the peer's end of stream, the receiving side keeps one balance: ``receive_window_bytes + unread_bytes +
    credit_bytes``, and what is still to come of a frame under way, are the session's ``window_bytes``. What the peer
    may send is in the first, what arrived in the second, what was consumed in the third until it is granted again. So
    credit is tied to what was granted, and a peer whose data is consumed is never left with less than half a window.
    """

    __slots__ = (
        "credit_bytes",
        "eof_queued",
        "flags_due",
        "id",
        "owner",
        "pending_bytes",
        "queue",
        "receive_window_bytes",
        "scheduled",
        "send_window_bytes",
        "session",
        "state",
        "unread_bytes",
    )

    def __init__(self, session: StreamHost, stream_id: int, flags_due: int) -> None:
        """``flags_due`` (SYN or ACK) ride on the first frame, whatever it is."""
        self.id = stream_id
        self.owner: Any = None
        self.session = session
        self.state = StreamState.OPEN
        self.queue: list[bytes | memoryview] = []
        self.pending_bytes = 0
        self.send_window_bytes = INITIAL_WINDOW_BYTES
        self.receive_window_bytes = INITIAL_WINDOW_BYTES
        self.unread_bytes = 0
        # Below zero when our window is smaller than what the specification gives: then the first credit is withheld.
        self.credit_bytes = session.window_bytes - INITIAL_WINDOW_BYTES
        self.flags_due = flags_due
        self.eof_queued = False
        self.scheduled = True
        session.ready.append(self)

    @property
    def writable(self) -> bool:
        """Whether more should be sent now. Whoever saw False gets one ``StreamWritable`` when it turns True again."""
        if self.state is CLOSED:
            return False
        if self.pending_bytes < self.send_window_bytes and not self.session.paused:
            return True
        self.session.waiting[self.id] = self
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
        """Send our end of stream after what is queued; receiving goes on. A second call does nothing."""
        if self.state is CLOSED or self.eof_queued:
            return
        self.eof_queued = True
        self.schedule()

    def reset(self) -> None:
        """End both directions at once and drop what is queued or unread. A second call does nothing."""
        if self.state is not CLOSED:
            self.session.end_by_reset(self)
        self.session.unread_bytes -= self.unread_bytes
        self.unread_bytes = 0

    def consume(self, size: int) -> None:
        """Return ``size`` received bytes as done with; once half a window is due, the peer is granted them again.

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
        if self.credit_bytes >= self.session.credit_due_bytes and self.state is not PEER_ENDED:
            self.schedule()

    # --- for the session ---

    @property
    def sendable_bytes(self) -> int:
        """How much of what is queued may leave now."""
        window_bytes = self.send_window_bytes
        if window_bytes >= self.pending_bytes:
            return self.pending_bytes
        return 0 if window_bytes < HELD_BELOW_BYTES else window_bytes

    def schedule(self) -> None:
        """Get a turn at the next ``take_output``."""
        if not self.scheduled and self.state is not CLOSED:
            self.scheduled = True
            self.session.ready.append(self)

    def write_frames(self, pieces: list[bytes | memoryview], room_bytes: int) -> int:
        """Append the frames that are due, with at most ``room_bytes`` of data, and return their size.

        FIN never shares a frame with data: Go's yamux handles the flags of a frame before its data, and a reader that
        wakes up in between sees the end of the stream too early.
        """
        flags = self.flags_due
        size = 0
        if self.credit_bytes >= self.session.credit_due_bytes and self.state is not PEER_ENDED:
            pieces.append(HEADER.pack(WINDOW_UPDATE, flags, self.id, self.credit_bytes))
            self.receive_window_bytes += self.credit_bytes
            self.credit_bytes = 0
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
        if self.eof_queued and not self.pending_bytes and self.state in AFTER_LOCAL_END:
            self.state = AFTER_LOCAL_END[self.state]
            flags |= FIN
        if flags:
            pieces.append(HEADER.pack(WINDOW_UPDATE, flags, self.id, 0))
            size += HEADER_BYTES
        self.flags_due = 0
        return size

    def _take_part(self, pieces: list[bytes | memoryview], size: int) -> None:
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
            self.queue[0] = piece[size:]

    @property
    def unknown_to_peer(self) -> bool:
        """Whether nothing of this stream was sent yet: ending it needs no word to the peer."""
        return bool(self.flags_due & SYN)
