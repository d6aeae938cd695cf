"""A port of a running node: its row of the table ``config.server_ports``, and what serves its connections."""

from collections.abc import Callable

import msgspec

from pico_core.boundary import Listen
from pico_core.config.server_ports import PortRow
from pico_core.config.values import Address
from pico_core.machine.channel import TcpChannel
from pico_core.server.proxies import TrustedProxies


class Port(msgspec.Struct, frozen=True):
    """One port: where it listens, and what takes its connections.

    ``tls`` is the TLS profile of the driver, empty for plain TCP. ``proxies`` are those trusted to tell whose
    connections they pass on; with ``has_header`` each connection of theirs begins with a PROXY header.
    """

    row: PortRow
    bind_addr: Address
    accept: Callable[[TcpChannel, float], None]
    tls: str
    proxies: TrustedProxies | None

    @property
    def has_header(self) -> bool:
        """Whether connections of trusted proxies begin with a PROXY header; then TLS begins behind it, and later."""
        return self.proxies is not None and self.proxies.sends_header

    def listen(self) -> Listen:
        """Return the command that opens the port."""
        return Listen(self.row.listener, self.bind_addr.host, self.bind_addr.port, "" if self.has_header else self.tls)
