"""The lines of a terminal about a server with workers: one block and the stop by the parent, the rest by the workers.

All processes write to the same terminal, each line in one piece.
"""

from collections.abc import Mapping

from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.records import Log
from pico_core.server.exposure import OPEN, open_ports
from pico_tunnel.screen import said
from pico_tunnel.server_screen import ServerScreen

TOLD_BY_PARENT = ("listening", OPEN, "ready", "draining", "stopped", "left the cluster")
"""Messages of a worker that the lines of the parent say for all."""


class SupervisorScreen(ServerScreen):
    """The screen of the parent. It shows the block when the first worker has its ports, which are those of all."""

    def __init__(
        self, title: str, config: ServerConfig, addresses: Mapping[str, Address], *, colour: bool, width: int
    ) -> None:
        """``addresses`` are those of the shared ports by listener, which are known when the first worker starts."""
        super().__init__(title, config, colour=colour, width=width)
        self._config = config
        self._addresses = addresses
        self._admin = ""
        self._is_begun = False
        self._is_ready = False

    def event(self, record: Log, now: float) -> str | None:
        """Return the lines for a record."""
        message = record.message
        if message == "listening":
            self._admin = said(record, "addr")
            return ""
        if message == "worker started":
            if self._is_ready:
                return self.line(now, f"worker {said(record, 'worker')} starts, process {said(record, 'pid')}")
            return "" if self._is_begun else self._begin()
        if message == "all workers are ready":
            self._is_ready = True
            return self.line(now, f"ready, {said(record, 'workers')} workers", "good")
        if message == "worker ended, another one follows":
            text = f"worker {said(record, 'worker')} has ended: {said(record, 'reason')}"
            return self.line(now, f"{text}; another one follows in {record.fields['retry_in_s']:g} s", "warn")
        if message == "draining":
            return self.stopping(record, now, f"{said(record, 'workers')} workers finish their requests")
        if message == "stopped":
            return self.line(now, "stopped")
        return None

    def _begin(self) -> str:
        self._is_begun = True
        found = open_ports(self._config)
        if found:
            self.warn_of_open(", ".join(port for port, _ in found))
        shared = {"proxy": "proxy", "upstream": "upstream", "join": "gossip"}
        bound = {name: str(self._addresses[listener]) for listener, name in shared.items()}
        return self.show_block({**bound, "admin": self._admin})


class WorkerScreen(ServerScreen):
    """The screen of one worker: its tunnels and requests, and what only it can tell.

    ``group`` is how the node IDs of all workers begin: what happens among them is not told.
    """

    def __init__(self, config: ServerConfig, group: str, *, colour: bool, width: int) -> None:
        super().__init__("", config, colour=colour, width=width)
        self._group = group

    def event(self, record: Log, now: float) -> str | None:
        """Return the lines for a record."""
        if record.message in TOLD_BY_PARENT:
            return ""
        if record.level == "info" and record.subsystem == "cluster" and said(record, "node").startswith(self._group):
            return ""
        return self.tunnel(record, now)
