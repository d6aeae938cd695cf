"""The admin port of a process that is a client of the server, an agent or a forwarder: four pages, without a token."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pico_core.boundary import Listening
from pico_core.config.logs import LogConfig
from pico_core.config.values import Address, is_loopback
from pico_core.machine.admission import PortLimits
from pico_core.machine.parts import AdminHost, Logger
from pico_core.plain.exposition import CONTENT_TYPE
from pico_core.plain.hosts import HostNames, unknown_host
from pico_core.plain.log_levels import LogLevels, is_log_levels
from pico_core.plain.process_metrics import process_text
from pico_core.plain.server import JSON, PLAIN_TEXT, PlainConnection, Question
from pico_core.records import ProcessMeasured

ADMIN = "admin"
"""The name of the listener."""

MAX_OPERATORS = 64
"""As many connections as a server keeps for its own admin port."""
ADMIN_PLACES = PortLimits(MAX_OPERATORS, 0)
"""Operators are few."""


def admin_refused(addr: Address | None, reason: str) -> str:
    """Return why the process ends: what watches it would not see it."""
    return f"cannot listen on admin address '{addr}': {reason}; choose another one with --admin.bind-addr"


OPEN_PORT = "anyone who reaches this port may use it: let only those reach it whom you trust"
"""A warning about a port of a client that other hosts reach: none asks for anything."""


def tell_admin_port(host: Logger, event: Listening) -> None:
    """Log where operators can ask, and warn where others can."""
    addr = str(Address(event.host, event.port))
    host.log("info", ADMIN, "listening", addr=addr)
    if not is_loopback(event.host):
        host.log("warning", ADMIN, OPEN_PORT, addr=addr)


NAMES_SHOWN = 10
"""How many of those that are missing ``/ready`` names."""


class Told(Protocol):
    """The facts that a process tells of itself. ``kind`` says which program it is."""

    kind: str

    def lacking(self) -> tuple[str, Sequence[str]]:
        """Return why the process is not ready, and the names that this is true of; it is ready where there are none."""

    def metrics_text(self) -> bytes:
        """Return its metrics in the Prometheus text format."""

    def status_document(self) -> object:
        """Return the document of ``/status``, for JSON."""


class ClientPages:
    """A ``PlainHandler``."""

    def __init__(self, told: Told, host: AdminHost, allowed_hosts: tuple[str, ...], log: LogConfig) -> None:
        self._told = told
        self._host = host
        self.levels = LogLevels(log, host.use_log, host)
        self._hosts = HostNames(allowed_hosts)

    def configure(self, log: LogConfig) -> None:
        """The configuration was read again."""
        self.levels.configure(log)

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Answer one request."""
        path = question.path
        if path == "/health":
            connection.respond(200, PLAIN_TEXT, b"ok\n", now)
        elif path == "/ready":
            self._ready(connection, now)
        elif not self._hosts.knows(question.host):
            connection.refuse(421, unknown_host(self._told.kind), now)
        elif path == "/metrics":
            self._metrics(connection)
        elif path == "/status":
            connection.respond(200, JSON, msgspec.json.encode(self._told.status_document()), now)
        elif is_log_levels(path):
            self.levels.answer(connection, question, has_token=False, now=now)
        else:
            connection.refuse(404, "not found: there are /health, /ready, /metrics and /status", now)

    def _ready(self, connection: PlainConnection, now: float) -> None:
        reason, missing = self._told.lacking()
        if missing:
            names = ", ".join(missing[:NAMES_SHOWN]) + (" and more" if len(missing) > NAMES_SHOWN else "")
            connection.respond(503, PLAIN_TEXT, f"{reason}: {names}\n".encode(), now)
        else:
            connection.respond(200, PLAIN_TEXT, b"ready\n", now)

    def _metrics(self, connection: PlainConnection) -> None:
        def respond(measured: ProcessMeasured, now: float) -> None:
            connection.respond(200, CONTENT_TYPE, self._told.metrics_text() + process_text(measured), now)

        self._host.measure_process(respond)
