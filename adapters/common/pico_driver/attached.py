"""An addition to a driver beside its machine: a part of the program that carries out commands and brings inputs."""

from collections.abc import Callable
from typing import Any, Protocol

from pico_core.boundary import Connected, Exit, Input


class HostDriver(Protocol):
    """The part of its driver that it needs."""

    perform: dict[type, Callable[[Any], None]]

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""

    def announce(self, *events: Input) -> None:
        """Give the machine inputs that came outside of a turn."""

    def lost(self, number: int, error: Exception | None) -> None:
        """Forget a connection and tell the machine."""

    def join(self, connection: Any, event: Connected) -> None:
        """Announce a connection to the embedding program, which the machine has asked for."""

    def accepted(self, connection: Any, listener: str, host: str, port: int) -> None:
        """Announce, under a new number, a connection that a peer opened."""


class Attached(Protocol):
    """The part: a ``Hub``, or what starts the processes of workers."""

    def attach(self, driver: HostDriver) -> None:
        """Take the commands of ``driver``. Next: ``detach``."""

    def detach(self, outcome: Exit | BaseException | None) -> None:
        """The driver has ended, and how."""
