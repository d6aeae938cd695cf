"""A tunnel, for both ends: yamux inside WebSocket messages, and a check of whether the peer is alive."""

import math

from pico_core.boundary import Data
from pico_core.bounds import TUNNEL_STREAMS
from pico_core.mux.events import MuxEvent, NoticeReceived
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from pico_core.mux.session import DEFAULT_WINDOW_BYTES, Session
from pico_core.mux.stream import MuxStream
from pico_core.mux.windows import SHARED_BYTES
from pico_core.timers import SWEEP_INTERVAL_S
from pico_core.websocket.decoding import CloseReceived, FrameDecoder, FrameError, Item, Ping, Pong
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame, encode_pong
from pico_core.websocket.frame import PONG, PROTOCOL_ERROR
from pico_core.websocket.masking import MaskSource

NOTICE = b"pico: "
"""The beginning of a pong that was not asked for and tells something."""

PING_INTERVAL_S = 10.0
"""Between pings, and for the answer: well below the 60 s after which load balancers cut idle connections."""

PUT_OFF_S = PING_INTERVAL_S - SWEEP_INTERVAL_S
"""After a ping of the peer: the sweep may be late, and a peer that has died must not be noticed later for that."""

LATE_S = 5.0
"""A tick that comes this much too late shows that our own process stood still; it says nothing about the peer."""

MESSAGE_BYTES = 262_144
"""Frames in one WebSocket message, about: as much as one write should carry, and the full window of a bulk stream."""


UNHEARD_TICK = 1
UNHEARD_PROBE = 2
"""The numbers that a tick and each probe add to the note of silence."""

MAX_FRAMES_AT_ONCE = 512
"""How many yamux frames one call of ``receive`` carries out: about a millisecond. A full read may hold 21,000."""


