"""How much one read takes: less while many connections are paused, since each of them holds what its last read took."""

from typing import Final

RECEIVE_BUFFER_BYTES: Final = 256 * 1024
"""The most one read takes from a connection; one buffer of this size serves all of them. Smaller reads cost more: with
32 KiB a gigabyte takes half as much CPU time again."""

SMALL_READ_BYTES: Final = 32 * 1024
"""The most one read takes while more than ``MANY_PAUSED`` connections are paused."""

MANY_PAUSED: Final = 64
"""With whole reads, so many paused connections hold 16 MiB."""


class Reads:
    """The buffer for the next read, whatever the connection. ``docs/decisions/shared-windows.md`` has the figures."""

    __slots__ = ("_paused", "_whole", "buffer")

    def __init__(self) -> None:
        self._whole = memoryview(bytearray(RECEIVE_BUFFER_BYTES))
        self._paused: set[int] = set()
        self.buffer = self._whole

    def pause(self, number: int) -> memoryview:
        """Count a connection whose reading is paused; return ``buffer``. Next: ``resume``, also when it is lost."""
        self._paused.add(number)
        if len(self._paused) == MANY_PAUSED + 1:
            self.buffer = self._whole[:SMALL_READ_BYTES]
        return self.buffer

    def resume(self, number: int) -> memoryview:
        """Stop counting a connection, if it was counted; return ``buffer``."""
        if number in self._paused:
            self._paused.discard(number)
            if len(self._paused) == MANY_PAUSED:
                self.buffer = self._whole
        return self.buffer
