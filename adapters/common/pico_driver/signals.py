"""Signals of the process as inputs of a machine."""

import signal
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
