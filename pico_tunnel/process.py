"""What belongs to the process of a long-running command and not to its machine: signals, the limit of descriptors."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pico_core.errors import LocalProtocolError
from pico_core.machine.admission import MAX_DESCRIPTORS
from pico_driver.driver import IGNORED_SIGNALS, SIGNALS
from pico_driver.inbox import Inbox


@contextmanager
def signals_kept() -> Iterator[Inbox]:
    """Keep the signals that come before the driver takes them, in the inbox that is to be given to it.

    SIGINT is left alone: until the driver runs, it interrupts the start. Those that nobody waits for stay ignored after
    this, so that none of them ends the process while it leaves.
    """
    inbox = Inbox()

    def keep(number: int, _frame: FrameType | None) -> None:
        with suppress(LocalProtocolError):  # the driver has ended, or nobody can have meant so many
            inbox.put(SIGNALS[signal.Signals(number)])

    for number in IGNORED_SIGNALS:
        signal.signal(number, keep)
    before = signal.signal(signal.SIGTERM, keep)
    try:
        yield inbox
    finally:
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, before)


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
