"""The ports that workers share: a socket for each worker and port, which the process that starts them keeps open.

The kernel divides new connections among the sockets of a port (``SO_REUSEPORT``). A socket stays open when the
worker's process ends, so those that wait in it go to the next process of the worker.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from pico_core.config.server_ports import MAX_DRAWS
from pico_core.config.values import Address
from pico_driver.sockets import UNUSABLE, SocketAddress, describe, endpoint, local_addresses, lookup, open_listener


class PortError(Exception):
    """A port cannot be opened; the text is one line that says what to do."""


class SharedPorts:
    """The shared ports by their keys. Next: ``open`` for each worker, and in the end ``close``."""

    def __init__(self, wanted: Mapping[str, Address], workers: int) -> None:
        """``wanted`` are the addresses by key, such as ``proxy``; port 0 becomes a free one with the first worker."""
        self._early = range(1, workers + 1)
        self.addresses = dict(wanted)
        self._wanted = dict(wanted)
        self._open: dict[tuple[int, str], socket.socket] = {}

    def open(self, worker: int) -> dict[str, socket.socket]:
        """Return the sockets of a worker by key, opening those that are not open. Raises ``PortError``.

        With the first worker those of clients and agents are opened for all: agents that come early wait for the other
        workers, and do not all go to the first one. A node that joins should rather be answered.
        """
        early, self._early = self._early, range(0)
        wanted = [(each, key) for each in early for key in WAIT_FOR_WORKERS]
        for place in (*wanted, *((worker, key) for key in self.addresses)):
            if place not in self._open:
                self._open[place] = self._bind(place[1])
        return {key: self._open[worker, key] for key in self.addresses}

    def close(self, worker: int) -> None:
        """Close the sockets that are kept for a worker; its process may have them still."""
        for key in self.addresses:
            bound = self._open.pop((worker, key), None)
            if bound is not None:
                bound.close()

    def close_all(self) -> None:
        """Close the sockets of all workers."""
        for worker in {number for number, _ in self._open}:
            self.close(worker)

    def _bind(self, key: str) -> socket.socket:
        """The first socket of a port takes it alone, so that no other program shares it by chance."""
        address = self.addresses[key]
        is_first = not any(each == key for _, each in self._open)
        try:
            bound = open_listener(resolved(address), shares=not is_first)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except UNUSABLE as error:
            raise PortError(
                f"cannot listen on {key} address '{self._wanted[key]}': {describe(error)}; "
                f"choose another one with --{FLAGS[key]}.bind-addr"
            ) from None
        self.addresses[key] = Address(address.host, endpoint(bound.getsockname())[1])
        return bound


WAIT_FOR_WORKERS = ("proxy", "upstream")

FLAGS = {"proxy": "proxy", "upstream": "upstream", "gossip": "cluster.gossip"}
"""The section of each key in the configuration."""


def resolved(address: Address) -> list[SocketAddress]:
    """Return the addresses to listen on; blocks where the host is a name. Raises one of ``UNUSABLE``."""
    return local_addresses(address.host, address.port) or lookup(address.host, address.port)


def own_gossip_port(host: str) -> socket.socket:
    """Return a listener on a port of ``host`` that is free on TCP and UDP.

    Raises one of ``UNUSABLE``; ``OSError`` if ``MAX_DRAWS`` ports were not free.
    """
    for _ in range(MAX_DRAWS):
        bound = open_listener(resolved(Address(host, 0)))
        try:
            with socket.socket(bound.family, socket.SOCK_DGRAM) as probe:
                probe.bind(bound.getsockname())
        except OSError:
            bound.close()
        else:
            return bound
    raise OSError("no port is free on TCP and UDP")
