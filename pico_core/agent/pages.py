"""The pages of an agent's admin port: health, readiness, metrics and status.

``/ready`` says whether every endpoint has a tunnel, so that a rolling update of an agent's Deployment waits for them.
"""

from collections.abc import Sequence

import msgspec

from pico_core import __version__
from pico_core.agent.counts import CLASSES
from pico_core.agent.listener import AgentListener, ListenerState
from pico_core.plain.exposition import Exposition, labels
from pico_core.proxy.reasons import REASONS


class EndpointStatus(msgspec.Struct, frozen=True):
    """One endpoint in ``/status``. ``url`` and ``node`` are what the server told, empty before it did."""

    endpoint: str
    protocol: str
    addr: str
    state: str
    tunnels: int
    streams: int
    url: str
    node: str
    requests: dict[str, int]
    errors: dict[str, int]


class AgentPages:
    """The pages of an agent (``Told``). ``listeners`` are those of the agent, which come and go."""

    kind = "agent"

    def __init__(self, listeners: dict[AgentListener, None], server: str) -> None:
        self._listeners = listeners
        self._server = server

    def lacking(self) -> tuple[str, Sequence[str]]:
        """Return the endpoints that have no tunnel."""
        served = {id(each.config) for each in self._listeners if each.has_tunnel}
        without = [each.config.endpoint_id for each in self._listeners if id(each.config) not in served]
        return "no tunnel", list(dict.fromkeys(without))

    def metrics_text(self) -> bytes:
        """Return the page ``/metrics``, in the text format of Prometheus."""
        return metrics_text(self._listeners)

    def status_document(self) -> object:
        """Return the state of each endpoint."""
        return {"server": self._server, "endpoints": [_row(each) for each in self._listeners]}


def _row(listener: AgentListener) -> EndpointStatus:
    config, counts = listener.config, listener.counts
    requests = {name: counts.requests[number] for number, name in enumerate(CLASSES, 1)}
    return EndpointStatus(
        config.endpoint_id,
        config.protocol,
        str(config.addr),
        listener.state.value,
        listener.tunnel_count,
        listener.stream_count,
        listener.url,
        listener.node,
        requests if config.protocol == "http" else {},
        dict(sorted(counts.errors.items())),
    )


def metrics_text(listeners: dict[AgentListener, None]) -> bytes:
    """Return the metrics of an agent. Endpoints are its own configuration, so their labels are bounded."""
    out = Exposition()
    out.gauge("agent_build_info", "1; the label says which version of Pico runs.", {labels(version=__version__): 1})
    rows = {labels(endpoint=each.config.endpoint_id): each for each in listeners}
    tunnels = dict.fromkeys(rows, 0)
    streams = dict.fromkeys(rows, 0)
    registered = dict.fromkeys(rows, 0)
    for each in listeners:
        label = labels(endpoint=each.config.endpoint_id)
        tunnels[label] += each.tunnel_count
        streams[label] += each.stream_count
        registered[label] |= int(each.state in (ListenerState.SERVING, ListenerState.MOVING))
    out.gauge("agent_tunnels", "Tunnels that are open.", tunnels)
    out.gauge("agent_streams", "Streams that are open: a request or a connection each, or kept for one.", streams)
    out.gauge("agent_registered", "Whether the endpoint has a tunnel.", registered)
    out.counter(
        "agent_requests_total",
        "Requests that the service was asked, by the class of their status.",
        {
            labels(endpoint=each.config.endpoint_id, status=name): each.counts.requests[number]
            for each in rows.values()
            for number, name in enumerate(CLASSES, 1)
            if each.config.protocol == "http"
        },
    )
    out.counter(
        "agent_retries_total",
        "Requests that were sent again on a new connection, since a kept one to the service had ended.",
        {label: each.counts.retries for label, each in rows.items() if each.config.protocol == "http"},
    )
    out.counter(
        "agent_connections_total",
        "Connections that the service was opened, for tcp endpoints.",
        {label: each.counts.connections for label, each in rows.items() if each.config.protocol == "tcp"},
    )
    out.counter(
        "agent_errors_total",
        "Requests and connections that the service did not answer, or not wholly.",
        {
            labels(endpoint=each.config.endpoint_id, reason=reason, by=REASONS[reason].by): count
            for each in rows.values()
            for reason, count in each.counts.errors.items()
        },
    )
    return out.text()