class Tunnel:
    """The protocol after an accepted WebSocket handshake, on either end.

    The end that connected (the agent, or an SDK) gives ``entropy`` for masking, and is the yamux client; the server
    gives None. ``max_incoming_streams`` is how many streams the peer may have open: 0 on the server.
    ``max_outgoing_streams`` is how many this end may have open. ``window_bytes``, ``first_window_bytes`` and
    ``shared_bytes`` bound what the peer may have on its way or unread, as in ``mux.session.Session``.

    An engine: give it bytes with ``receive`` and time with ``tick``, and act on the events (``channel.dispatch`` hands
    them to the streams' channels). After any call that may have queued output, fetch it with ``take_output`` until that
    returns None. To leave: ``go_away``, then close the connection once ``session.streams`` is empty.

    ``session`` is there to read (``streams``, ``paused``, ``going_away``, ``peer_going_away``, ``can_open_stream``) and
    to ``ping``; all else goes through the tunnel.
    """

    __slots__ = (
        "_close_frame",
        "_deadline_at",
        "_decoder",
        "_entropy",
        "_notice",
        "_pong",
        "_unheard",
        "_waiting",
        "session",
    )

    def __init__(
        self,
        now: float,
        *,
        entropy: MaskSource | None,
        max_incoming_streams: int = 0,
        max_outgoing_streams: int = TUNNEL_STREAMS,
        window_bytes: int = DEFAULT_WINDOW_BYTES,
        first_window_bytes: int = INITIAL_WINDOW_BYTES,
        shared_bytes: int = SHARED_BYTES,
    ) -> None:
        self.session = Session(
            client=entropy is not None,
            max_incoming_streams=max_incoming_streams,
            max_outgoing_streams=max_outgoing_streams,
            window_bytes=window_bytes,
            first_window_bytes=first_window_bytes,
            shared_bytes=shared_bytes,
        )
        self._entropy = entropy
        self._decoder = FrameDecoder(masked=entropy is None)
        self._deadline_at = now + PING_INTERVAL_S
        self._unheard = 0
        self._pong: bytes | None = None
        self._close_frame = b""
        self._notice = b""
        self._waiting: tuple[Item | FrameError, ...] = ()

    @property
    def behind(self) -> bool:
        """Whether ``receive`` left many of the bytes for another turn. Next: ``receive(b"")`` in that turn."""
        return bool(self._waiting) or self._decoder.behind

    @property
    def failed(self) -> str:
        """Why the tunnel is over; empty while it lives. Next: ``take_output`` until None, then close the connection."""
        return self.session.failed

    def receive(self, data: bytes, now: float) -> list[MuxEvent]:
        """Take bytes from the connection and return what happened in the streams.

        Never raises: a peer that breaks a protocol ends the tunnel with ``SessionFailed``. Next: ``take_output``, and
        look at ``behind``.
        """
        events: list[MuxEvent] = []
        if self.session.failed:
            return events
        self._unheard = 0
        items: list[Item | FrameError] = [*self._waiting]
        try:
            items += self._decoder.receive(data)
        except FrameError as error:
            items += error.items
            items.append(error)
        self._waiting = self._take_items(items, now, events)
        return events

    def open_stream(self) -> MuxStream:
        """Open a stream. Raises ``LocalProtocolError`` where ``session.can_open_stream`` is False.

        Next: ``MuxStream.send`` or a ``StreamChannel`` for it, then ``take_output``.
        """
        return self.session.open_stream()

    def go_away(self) -> None:
        """Tell the peer to open no more streams; those that are open go on.

        Next: ``take_output``, and close the connection when the last stream has ended.
        """
        self.session.go_away()

    def notice(self, text: bytes) -> None:
        """Tell the peer something that it need not know, such as an ``agreement.SECOND_AGENT``. Next: ``take_output``.

        It goes as a pong that was not asked for: every peer may get one, and those that do not know the text drop it.
        """
        self._notice = encode_control(PONG, NOTICE + text, self._entropy)

    def fail(self, reason: str) -> list[MuxEvent]:
        """End the tunnel because its connection is lost; return the ``SessionFailed`` with all its streams."""
        return self.session.fail(reason)

    def pause_output(self) -> None:
        """Give no output until ``resume_output``: the connection's send buffer is full."""
        self.session.pause_output()

    def resume_output(self) -> list[MuxEvent]:
        """Go on after ``pause_output``; return a ``StreamWritable`` for each stream that can go on.

        Next: ``take_output``.
        """
        return self.session.resume_output()

    @property
    def has_output(self) -> bool:
        """Whether ``take_output`` is worth a call: frames of the session, a pong, or the close frame."""
        if self.session.has_output:
            return True
        waits = self._pong is not None or self._close_frame or self._notice
        return bool(waits) and not (self.session.paused and not self.failed)

    def take_output(self) -> Data | None:
        """Return the next WebSocket message to send, with frames of all streams, or None when nothing is due.

        A pong goes before all data: of several pings only the last needs one, so at most one waits here.
        Once the tunnel has ``failed``, the last message is a close frame, if one is due (RFC 6455 section 7.1.2).
        """
        session = self.session
        if session.paused and not session.failed:
            return None
        if self._pong is not None:
            pong, self._pong = encode_pong(self._pong, self._entropy), None
            return pong
        if self._notice:
            notice, self._notice = self._notice, b""
            return notice
        if session.has_output:
            pieces, size = session.take_output(MESSAGE_BYTES)
            if size:
                return encode_frame(pieces, size, self._entropy)
        if self._close_frame:
            frame, self._close_frame = self._close_frame, b""
            return frame
        return None

    def deadline(self) -> float:
        """Return when ``tick`` is due, in seconds on the clock of ``now``; never, once the tunnel has failed."""
        return math.inf if self.session.failed else self._deadline_at

    def tick(self, now: float) -> list[MuxEvent]:
        """Let time pass: queue a ping, or end the tunnel with ``SessionFailed`` if the peer is silent after one.

        Every byte counts as an answer, since the answer itself may be stuck behind data. An early tick does nothing.
        A ping of the peer stands for one of ours: the next is due ``PUT_OFF_S`` later, so that only one end of an idle
        tunnel asks at a time. The peer was alive when it asked, so its death is noticed within two intervals as well.
        Next: ``take_output``, and ``deadline`` again.
        """
        if now < self.deadline():
            return []
        if self._unheard & UNHEARD_TICK and now < self._deadline_at + LATE_S:
            return self.session.fail(f"silent for {PING_INTERVAL_S:.0f} s after a ping")
        due_at = self.session.pinged_at + PUT_OFF_S
        if now < due_at:
            self._deadline_at = due_at
            return []
        self._unheard |= UNHEARD_TICK
        self._deadline_at = now + PING_INTERVAL_S
        self.session.ping()
        return []

    def probe(self) -> int:
        """Ask the peer for a sign of life; return how many calls before this one it has left without any, 0 for none.

        For a caller that needs to know earlier than ``tick``, at intervals of its own. Next: ``take_output``.
        """
        calls = self._unheard // UNHEARD_PROBE
        self._unheard += UNHEARD_PROBE
        if not calls and not self.session.failed:
            self.session.ping()
        return calls

    def _take_items(
        self, items: list[Item | FrameError], now: float, events: list[MuxEvent]
    ) -> tuple[Item | FrameError, ...]:
        """Feed payload to the session, answer the control frames of WebSocket itself, and return what is too much."""
        session = self.session
        session.frames_left = MAX_FRAMES_AT_ONCE
        for index, item in enumerate(items):
            if isinstance(item, (bytes, memoryview)):
                taken = session.feed(item, now, events)
                if session.failed:
                    self._close_frame = encode_close(PROTOCOL_ERROR, session.failed, self._entropy)
                    break
                if taken < len(item):
                    return (item[taken:], *items[index + 1 :])
            elif isinstance(item, FrameError):
                events += session.fail(f"WebSocket: {item}")
                self._close_frame = encode_close(item.code, str(item), self._entropy)
            elif isinstance(item, Ping):
                self._pong = item.payload
            elif isinstance(item, Pong) and item.payload.startswith(NOTICE):
                events.append(NoticeReceived(item.payload[len(NOTICE) :]))
            elif isinstance(item, CloseReceived):
                events += session.fail(f"closed by the peer: {item.code} {item.reason}".rstrip())
                self._close_frame = encode_close(item.code, "", self._entropy)
        return ()
