"""Signals of the process as inputs of a machine."""

import signal
import socket
from typing import Final

from pico_core.boundary import Input, ShutdownRequested, SignalReceived

SHUTDOWN: Final = ShutdownRequested()
IGNORED_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""Signals that would end the process without a word if they were not taken. Not every system has them."""

STOP_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name))
"""Signals that ask for an orderly stop; images of other servers name SIGQUIT as theirs."""

SIGNALS: Final[dict[signal.Signals, Input]] = {
    **dict.fromkeys(STOP_SIGNALS, SHUTDOWN),
    **{number: SignalReceived(number.name) for number in IGNORED_SIGNALS},
}
"""The input that each signal becomes, where ``drive`` was asked for that."""

_NUMBERS_AT_ONCE = 4_096


class SignalPipe:
    """Signals that have a handler end a wait for ``reading``, also one that comes when the wait is about to begin.

    In the main thread only. Next: wait until ``reading`` is readable, then ``take``; in the end ``close``.
    """

    def __init__(self) -> None:
        self.reading, self._writing = socket.socketpair()
        for end in (self.reading, self._writing):
            end.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)

    def take(self) -> bytes:
        """Return the numbers of the signals that have come, one a byte."""
        try:
            return self.reading.recv(_NUMBERS_AT_ONCE)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Have signals end no wait any more."""
        signal.set_wakeup_fd(self._before)
        self.reading.close()
        self._writing.close()
