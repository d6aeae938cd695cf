"""The groups of figures by name. One more is a function that yields cases, and a row here."""

from dataclasses import dataclass

from benchmarks import apps, bulk, cluster, idle, latency, start, streams, tls, traffic, workers
from benchmarks.cases import Group
from benchmarks.machines import group_of

OVER_HTTP = ("nginx", "wrk")


@dataclass(frozen=True)
class Row:
    """A group, what it measures, and the programs without which it cannot."""

    run: Group
    about: str
    needs: tuple[str, ...] = ()


US = "us a request"
GROUPS = {
    "server": Row(group_of("server", "machines_server", US, "server, equal heads"), "the server's machine alone"),
    "agent": Row(group_of("agent", "machines_agent", US, "agent, equal heads"), "the agent's machine alone"),
    "tokens": Row(group_of("tokens", "machines_access", US, "equal heads, no check"), "what the access check adds"),
    "heads": Row(group_of("heads", "machines_http", "us"), "cutting, parsing and writing a head; h11's parsing"),
    "mux": Row(group_of("mux", "machines_mux", "us"), "WebSocket, yamux and tunnel engines alone"),
    "key": Row(group_of("key", "gossip_seal", "us a packet"), "what a gossip key costs"),
    "start": Row(start.group, "CPU of a start"),
    "traffic": Row(traffic.traffic, "CPU of a request, heads of real traffic and small uploads", OVER_HTTP),
    "streams": Row(streams.streams, "CPU of a message: server-sent events, WebSocket, TCP", ("nginx",)),
    "bulk": Row(bulk.bulk, "CPU of a gibibyte each way", ("nginx", "curl")),
    "apps": Row(apps.apps, "CPU of a request to an application in process, beside uvicorn", OVER_HTTP),
    "clients": Row(traffic.clients, "CPU of a request by the number of clients", OVER_HTTP),
    "nodes": Row(cluster.hop, "CPU of a request through two nodes", OVER_HTTP),
    "tls": Row(tls.tls, "CPU of a request and of a gibibyte over TLS", (*OVER_HTTP, "curl")),
    "idle": Row(idle.idle, "memory of idle tunnels and connections, CPU of idle tunnels", ("nginx",)),
    "gossip": Row(cluster.gossip, "CPU and memory of an idle node by the size of its cluster", ("nginx",)),
    "latency": Row(latency.latency, "latency at fixed rates, from when a request was due", ("nginx",)),
    "workers": Row(workers.workers, "CPU of a request with two workers", OVER_HTTP),
}
