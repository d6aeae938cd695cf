"""Closing a connection after its last answer so that the peer gets that answer.

A kernel that receives bytes for a closed socket, or closes one with unread bytes, sends a TCP reset. The peer's kernel
then drops what its program has not read yet, which may be the answer (RFC 9112 section 9.6). So the connection is
half-closed first: it sends its end of stream, reads on, and drops what it reads, until the peer ends its side as well.

Every port closes this way after an answer: hand the channel to ``Lingering.begin`` and forget it.
"""

from pico_core.machine.channel import Channel
from pico_core.pieces import Piece
from pico_core.timers import NEVER, Timers

SILENCE_S = 2.0
"""How long a peer may neither send nor take anything. It is above any round trip and the first retransmissions."""

MAX_LINGER_S = 30.0
"""How long a peer may go on sending. A peer that looks at the answer only after its whole request needs that long."""

MAX_LINGER_BYTES = 64 << 20
"""How much a peer may go on sending: receiving costs time of the loop, and what is received is of no use."""

MAX_LINGERING = 1_024
"""Connections that linger at once in one machine, the oldest of which is closed for another one.

Each holds a descriptor that a stranger may keep for ``MAX_LINGER_S``. A peer that behaves needs one for a round trip:
with round trips of 100 ms this many are enough for 10,000 closed connections a second.
"""


class Lingering:
    """The connections of one machine that have sent their last answer."""

    __slots__ = ("_leavers", "_timers")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._leavers: dict[_Leaver, None] = {}  # the oldest first

    def begin(self, channel: Channel, now: float) -> None:
        """End ``channel`` once its peer has ended its side, or has had its time. Its user gets no report any more."""
        if len(self._leavers) >= MAX_LINGERING:
            next(iter(self._leavers)).close()
        leaver = _Leaver(channel, self, now)
        self._leavers[leaver] = None
        self._timers.watch(leaver, now)
        channel.user = leaver
        channel.resume_reading()
        channel.send_eof()

    def forget(self, leaver: "_Leaver") -> None:
        """A connection has ended."""
        self._leavers.pop(leaver, None)
        self._timers.unwatch(leaver)


class _Leaver:
    """The user of a channel that has sent everything."""

    __slots__ = ("_channel", "_left_bytes", "_lingering", "_until", "deadline_at")

    def __init__(self, channel: Channel, lingering: Lingering, now: float) -> None:
        self._channel = channel
        self._lingering = lingering
        self._left_bytes = MAX_LINGER_BYTES
        self._until = now + MAX_LINGER_S
        self.deadline_at = now + SILENCE_S

    def on_data(self, data: Piece, now: float) -> None:
        """Drop what the peer still sends."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self.close()
        else:
            self._stamp(now)

    def on_writable(self, now: float) -> None:
        """The peer takes the answer, slowly."""
        self._stamp(now)

    def on_eof(self, now: float) -> None:
        """The peer has read the answer, or does not want it."""
        self.close()

    def on_lost(self, now: float) -> None:
        """Forget the connection, which is gone."""
        self.deadline_at = NEVER
        self._lingering.forget(self)

    def on_deadline(self, now: float) -> None:
        """Close: the peer has had its time to read."""
        self.close()

    def close(self) -> None:
        """Close both directions."""
        self.deadline_at = NEVER
        self._lingering.forget(self)
        self._channel.close()

    def _stamp(self, now: float) -> None:
        self.deadline_at = min(now + SILENCE_S, self._until)
