"""The pages of an agent's admin port: health, readiness, metrics and status.

``/ready`` says whether every endpoint has a tunnel, so that a rolling update of an agent's Deployment waits for them.
"""

import msgspec

from pico_core.agent.counts import CLASSES
from pico_core.agent.listener import AgentListener, ListenerState
from pico_core.plain.exposition import CONTENT_TYPE, Exposition, labels
from pico_core.plain.hosts import HostNames, unknown_host
from pico_core.plain.server import JSON, PLAIN_TEXT, PlainConnection, Question
from pico_core.proxy.reasons import REASONS

UNKNOWN_HOST = unknown_host("agent")


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
    """A ``PlainHandler``; ``listeners`` are those of the agent, which come and go."""

    def __init__(self, listeners: dict[AgentListener, None], server: str, allowed_hosts: tuple[str, ...]) -> None:
        self._listeners = listeners
        self._server = server
        self._hosts = HostNames(allowed_hosts)

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Answer one request."""
        path = question.path
        if path == "/health":
            connection.respond(200, PLAIN_TEXT, b"ok\n", now)
        elif path == "/ready":
            self._ready(connection, now)
        elif not self._hosts.knows(question.host):
            connection.refuse(421, UNKNOWN_HOST, now)
        elif path == "/metrics":
            connection.respond(200, CONTENT_TYPE, metrics_text(self._listeners), now)
        elif path == "/status":
            rows = [_row(each) for each in self._listeners]
            document = {"server": self._server, "endpoints": rows}
            connection.respond(200, JSON, msgspec.json.encode(document), now)
        else:
            connection.refuse(404, "not found: there are /health, /ready, /metrics and /status", now)

    def _ready(self, connection: PlainConnection, now: float) -> None:
        served = {id(each.config) for each in self._listeners if each.has_tunnel}
        missing = list(
            dict.fromkeys(each.config.endpoint_id for each in self._listeners if id(each.config) not in served)
        )
        if missing:
            names = ", ".join(missing[:10]) + (" and more" if len(missing) > 10 else "")
            connection.respond(503, PLAIN_TEXT, f"no tunnel: {names}\n".encode(), now)
        else:
            connection.respond(200, PLAIN_TEXT, b"ready\n", now)


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
