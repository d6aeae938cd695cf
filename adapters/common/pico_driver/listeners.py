"""Listening and UDP sockets: the work to do when the loop reports that one is readable, and when it is closed."""

import contextlib
import math
import resource
import socket
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeAlias

from pico_core.boundary import DatagramReceived, Input
from pico_core.client_group import client_group
from pico_core.fair_queue import FairQueue
from pico_driver.sockets import ACCEPTS_PER_TURN, BACKLOG, accept, receive_datagrams

Peer: TypeAlias = tuple[socket.socket, str, int]
"""An accepted socket, with its peer's host and port."""

GATHERED_PER_TURN: Final = 512
"""Connections taken from the kernel in a turn so that they get their turns by client: that takes some 4 ms."""

GATHERED_PART: Final = 0.5
"""None is gathered while this part of the process's descriptors is in use: the machine counts a connection only when
its turn has come, and must find descriptors for what it has admitted."""


class ListenerOwner(Protocol):
    """The part of its driver that a listener needs."""

    crowded: int
    """How many listeners have peers whose turn is still to come."""

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""

    def take_over(self, listener: str, accepted: socket.socket, host: str, port: int) -> None:
        """Make a connection of an accepted socket."""

    def rest(self, listener: "ListeningSocket", error: OSError) -> None:
        """Leave a listener alone for a while: the system has no room for its connections."""

    def announce(self, *events: Input) -> None:
        """Give the machine inputs that came outside of a turn, and take a turn for them."""

    def begin(self, work: Coroutine[Any, Any, None]) -> object:
        """Start one of the rare things that wait."""

    async def sleep(self, duration_s: float) -> None:
        """Wait for ``duration_s`` seconds."""


class ListeningSocket:
    """A listening TCP socket that the loop watches.

    A turn makes connections of ``ACCEPTS_PER_TURN`` peers. Where more wait, they get their turns by client: the kernel
    has one queue for all, in which somebody who comes alone would wait for the thousands of another client.
    """

    def __init__(self, owner: ListenerOwner, name: str, listening: socket.socket) -> None:
        self.socket = listening
        self.name = name
        self._owner = owner
        self._crowd: FairQueue[Peer] = FairQueue()
        """By client: accepted peers whose turn is still to come."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_descriptor = math.inf if limit == resource.RLIM_INFINITY else limit * GATHERED_PART

    def ready(self, events: int) -> None:
        """Accept the peers that wait, or none for a while when there is no room for them."""
        try:
            if self._crowd or self._accept(ACCEPTS_PER_TURN) == ACCEPTS_PER_TURN:
                self._gather()
        except OSError as error:
            self._owner.rest(self, error)

    def close(self) -> None:
        """Accept the peers that wait, as far as there is room for them, and refuse those that come later."""
        while self._crowd:
            self._owner.take_over(self.name, *self._crowd.take())
        with contextlib.suppress(OSError):
            self._accept(BACKLOG)
        self.socket.close()

    def abandon(self) -> None:
        """Close at once, also the connections of peers that wait."""
        while self._crowd:
            self._crowd.take()[0].close()
        self.socket.close()

    def _accept(self, limit: int) -> int:
        count = 0
        for peer in accept(self.socket, limit):
            self._owner.take_over(self.name, *peer)
            count += 1
        return count

    def _gather(self) -> None:
        """Take the peers that wait from the kernel, as long as there are descriptors to spare. Raises as ``accept``."""
        was_empty = not self._crowd
        try:
            for peer in accept(self.socket, GATHERED_PER_TURN):
                self._crowd.put(client_group(peer[1]), peer)
                if peer[0].fileno() > self._most_descriptor:  # the system gives the lowest number that is free
                    break
        finally:
            if was_empty and self._crowd:
                self._owner.crowded += 1
                self._owner.begin(self._take_all())

    async def _take_all(self) -> None:
        try:
            while self._crowd:
                await self._owner.sleep(0)
                for _ in range(ACCEPTS_PER_TURN):
                    if self._crowd:
                        self._owner.take_over(self.name, *self._crowd.take())
                self._owner.announce()
        finally:
            self._owner.crowded -= 1


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

    def abandon(self) -> None:
        """Close at once."""
        self.socket.close()
