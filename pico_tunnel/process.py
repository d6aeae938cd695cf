"""The process of a long-running command, and not its machine: signals, the limit of descriptors."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pico_core.errors import LocalProtocolError
from pico_core.machine.admission import MAX_DESCRIPTORS
from pico_driver.inbox import Inbox
from pico_driver.signals import IGNORED_SIGNALS, SIGNALS, STOP_SIGNALS
from pico_tunnel import early_signals

_ARG_START, _ARG_END = 45, 46
"""Fields of /proc/PID/stat behind the name of the program (proc_pid_stat(5) counts from 1 and has three before)."""


_STRAY_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT")
    if hasattr(signal, name)
)
"""Further signals with a deadly default, which a command ignores: in a program they may be those of its timers."""

_KEPT_STOP_SIGNALS = tuple(number for number in STOP_SIGNALS if number != signal.SIGINT)


@contextmanager
def signals_kept() -> Iterator[Inbox]:
    """Keep the signals that come before the driver takes them, in the inbox that is to be given to it.

    SIGINT is left alone: until the driver runs, it interrupts the start. Those without a meaning stay ignored after
    this, so that none of them ends the process while it leaves.
    """
    inbox = Inbox()

    def keep(number: int, _frame: FrameType | None) -> None:
        with suppress(LocalProtocolError):  # the driver has ended, or there are more than any operator sends
            inbox.put(SIGNALS[signal.Signals(number)])

    for number in _STRAY_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
    for number in IGNORED_SIGNALS:
        signal.signal(number, keep)
    for number in early_signals.take():
        keep(number, None)
    before = {number: signal.signal(number, keep) for number in _KEPT_STOP_SIGNALS}
    try:
        yield inbox
    finally:
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_orphans_to_the_kernel() -> None:
    """Where this process is the first of a container, have the kernel reap what is left to it (``kubectl exec``).

    For processes that start none themselves: these would be reaped as well, and their exit codes lost.
    """
    if os.getpid() == early_signals.FIRST_PROCESS:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def hide_arguments(secrets: Iterable[str]) -> None:
    """Overwrite secrets among the arguments of this process, where others can read them (Linux: /proc/PID/cmdline).

    Does nothing where the system does not tell where the arguments are.
    """
    import ctypes

    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError):
        return
    if not 0 < begin < end:
        return
    arguments = ctypes.string_at(begin, end - begin)
    for secret in secrets:
        hidden = secret.encode(errors="surrogateescape")
        place = arguments.find(hidden)
        while hidden and place >= 0:
            ctypes.memset(begin + place, ord("*"), len(hidden))
            place = arguments.find(hidden, place + len(hidden))


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one, within ``MAX_DESCRIPTORS``; return what it is now."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # some systems have a limit that is lower than the hard one, and do not tell it
        return soft
    return wanted
