"""The groups of figures by name. One more is a function that yields cases, and a row here."""

from dataclasses import dataclass

from benchmarks import bulk, cluster, start, traffic, workers
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
    "bulk": Row(bulk.bulk, "CPU of a gibibyte each way", ("nginx", "curl")),
    "clients": Row(traffic.clients, "CPU of a request by the number of clients", OVER_HTTP),
    "nodes": Row(cluster.hop, "CPU of a request through two nodes", OVER_HTTP),
    "gossip": Row(cluster.gossip, "CPU and memory of an idle node by the size of its cluster", ("nginx",)),
    "workers": Row(workers.workers, "CPU of a request with two workers", OVER_HTTP),
}
