"""Signals of the process as calls in a loop, on asyncio's own loop and on uvloop.

``loop.add_signal_handler`` is not used: ``remove_signal_handler`` puts the default back, which ends the process, and a
signal may come before anybody can put another handler in its place.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

_READ_BYTES = 4_096


class LoopSignals:
    """Handlers for signals, which call ``take(number)`` in the loop. In the main thread only. In the end: ``close``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        numbers: Iterable[signal.Signals],
        take: Callable[[signal.Signals], None],
    ) -> None:
        self._loop = loop
        self._take = take
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        if isinstance(loop, asyncio.BaseEventLoop):  # uvloop wakes up for signals by itself
            self._wake_up()
        self._before: dict[signal.Signals, Any] = {number: signal.signal(number, self._caught) for number in numbers}

    def close(self) -> None:
        """Put back the handlers that were there before, without a moment in which there are none."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._sockets is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            self._loop.remove_reader(self._sockets[0])
            for each in self._sockets:
                each.close()

    def _wake_up(self) -> None:
        """Have signals end the wait of the loop, also one that comes when it is about to wait."""
        self._sockets = reading, writing = socket.socketpair()
        for each in self._sockets:
            each.setblocking(False)
        self._loop.add_reader(reading, self._drain, reading)
        self._wakeup_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def _drain(self, reading: socket.socket) -> None:
        with suppress(BlockingIOError, InterruptedError):
            reading.recv(_READ_BYTES)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon(self._take, signal.Signals(number))
