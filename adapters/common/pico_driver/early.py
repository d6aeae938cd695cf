"""Listeners that are opened before the code of the machine is imported.

The import takes most of the processor time of a start. Until the port is open, peers are refused; from then on the
kernel holds their connections until the driver accepts them (``docs/decisions/early-listeners.md``).
"""

import contextlib
import socket

from pico_driver.sockets import UNUSABLE, local_addresses, open_listener


class EarlyListeners:
    """Open listeners by the host and port that a ``Listen`` will name. Next: ``open``, then give it to ``drive``."""

    def __init__(self) -> None:
        self._open: list[tuple[str, int, socket.socket]] = []

    def open(self, host: str, port: int) -> None:
        """Open a listener, or do nothing where that fails or ``host`` is a name.

        The ``Listen`` of the machine looks the name up, or meets the same error and reports it.
        """
        with contextlib.suppress(*UNUSABLE):
            addresses = local_addresses(host, port)
            if addresses:
                self._open.append((host, port, open_listener(addresses)))

    def adopt(self, host: str, port: int, listening: socket.socket) -> None:
        """Have a listener that another process opened be the one for ``host`` and ``port``."""
        self._open.append((host, port, listening))

    def take(self, host: str, port: int) -> socket.socket | None:
        """Return the listener for a ``Listen``, or ``None`` where there is none. The caller closes it."""
        for index, entry in enumerate(self._open):
            if entry[:2] == (host, port):
                del self._open[index]
                return entry[2]
        return None

    def close(self) -> None:
        """Close the listeners that were not taken."""
        for _, _, listening in self._open:
            listening.close()
        self._open.clear()
