"""Listening and UDP sockets in the selector of the trio driver."""

import socket
from typing import Final, Protocol

from pico_core.boundary import DatagramReceived, Input
from pico_trio.sockets import endpoint, receive_datagrams

_ACCEPTS_PER_TURN: Final = 64
"""Connections accepted from one listener before the others get their turn."""


class Owner(Protocol):
    """What a listener needs of its driver."""

    def hand_over(self, event: Input) -> None:
        """Give the machine one input."""

    def accepted(self, listener: str, connected: socket.socket, host: str, port: int) -> None:
        """Take over a new connection and tell the machine."""

    def rest(self, listener: "Listener", error: OSError) -> None:
        """Leave a listener alone for a while: the system has no room for its connections."""


class Listener:
    """A listening socket in the selector."""

    def __init__(self, owner: Owner, name: str, listening: socket.socket) -> None:
        self.socket = listening
        self._owner = owner
        self._name = name

    def ready(self, events: int) -> None:
        """Accept those who wait."""
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, address = self.socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                self._owner.rest(self, error)
                return
            accepted.setblocking(False)
            self._owner.accepted(self._name, accepted, *endpoint(address))


class DatagramSocket:
    """A UDP socket in the selector."""

    def __init__(self, owner: Owner, name: str, bound: socket.socket) -> None:
        self.socket = bound
        self._owner = owner
        self._name = name

    def ready(self, events: int) -> None:
        """Receive what waits."""
        for data, host, port in receive_datagrams(self.socket):
            self._owner.hand_over(DatagramReceived(self._name, data, host, port))
