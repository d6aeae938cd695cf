"""The groups of figures by name. One more is a function that yields cases, and a row here."""

from dataclasses import dataclass

from benchmarks import apps, bulk, cluster, idle, latency, start, streams, tls, traffic, workers
from benchmarks.cases import Group
from benchmarks.machines import group_of

OVER_HTTP = ("nginx", "wrk")


@dataclass(frozen=True)
class GroupRow:
    """A group, what it measures, and the programs without which it cannot."""

    run: Group
    about: str
    needs: tuple[str, ...] = ()


US = "us a request"
GROUPS = {
    "server": GroupRow(group_of("server", "machines_server", US, "server, equal heads"), "the server's machine alone"),
    "agent": GroupRow(group_of("agent", "machines_agent", US, "agent, equal heads"), "the agent's machine alone"),
    "hop": GroupRow(group_of("hop", "machines_nodes", US), "the machines of two nodes, one of which forwards"),
    "tokens": GroupRow(
        group_of("tokens", "machines_access", US, "equal heads, no check"), "what the access check adds"
    ),
    "heads": GroupRow(group_of("heads", "machines_http", "us"), "cutting, parsing and writing a head; h11's parsing"),
    "mux": GroupRow(group_of("mux", "machines_mux", "us"), "WebSocket, yamux and tunnel engines alone"),
    "key": GroupRow(group_of("key", "gossip_seal", "us a packet"), "what a gossip key costs"),
    "start": GroupRow(start.group, "CPU of a start"),
    "traffic": GroupRow(traffic.traffic, "CPU of a request, heads of real traffic and small uploads", OVER_HTTP),
    "streams": GroupRow(streams.streams, "CPU of a message: server-sent events, WebSocket, TCP", ("nginx",)),
    "bulk": GroupRow(bulk.bulk, "CPU of a gibibyte each way", ("nginx", "curl")),
    "apps": GroupRow(apps.apps, "CPU of a request to an application in process, beside uvicorn", OVER_HTTP),
    "clients": GroupRow(traffic.clients, "CPU of a request by the number of clients", OVER_HTTP),
    "nodes": GroupRow(cluster.hop, "CPU of a request through two nodes", OVER_HTTP),
    "tls": GroupRow(tls.tls, "CPU of a request and of a gibibyte over TLS", (*OVER_HTTP, "curl")),
    "idle": GroupRow(idle.idle, "memory of idle tunnels and connections, CPU of idle tunnels", ("nginx",)),
    "gossip": GroupRow(cluster.gossip, "CPU and memory of an idle node by the size of its cluster", ("nginx",)),
    "latency": GroupRow(latency.latency, "latency at fixed rates, from when a request was due", ("nginx",)),
    "workers": GroupRow(workers.workers, "CPU of a request with two workers", OVER_HTTP),
}
