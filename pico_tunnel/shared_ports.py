"""The ports that workers share: a socket for each worker and port, which the process that starts them keeps open.

The kernel divides new connections among the sockets of a port (``SO_REUSEPORT``). A socket stays open when the
worker's process ends, so those that wait in it go to the next process of the worker.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pico_core.config.server_ports import MAX_DRAWS, WORKER_PORTS
from pico_core.config.values import Address
from pico_driver.sockets import UNUSABLE, SocketAddress, describe, endpoint, local_addresses, lookup, open_listener

if TYPE_CHECKING:
    from pico_core.config.server import ServerConfig
    from pico_core.config.server_ports import Ports


class PortError(Exception):
    """A port cannot be opened; the text is one line that says what to do."""


class SharedPorts:
    """The shared ports by their listeners. Next: ``open`` for each worker, and in the end ``close``."""

    def __init__(self, config: ServerConfig, workers: int, rows: Ports = WORKER_PORTS) -> None:
        """``rows`` are the ports of a worker. Port 0 becomes a free one with the first worker."""
        self._early = range(1, workers + 1)
        self._rows = {row.listener: row for row in rows if row.shared}
        self._wanted = {listener: row.bind_addr(config) for listener, row in self._rows.items()}
        self.addresses = dict(self._wanted)
        self._open: dict[tuple[int, str], socket.socket] = {}

    def open(self, worker: int) -> dict[str, socket.socket]:
        """Return the sockets of a worker by listener, opening those that are not open. Raises ``PortError``.

        With the first worker those of clients and agents are opened for all: agents that come early wait for the other
        workers, and do not all go to the first one. A node that joins should rather be answered.
        """
        early, self._early = self._early, range(0)
        wanted = [(each, key) for each in early for key, row in self._rows.items() if row.auth is not None]
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
        address, row = self.addresses[key], self._rows[key]
        is_first = not any(each == key for _, each in self._open)
        try:
            bound = open_listener(resolved(address), shares=not is_first)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except UNUSABLE as error:
            raise PortError(
                f"cannot listen on {row.name} address '{self._wanted[key]}': {describe(error)}; "
                f"choose another one with --{row.key}.bind-addr"
            ) from None
        self.addresses[key] = Address(address.host, endpoint(bound.getsockname())[1])
        return bound


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
