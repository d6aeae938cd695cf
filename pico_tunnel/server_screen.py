"""The lines of a terminal about a server: the use of its ports, and the next step; then tunnels and requests."""

import platform
from collections.abc import Mapping

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PORTS
from pico_core.config.values import is_loopback, is_unspecified
from pico_core.records import Log
from pico_core.server.exposure import OPEN
from pico_tunnel.screen import Screen, said

LISTENERS = frozenset(port.datagrams or port.listener for port in PORTS)
"""Those that the server tells of: a port with UDP is open when UDP is."""

USUAL_UPSTREAM_PORT = "8001"
"""The URL at which agents look for a server where none is configured."""


class ServerScreen(Screen):
    """Shows its block when all ports are open."""

    def __init__(self, title: str, config: ServerConfig, *, colour: bool, width: int) -> None:
        super().__init__(title, colour=colour, width=width)
        self.has_many = True
        self._config = config
        self._bound: dict[str, str] = {}
        self._notes: list[str] = []
        self._is_shown = False

    # --- a node in a process of its own ---

    def event(self, record: Log, now: float) -> str | None:
        """Return the lines for a record."""
        message = record.message
        if message == "listening" and record.subsystem in LISTENERS and not self._is_shown:
            self._bound[record.subsystem] = said(record, "addr")
            return self._block() if len(self._bound) == len(LISTENERS) else ""
        if message == OPEN and not self._is_shown:
            self.warn_of_open(said(record, "ports"))
            return ""
        if message == "ready":
            return self.line(now, f"ready, node {said(record, 'node_id')}", "good")
        if message == "draining":
            count = record.fields["requests"]
            return self.stopping(record, now, f"{count} requests in flight, {record.fields['tunnels']} tunnels")
        if message == "stopped":
            return self.line(now, "stopped")
        return self.tunnel(record, now)

    # --- pieces ---

    def tunnel(self, record: Log, now: float) -> str | None:
        """Return the line of a tunnel that comes or goes; ``None`` for another record."""
        if record.message == "tunnel opened":
            return self.line(now, f"agent at {said(record, 'client')} serves '{said(record, 'endpoint')}'", "good")
        if record.message == "tunnel closed":
            text = f"agent at {said(record, 'client')} has left '{said(record, 'endpoint')}': {said(record, 'reason')}"
            return self.line(now, text)
        return None

    def stopping(self, record: Log, now: float, what: str) -> str:
        """Return the line of the beginning of a stop that waits for ``what``."""
        at_most_s = f"{record.fields['at_most_s']:g} s at most"
        return self.line(now, f"stopping: {what}, {at_most_s}; Ctrl-C again stops it at once")

    def warn_of_open(self, ports: str) -> None:
        """Note below the block which ports are open to everybody."""
        self._notes.append(f"everybody who reaches this machine can use {ports}: see docs/security.md;")
        self._notes.append("with --dev a server listens on 127.0.0.1 only")

    def show_block(self, bound: Mapping[str, str]) -> str:
        """Return the block of ports that are open elsewhere, by their names."""
        self._bound |= bound
        return self._block()

    def _block(self) -> str:
        self._is_shown = True
        config = self._config
        proxy, upstream, admin, gossip = (self._bound[name] for name in ("proxy", "upstream", "admin", "gossip"))
        secure = {port.name: "https" if port.tls_profile(config) else "http" for port in PORTS}
        port = _port(upstream)
        here = f"{secure['upstream']}://localhost:{port}"
        flag = "" if port == USUAL_UPSTREAM_PORT and here.startswith("http:") else f" --connect.url {here}"
        url = config.proxy.public_url or f"{secure['proxy']}://{{endpoint}}.localhost:{_port(proxy)}"
        rows = [
            ("agents", f"pico agent http my-endpoint 3000{flag}"),
            ("clients", f"{url.replace('{endpoint}', 'my-endpoint')}/"),
            ("dashboard", f"{secure['admin']}://localhost:{_port(admin)}/"),
        ]
        host = upstream.rpartition(":")[0].strip("[]")
        if not host or is_unspecified(host):
            far = f"pico agent http my-endpoint 3000 --connect.url {secure['upstream']}://{platform.node()}:{port}"
            rows.insert(1, ("", f"{far}   from another machine"))
        if not is_loopback(gossip.rpartition(":")[0].strip("[]")):
            rows.append(("nodes", f"{gossip}, TCP and UDP"))
        return self.block(rows, self._notes)


def _port(address: str) -> str:
    return address.rpartition(":")[2]
