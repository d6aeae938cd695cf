"""The lines of a terminal about an agent: the URLs of its endpoints, the state of their services, and requests."""

from collections.abc import Sequence

import msgspec

from pico_core.records import Log
from pico_tunnel.access_lines import plain
from pico_tunnel.screen import Screen, said

MAX_ROWS = 10
"""Endpoints that the block shows; of more it tells the number."""

UNKNOWN = ""


class Row(msgspec.Struct):
    """One endpoint. ``service`` is what it leads to; ``state`` is of it, empty before the first check."""

    endpoint: str
    protocol: str
    service: str
    is_probed: bool = True
    state: str = UNKNOWN
    url: str = ""
    node: str = ""
    failing: str = ""


class AgentScreen(Screen):
    """Shows its block when every endpoint has a tunnel and every service was tried, or when that takes long."""

    def __init__(self, title: str, server: str, rows: Sequence[Row], *, colour: bool, width: int) -> None:
        super().__init__(title, colour=colour, width=width)
        self.has_many = len(rows) > 1
        self._server = server
        self._rows = {row.endpoint: row for row in rows}
        self._ports: dict[str, str] = {}
        self._is_shown = False
        self._lost: dict[str, float] = {}
        """Since when endpoints have no tunnel."""

    def event(self, record: Log, now: float) -> str | None:
        """Return the lines for a record."""
        if record.subsystem in ("admin", "inspect") and record.message == "listening" and not self._is_shown:
            name = "status" if record.subsystem == "admin" else "inspect"
            path = "/status" if record.subsystem == "admin" else "/"
            self._ports[name] = f"http://{said(record, 'addr')}{path}"
            return ""
        handler = HANDLERS.get(record.message)
        row = self._rows.get(str(record.fields.get("endpoint", "")))
        if handler is not None:
            return handler(self, row or Row("", "http", ""), record, now)
        if "retry_in_s" in record.fields and record.level != "debug":
            return self._trying(record, now)
        return None

    def request(self, line: bytes, now: float) -> str:
        """Return the line of a request; a service that answered may fail anew."""
        text = super().request(line, now)
        fields = self._last_fields
        row = self._rows.get(str(fields.get("endpoint", "")))
        if row is not None and "reason" not in fields:
            row.failing = ""
        return text

    # --- records ---

    def _registered(self, row: Row, record: Log, now: float) -> str:
        row.url, row.node = said(record, "url"), said(record, "node")
        since = self._lost.pop(row.endpoint, None)
        if not self._is_shown:
            return self._block_if_complete()
        after = "" if since is None else f" again after {now - since:.1f} s"
        return self.line(now, f"{self._name(row)}connected{after}, node {row.node}", "good")

    def _answers(self, row: Row, record: Log, now: float) -> str:
        row.state, row.failing = "answers", ""
        return self._stated(row, now, "good")

    def _does_not_answer(self, row: Row, record: Log, now: float) -> str:
        row.state = f"does not answer yet: {said(record, 'reason')}"
        return self._stated(row, now, "warn")

    def _stated(self, row: Row, now: float, kind: str) -> str:
        if not self._is_shown:
            return self._block_if_complete()
        return self.line(now, f"service {row.service} {row.state}", kind)

    def _still_connecting(self, row: Row, record: Log, now: float) -> str:
        self._lost.setdefault(row.endpoint, now)
        why = f": {said(record, 'reason')}" if "reason" in record.fields else ""
        text = f"{self._name(row)}connecting to {self._server} ({said(record, 'for_s')} s){why}"
        return self._block() + self.line(now, text, "warn")

    def _trying(self, record: Log, now: float) -> str:
        self._lost.setdefault(str(record.fields.get("endpoint", "")), now)
        name = f"{said(record, 'endpoint')}: " if self.has_many else ""
        text = f"{name}{plain(record.message)}; trying again in {record.fields['retry_in_s']} s"
        return self._block() + self.line(now, text, "warn")

    def _service_failed(self, row: Row, record: Log, now: float) -> str:
        """Show how a service failed once, until it answers again: each request has a line of its own."""
        failing = f"{said(record, 'failure')}: {said(record, 'reason')}"
        if failing == row.failing:
            return ""
        row.failing = failing
        return self._block() + self.line(now, f"service {said(record, 'addr')}: {failing}", "bad")

    def _shared(self, row: Row, record: Log, now: float) -> str:
        text = f"another agent serves '{row.endpoint}' too: requests are shared between you"
        return self._block() + self.line(now, text, "warn")

    def _stopping(self, row: Row, record: Log, now: float) -> str:
        if not record.fields.get("streams"):
            return self.line(now, "stopping")
        text = f"stopping when the last request is over, in {record.fields['at_most_s']:g} s at most"
        return self.line(now, f"{text}; Ctrl-C again stops it at once")

    def _stopped(self, row: Row, record: Log, now: float) -> str:
        return self.line(now, "stopped")

    def _hidden(self, row: Row, record: Log, now: float) -> str:
        return ""

    # --- the block ---

    def _block_if_complete(self) -> str:
        rows = self._rows.values()
        complete = all(row.node or row.url for row in rows) and all(row.state or not row.is_probed for row in rows)
        return self._block() if complete else ""

    def _block(self) -> str:
        if self._is_shown:
            return ""
        self._is_shown = True
        nodes = dict.fromkeys(row.node for row in self._rows.values() if row.node)
        lines = [pair for row in list(self._rows.values())[:MAX_ROWS] for pair in self._lines_of(row)]
        if len(self._rows) > MAX_ROWS:
            lines.append(("", f"and {len(self._rows) - MAX_ROWS} more"))
        found = f"   node {', '.join(nodes)}" if nodes else f"   {self.paint('not connected yet', 'warn')}"
        lines.append(("server", self._server + found))
        return self.block([*lines, *self._ports.items()])

    def _lines_of(self, row: Row) -> list[tuple[str, str]]:
        kind = "good" if row.state == "answers" else "warn"
        service = f"{row.service}   {self.paint(row.state, kind)}".rstrip()
        if row.protocol == "tcp":
            reached = f"pico forward tcp PORT {row.endpoint}"
        else:
            reached = row.url or f"its clients send x-pico-endpoint: {row.endpoint}"
        if not self.has_many:
            return [("URL" if row.url else "endpoint", reached), ("service", service)]
        return [(row.endpoint, f"{reached}   to {service}")]

    def _name(self, row: Row) -> str:
        return f"{row.endpoint}: " if self.has_many and row.endpoint else ""


HANDLERS = {
    "endpoint registered": AgentScreen._registered,  # noqa: SLF001 - our own
    "the service answers": AgentScreen._answers,  # noqa: SLF001 - our own
    "the service does not answer": AgentScreen._does_not_answer,  # noqa: SLF001 - our own
    "still connecting": AgentScreen._still_connecting,  # noqa: SLF001 - our own
    "cannot reach the service": AgentScreen._service_failed,  # noqa: SLF001 - our own
    "the service failed": AgentScreen._service_failed,  # noqa: SLF001 - our own
    "another agent serves this endpoint too, and gets a part of its requests": AgentScreen._shared,  # noqa: SLF001
    "draining": AgentScreen._stopping,  # noqa: SLF001 - our own
    "stopped": AgentScreen._stopped,  # noqa: SLF001 - our own
    "further tunnel opened": AgentScreen._hidden,  # noqa: SLF001 - our own
    "trying often for a while": AgentScreen._hidden,  # noqa: SLF001 - our own
}
"""The method that shows a message, where the terminal shows it otherwise than the log."""
