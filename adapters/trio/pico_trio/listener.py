"""Listening and UDP sockets in the selector of the trio driver."""

import contextlib
import socket
from typing import Protocol

from pico_core.boundary import DatagramReceived, Input
from pico_driver.sockets import ACCEPTS_PER_TURN, BACKLOG, accept, receive_datagrams


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
        """Accept those who wait, or none for a while when there is no room for them."""
        try:
            self._accept(ACCEPTS_PER_TURN)
        except OSError as error:
            self._owner.rest(self, error)

    def close(self) -> None:
        """Accept those who wait, as far as there is room for them, and refuse those who come later."""
        with contextlib.suppress(OSError):
            self._accept(BACKLOG)
        self.socket.close()

    def _accept(self, limit: int) -> None:
        for accepted, host, port in accept(self.socket, limit):
            self._owner.accepted(self._name, accepted, host, port)


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

    def close(self) -> None:
        """Stop receiving."""
        self.socket.close()
