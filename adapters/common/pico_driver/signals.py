"""Signals of the process as inputs of a machine."""

import signal
from typing import Final

from pico_core.boundary import Input, ShutdownRequested, SignalReceived

SHUTDOWN: Final = ShutdownRequested()
IGNORED_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""Signals that would end the process without a word if nobody took them. Not every system has them."""

SIGNALS: Final[dict[signal.Signals, Input]] = {
    signal.SIGTERM: SHUTDOWN,
    signal.SIGINT: SHUTDOWN,
    **{number: SignalReceived(number.name) for number in IGNORED_SIGNALS},
}
"""What each signal becomes, where ``drive`` was asked for that."""
