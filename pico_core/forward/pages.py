"""The counters of a forwarder's connections, and the pages that tell them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from pico_core import __version__
from pico_core.config.forward import PortConfig
from pico_core.machine.admission import Admission
from pico_core.plain.exposition import Exposition, labels
from pico_core.proxy.reasons import CLIENT_LEFT

REFUSED = "refused"
UNREACHABLE = "unreachable"

FAILURES = (REFUSED, UNREACHABLE, CLIENT_LEFT)
"""Why a local connection did not reach its endpoint: the server or a balancer refused it, or did not answer within
``connect.timeout``, or the client left meanwhile."""


class EndpointCounts:
    """The local connections for one endpoint: those that are ``open``, waiting ones included, and what became of all.

    ``retries`` counts further attempts to reach it.
    """

    __slots__ = ("accepted", "failures", "open", "retries")

    def __init__(self) -> None:
        self.open = 0
        self.accepted = 0
        self.retries = 0
        self.failures = dict.fromkeys(FAILURES, 0)

    def failed(self, reason: str) -> None:
        """Count a connection that is over without having reached its endpoint."""
        self.open -= 1
        self.failures[reason] += 1


class PortStatus(msgspec.Struct, frozen=True):
    """One port in ``/status``; the counts are those of its endpoint."""

    addr: str
    endpoint: str
    listening: bool
    connections: int
    accepted: int
    failures: dict[str, int]


class Forwarder(Protocol):
    """The part of the machine that the pages read; ``ports``, ``counts`` and ``listening`` change while it runs."""

    ports: dict[str, PortConfig]
    counts: dict[str, EndpointCounts]
    listening: dict[str, str]
    admission: Admission


class ForwardPages:
    """The pages of a forwarder (``Told``)."""

    kind = "forwarder"

    def __init__(self, machine: Forwarder, server: str) -> None:
        self._machine = machine
        self._server = server

    def lacking(self) -> tuple[str, Sequence[str]]:
        """Return the addresses of the ports that are not open."""
        machine = self._machine
        return "not listening", [
            str(port.addr) for name, port in machine.ports.items() if name not in machine.listening
        ]

    def metrics_text(self) -> bytes:
        """Return the metrics of the forwarder. Endpoints are its own configuration, so their labels are bounded."""
        machine = self._machine
        out = Exposition()
        out.gauge(
            "forward_build_info", "1; the label says which version of Pico runs.", {labels(version=__version__): 1}
        )
        out.gauge(
            "forward_listening",
            "Whether the port is open.",
            {
                labels(addr=str(port.addr), endpoint=port.endpoint_id): int(name in machine.listening)
                for name, port in machine.ports.items()
            },
        )
        rows = {labels(endpoint=endpoint): counts for endpoint, counts in machine.counts.items()}
        _counted(out, rows)
        out.counter(
            "forward_connections_refused_total", "Connections refused for want of a descriptor.", self._refused()
        )
        return out.text()

    def _refused(self) -> dict[str, int]:
        machine = self._machine
        found = {labels(endpoint=endpoint): 0 for endpoint in machine.counts}
        for name, port in machine.ports.items():
            if name in machine.admission.ports:
                found[labels(endpoint=port.endpoint_id)] += machine.admission.ports[name].refused
        return found

    def status_document(self) -> object:
        """Return the state of each port."""
        machine = self._machine
        rows = []
        for name, port in machine.ports.items():
            counts = machine.counts[port.endpoint_id]
            addr = machine.listening.get(name)
            rows.append(
                PortStatus(
                    addr or str(port.addr),
                    port.endpoint_id,
                    addr is not None,
                    counts.open,
                    counts.accepted,
                    counts.failures,
                )
            )
        return {"server": self._server, "ports": rows}


def _counted(out: Exposition, rows: Mapping[str, EndpointCounts]) -> None:
    out.gauge(
        "forward_connections",
        "Local connections that are open, those that wait for their endpoint included.",
        {label: each.open for label, each in rows.items()},
    )
    out.counter(
        "forward_accepted_total",
        "Local connections that were accepted.",
        {label: each.accepted for label, each in rows.items()},
    )
    out.counter(
        "forward_retries_total",
        "Further attempts to reach the endpoint for a connection that waited.",
        {label: each.retries for label, each in rows.items()},
    )
    out.counter(
        "forward_failures_total",
        "Local connections that did not reach their endpoint, by the reason.",
        {
            f"{label},{labels(reason=reason)}": count
            for label, each in rows.items()
            for reason, count in each.failures.items()
        },
    )
