"""Signals that come before a long-running command can take them: kept from the first moment on.

This module imports nothing but ``signal`` and what Python has loaded already: what is imported before the first call is
time in which a signal that asks for another configuration would end the process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_NUMBERS = [getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
"""SIGTERM is not among them: nothing was begun that has to be ended in order."""

FIRST_PROCESS = 1
"""The ID of the first process of a container."""

_KEPT: list[int] = []


def is_long_running(arguments: Sequence[str]) -> bool:
    """Say whether a command line runs a machine to its end. All others end by themselves, and by these signals."""
    return arguments[:1] in (["agent"], ["forward"]) or (
        arguments[:1] == ["server"] and all(each.startswith("-") for each in arguments[1:2])
    )


@contextmanager
def kept_early() -> Iterator[None]:
    """Keep SIGHUP, SIGUSR1 and SIGUSR2. Next: ``take``, once others take signals. In the main thread only.

    The kernel gives the first process of a container no signal for which it has no handler (pid_namespaces(7)): a pod
    that is deleted while it starts would be killed at the end of its grace. There SIGTERM ends it as elsewhere.
    """
    handlers = dict.fromkeys(_NUMBERS, _keep)
    if os.getpid() == FIRST_PROCESS:
        handlers[signal.SIGTERM] = _end
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        _KEPT.clear()
        for number, handler in before.items():
            if signal.getsignal(number) is handlers[number]:
                signal.signal(number, handler)


def take() -> list[int]:
    """Return the numbers of the signals that have come, each once, and forget them."""
    taken = list(dict.fromkeys(_KEPT))
    _KEPT.clear()
    return taken


def _keep(number: int, _frame: FrameType | None) -> None:
    if number not in _KEPT:
        _KEPT.append(number)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)  # as shells tell an end by a signal; nothing was begun that has to be ended in order
