"""The two sides of a connection inside a driver, and the rules of both that no loop changes."""

from typing import Any, Final, Protocol

from pico_core.boundary import Input
from pico_core.errors import LocalProtocolError

HIGH_WATER_BYTES: Final = 16 * 1024
"""``WritingPaused`` when a connection has more than this buffered."""

LOW_WATER_BYTES: Final = HIGH_WATER_BYTES // 4
"""``WritingResumed`` when a connection that was paused has no more than this buffered."""


class Connection(Protocol):
    """One open connection; the machine knows it by ``number``.

    ``Send`` is not here: it is the one command so frequent that each driver carries it out in its own shortest way.
    """

    number: int

    def send_eof(self) -> None:
        """Half-close, after everything that is buffered; do nothing if that was asked for before, or ``close``."""

    def close(self) -> None:
        """Close, after everything that is buffered."""

    def reset(self) -> None:
        """Throw away everything that is buffered and reset the connection."""

    def pause_reading(self) -> None:
        """Stop receiving; safe to repeat."""

    def change_owner(self, owner: Any) -> None:
        """Tell ``owner`` what happens from now on: the TLS side of the connection."""

    def resume_reading(self) -> None:
        """Receive again; do nothing after the peer's end of stream, which is reported once."""


class ConnectionOwner(Protocol):
    """The part of its driver that a connection needs."""

    @property
    def receive_buffer(self) -> memoryview:
        """The buffer that all connections share; its size is the most that a read may take now (``reads.Reads``)."""

    turn_bytes: int
    """Bytes received in this turn; zero again when the next one begins."""

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""

    def lost(self, number: int, error: Exception | None) -> None:
        """Forget a connection and tell the machine."""


def refuse_send(number: int, *, closing: bool) -> None:
    """Answer a ``Send`` that comes too late: ignored after ``Close``, ``LocalProtocolError`` after ``SendEof``."""
    if not closing:
        raise LocalProtocolError(f"connection {number}: Send after SendEof")
