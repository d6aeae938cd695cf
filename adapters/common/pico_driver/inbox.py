"""The way by which a program that embeds a driver gives the machine inputs of its own."""

import threading
from collections.abc import Callable
from typing import Final

from pico_core.boundary import Input
from pico_core.errors import LocalProtocolError

MAX_WAITING_INPUTS: Final = 4096
"""Inputs that may wait for the driver: as many as the kernel holds connections for a listener."""


class Inbox:
    """Inputs of the embedding program, in the order in which they were put; give it to one ``drive``.

    ``put`` may be called before the driver runs, from its own thread, from any other, and from a signal handler.
    The machine gets its inputs in the driver's turns, after the first ``Tick``, like any other input.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may interrupt ``put`` or ``take`` and put
        self._waiting: list[Input] = []
        self._wake: Callable[[], object] | None = None
        self._closed = False

    def put(self, event: Input) -> None:
        """Hand over one input. Raises ``LocalProtocolError`` when too many wait or the driver has ended."""
        with self._lock:
            if self._closed:
                raise LocalProtocolError("the driver has ended")
            if len(self._waiting) >= MAX_WAITING_INPUTS:
                raise LocalProtocolError(f"the inbox is full: {MAX_WAITING_INPUTS} inputs wait for the driver")
            is_first = not self._waiting
            self._waiting.append(event)
            if is_first and self._wake is not None:
                self._wake()

    # --- for the driver ---

    def open(self, wake: Callable[[], object]) -> None:
        """Begin: ``wake`` is called, on the thread of ``put``, when there is something to ``take``. Next: ``close``.

        Raises ``LocalProtocolError`` if the inbox has had a driver before.
        """
        with self._lock:
            if self._wake is not None:
                raise LocalProtocolError("an inbox serves one driver, once")
            self._wake = wake
            if self._waiting:
                wake()

    def take(self) -> list[Input]:
        """Return the inputs that wait; none after ``close``."""
        with self._lock:
            taken, self._waiting = self._waiting, []
            return taken

    def close(self) -> None:
        """End: drop the inputs that wait; ``put`` raises from now on."""
        with self._lock:
            self._closed = True
            self._waiting = []
