"""Signals of the process as calls in a loop, on asyncio's own loop and on uvloop.

``loop.add_signal_handler`` is not used: ``remove_signal_handler`` puts the default back, which ends the process, and a
signal may come before anybody can put another handler in its place.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from pico_driver.signals import SignalPipe


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
        self._pipe: SignalPipe | None = None
        if isinstance(loop, asyncio.BaseEventLoop):  # uvloop wakes up for signals by itself
            self._pipe = SignalPipe()
            loop.add_reader(self._pipe.reading, self._pipe.take)
        self._before: dict[signal.Signals, Any] = {number: signal.signal(number, self._caught) for number in numbers}

    def close(self) -> None:
        """Put back the handlers that were there before, without a moment in which there are none."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._pipe is not None:
            self._loop.remove_reader(self._pipe.reading)
            self._pipe.close()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon(self._take, signal.Signals(number))
