"""Ports that no other process can be given while a test counts on them.

A test that starts a server again on the port it had, or that needs a port where nothing listens, must not lose that
port to a test in another process. The kernel gives any free port to a socket that asks for no particular one (an
"ephemeral" port). So a reserved port lies outside the range that the kernel chooses from, and a bound socket holds it
against other reservations. Neither can be lost to a race with another process of the machine.
"""

import contextlib
import errno
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from pico_core.config.values import LOCALHOST

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that Linux chooses by itself."""

FIRST = 10_000
"""Well-known services are below."""


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port of the loopback address, on TCP and UDP. Nothing listens there until the test starts a server.

    A TCP server can listen there if it sets ``SO_REUSEADDR``, as servers do. Raises ``OSError`` if no port is free.
    """
    with _reservation() as held:
        yield held.getsockname()[1]


def _reservation() -> socket.socket:
    ports = _candidates()
    start = random.randrange(len(ports))
    for port in ports[start:] + ports[:start]:
        held = _hold(port)
        if held is not None:
            return held
    raise OSError(errno.EADDRINUSE, "no port to reserve is free")


def _candidates() -> list[int]:
    """Return the ports to choose from."""
    first, last = map(int, EPHEMERAL.read_text().split())
    outside = [port for port in range(FIRST, 65_536) if not first <= port <= last]
    # Where all ports are ephemeral, a held TCP port is still not given to another socket; a UDP port might be.
    return outside or list(range(FIRST, 65_536))


def _hold(port: int) -> socket.socket | None:
    """Return a socket that keeps a port from others; ``None`` if it is in use."""
    held = socket.socket()
    try:
        # Without SO_REUSEADDR, this fails if any socket has the port, and so if another reservation does.
        held.bind((LOCALHOST, port))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((LOCALHOST, port))
    except OSError:
        held.close()
        return None
    # From here on a server that sets the option too can listen; one that does not, such as ``_hold``, cannot bind.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return held
