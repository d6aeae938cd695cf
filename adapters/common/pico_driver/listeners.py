"""Listening and UDP sockets: the work to do when the loop reports that one is readable, and when it is closed."""

import contextlib
import socket
from typing import Protocol

from pico_core.boundary import DatagramReceived, Input
from pico_driver.sockets import ACCEPTS_PER_TURN, BACKLOG, accept, receive_datagrams


class ListenerOwner(Protocol):
    """The part of its driver that a listener needs."""

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""

    def take_over(self, listener: str, accepted: socket.socket, host: str, port: int) -> None:
        """Make a connection of an accepted socket."""

    def rest(self, listener: "ListeningSocket", error: OSError) -> None:
        """Leave a listener alone for a while: the system has no room for its connections."""


class ListeningSocket:
    """A listening TCP socket that the loop watches."""

    def __init__(self, owner: ListenerOwner, name: str, listening: socket.socket) -> None:
        self.socket = listening
        self.name = name
        self._owner = owner

    def ready(self, events: int) -> None:
        """Accept the peers that wait, or none for a while when there is no room for them."""
        try:
            self._accept(ACCEPTS_PER_TURN)
        except OSError as error:
            self._owner.rest(self, error)

    def close(self) -> None:
        """Accept the peers that wait, as far as there is room for them, and refuse those that come later."""
        with contextlib.suppress(OSError):
            self._accept(BACKLOG)
        self.socket.close()

    def _accept(self, limit: int) -> None:
        for accepted, host, port in accept(self.socket, limit):
            self._owner.take_over(self.name, accepted, host, port)


class DatagramSocket:
    """A UDP socket that the loop watches."""

    def __init__(self, owner: ListenerOwner, name: str, bound: socket.socket) -> None:
        self.socket = bound
        self.name = name
        self._owner = owner

    def ready(self, events: int) -> None:
        """Receive the datagrams that wait."""
        for data, host, port in receive_datagrams(self.socket):
            self._owner.hand_over(DatagramReceived(self.name, data, host, port))

    def close(self) -> None:
        """Stop receiving."""
        self.socket.close()
