"""How many log lines of one kind a machine writes: peers must not be able to fill a disk. Start at ``LogLimits``."""

from collections.abc import Callable
from functools import partial

from pico_core.boundary import Command
from pico_core.records import Log
from pico_core.timers import Timers

NEVER_HELD_BACK = ("debug", "error")

WINDOW_S = 10.0
"""Short enough that a line which was held back is told of while it still matters."""

LINES_PER_WINDOW = 50
"""Events of a kind that peers cause: an operator reads a few, and is told how many more there were."""

WARNINGS_PER_WINDOW = 10
"""The same for warnings about one peer after the other, which say no more when there are many."""

MAX_KINDS = 256
"""Kinds whose window is known; beyond it the one that began first begins anew. There are some 60 fixed texts."""


class _Window:
    """The lines of one kind since ``began_at``."""

    __slots__ = ("began_at", "lines", "suppressed")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.lines = 0
        self.suppressed = 0


class LogLimits:
    """Passes records on to ``emit``, only so many of one kind: of one level, subsystem and message.

    Errors, which are about the process itself, and debug lines, which were asked for, are never held back.
    ``suppressed`` is how many lines were, since the start. When a window ends, one line says it of its kind.
    """

    __slots__ = ("_emit", "_lines", "_timers", "_windows", "suppressed")

    def __init__(self, timers: Timers, emit: Callable[[Command], None], lines_per_window: int) -> None:
        self.suppressed = 0
        self._emit = emit
        self._lines = lines_per_window
        self._timers = timers
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def log(self, record: Log, now: float, most: int = 0) -> None:
        """Emit a record unless its kind has had ``most`` lines in this window, or as many as usual where that is 0."""
        if record.level in NEVER_HELD_BACK:
            self._emit(record)
            return
        kind = (record.level, record.subsystem, record.message)
        window = self._windows.get(kind)
        if window is None or now - window.began_at >= WINDOW_S:
            window = self._begin(kind, now)
        window.lines += 1
        if window.lines <= (most or self._lines):
            self._emit(record)
            return
        if not window.suppressed:
            self._timers.schedule(window.began_at + WINDOW_S, partial(self._end, kind, window))
        window.suppressed += 1
        self.suppressed += 1

    def _begin(self, kind: tuple[str, str, str], now: float) -> _Window:
        self._windows.pop(kind, None)
        if len(self._windows) >= MAX_KINDS:
            del self._windows[next(iter(self._windows))]
        window = self._windows[kind] = _Window(now)
        return window

    def _end(self, kind: tuple[str, str, str], window: _Window, now: float) -> None:
        """Say how many lines were held back."""
        if self._windows.get(kind) is window:
            del self._windows[kind]
        self._emit(Log(*kind, {"suppressed": window.suppressed}))
