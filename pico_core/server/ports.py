"""The ports of a server as a table: a new port is a new row."""

from collections.abc import Callable

import msgspec

from pico_core.boundary import Listen
from pico_core.config.values import Address
from pico_core.machine.channel import TcpChannel
from pico_core.server.proxies import TrustedProxies


class Port(msgspec.Struct, frozen=True):
    """One port: what it is called, where it listens, what takes its connections, and how long it stays open.

    ``listener`` names it in inputs and commands, ``key`` is the section of the configuration with its ``bind_addr``.
    ``tls`` is the TLS profile of the driver, empty for plain TCP. ``datagrams`` names a second listener, for UDP with
    the same number; empty where there is none. ``until_exit`` says that the port stays
    open until the process ends; the others close once the node is drained. ``proxies`` are those trusted to tell whose
    connections they pass on; with ``sends_header`` they do that within ``header_timeout_s``.
    """

    name: str
    listener: str
    key: str
    bind_addr: Address
    accept: Callable[[TcpChannel, float], None]
    tls: str = ""
    datagrams: str = ""
    until_exit: bool = False
    proxies: TrustedProxies | None = None
    header_timeout_s: Callable[[], float] = float

    @property
    def has_header(self) -> bool:
        """Whether connections of trusted proxies begin with a PROXY header; then TLS begins behind it, and later."""
        return self.proxies is not None and self.proxies.sends_header

    def listen(self) -> Listen:
        """Return the command that opens the port."""
        return Listen(self.listener, self.bind_addr.host, self.bind_addr.port, "" if self.has_header else self.tls)
