"""A connection between the machine and the program: what the driver carries out on it, and a buffer in each direction.

Towards the program there is a buffer with water marks, as a socket has. Towards the machine there is none: what the
program writes is an input at once, and the writer waits while the machine has asked for a pause.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from pico_core.boundary import Data, EofReceived, Input, Received, WritingPaused, WritingResumed
from pico_core.pieces import Piece
from pico_driver.connection import HIGH_WATER_BYTES, LOW_WATER_BYTES


class Owner(Protocol):
    """The part of its driver that a connection needs."""

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""

    def announce(self, *events: Input) -> None:
        """Give the machine inputs that came outside of a turn."""

    def lost(self, number: int, error: Exception | None) -> None:
        """Forget a connection and tell the machine."""


class ProgramConnection:
    """The driver's side of a stream. ``changed`` is called when the program's side may go on."""

    def __init__(self, owner: Owner, changed: Callable[[], None]) -> None:
        self.number = 0
        self.listener = ""
        self.sendable = True
        self.closing = False
        self.unsent = False
        self.broken = ""
        """Why the stream ended early, as one clause; empty while it did not."""
        self.paused = False
        """Whether the machine wants nothing more for now."""
        self.received: deque[Piece] = deque()
        self.is_over = False
        self._owner = owner
        self._changed = changed
        self._received_bytes = 0
        self._over_high_water = False

    # --- what the machine commands ---

    def write(self, data: bytes) -> None:
        """Buffer one piece for the program."""
        self.send_pieces((data,))

    def send_pieces(self, pieces: tuple[Piece, ...]) -> None:
        """Buffer several pieces for the program."""
        if self.is_over:
            return
        for piece in pieces:
            if piece:
                self.received.append(piece)
                self._received_bytes += len(piece)
        if self._received_bytes > HIGH_WATER_BYTES and not self._over_high_water:
            self._over_high_water = True
            self._owner.hand_over(WritingPaused(self.number))
        self._changed()

    def send(self, data: Data) -> None:
        """Buffer one piece or several."""
        self.send_pieces((data,) if isinstance(data, bytes) else data)

    def send_eof(self) -> None:
        """Let the program see the end, behind what is buffered."""
        self.sendable = False
        self._changed()

    def close(self) -> None:
        """End both directions; the program still reads what is buffered."""
        self.closing = True
        self._end(None)

    def reset(self) -> None:
        """End both directions, and drop what is buffered."""
        self.received.clear()
        self.break_off("the other side has reset it")

    def break_off(self, reason: str) -> None:
        """End both directions early."""
        if not self.is_over:
            self.broken = reason
            self._end(None)

    def flush(self) -> None:
        """Do nothing: all that is sent is with the program already."""

    def pause_reading(self) -> None:
        """Let the program's writers wait."""
        self.paused = True

    def resume_reading(self) -> None:
        """Let them go on."""
        self.paused = False
        self._changed()

    def change_owner(self, owner: Any) -> None:
        """Refuse: there is no TLS inside a program."""
        raise NotImplementedError

    # --- what the program does ---

    def take(self, max_bytes: int) -> bytes:
        """Return buffered bytes, at most ``max_bytes``; empty where there are none."""
        taken: list[Piece] = []
        size = 0
        while self.received and size < max_bytes:
            piece = self.received.popleft()
            if size + len(piece) > max_bytes:
                view = memoryview(piece)
                self.received.appendleft(view[max_bytes - size :])
                piece = view[: max_bytes - size]
            taken.append(piece)
            size += len(piece)
        self._received_bytes -= size
        if self._over_high_water and self._received_bytes <= LOW_WATER_BYTES and not self.is_over:
            self._over_high_water = False
            self._owner.announce(WritingResumed(self.number))
        return b"".join(taken)

    def give(self, data: bytes) -> None:
        """Hand bytes to the machine."""
        self._owner.announce(Received(self.number, data))

    def give_eof(self) -> None:
        """Hand the end of the program's direction to the machine."""
        self._owner.announce(EofReceived(self.number))

    def hang_up(self, error: Exception | None) -> None:
        """End both directions from the program's side: without an error what was given is still delivered."""
        if not self.is_over:
            self._end(error)
            self._owner.announce()

    def _end(self, error: Exception | None) -> None:
        if not self.is_over:
            self.is_over = True
            self.sendable = False
            self.closing = True
            self._owner.lost(self.number, error)
            self._changed()
