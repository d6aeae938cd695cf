"""The names of a server's counters and tables in ``/metrics``. Names are Piko's, with the prefix ``pico_``.

Nothing is kept for this: a scrape reads what the machine counts anyway.
"""

from pico_core import __version__
from pico_core.gossip.engine import Gossip
from pico_core.gossip.status import NodeStatus
from pico_core.machine.admission import Admission
from pico_core.plain.exposition import Exposition, Histogram, labels
from pico_core.proxy.reasons import REASONS
from pico_core.server.facts import Facts
from pico_core.server.metrics import OTHER, ServerMetrics

GOSSIP_COUNTERS = {
    "packet_bytes_inbound": "Bytes of gossip datagrams received.",
    "packet_bytes_outbound": "Bytes of gossip datagrams sent.",
    "digest_entries_inbound": "Entries of digests received.",
    "digest_entries_outbound": "Entries of digests sent.",
    "delta_entries_inbound": "Entries of deltas received.",
    "delta_entries_outbound": "Entries of deltas sent.",
    "connections_inbound": "Gossip connections accepted.",
    "connections_outbound": "Gossip connections opened.",
    "stream_bytes_inbound": "Bytes received on gossip connections.",
    "stream_bytes_outbound": "Bytes sent on gossip connections.",
    "malformed": "Datagrams and streams that could not be read.",
    "unsealed": "Datagrams and streams of nodes without a gossip key, not read because this node has one.",
    "seals_refused": "Datagrams and streams that do not open: altered, forged, or sealed with an unknown key.",
    "seals_for_others": "Sealed datagrams for another process, or for one that their sender did not know yet.",
    "replays_refused": "Sealed datagrams that came a second time, or back to their sender.",
    "datagrams_refused": "Datagrams that were not read: too large, or more than their source may send.",
    "withheld": "Datagrams that were not sent, since their address has not answered and sent less itself.",
    "own_name": "Messages that came under the node ID of this node.",
    "gaps_refused": "Deltas refused because they would have left a gap.",
    "strangers_refused": "Deltas refused because they were about unknown nodes, or because of their sender.",
    "nodes_refused": "Nodes refused because the table is full or their name unusable.",
    "entries_refused": "Deltas cut short by the memory bounds.",
    "name_conflicts": "Times that entries of a former process with this node's ID were replaced.",
    "versions_withdrawn": "Times that false entries of a node were dropped because the node itself shows others.",
    "syncs": "Repairs over TCP.",
    "refutations": "Rounds moved forward because another node reported this one as silent.",
}
"""The fields of ``gossip.counters.Counters`` and what they mean."""

_FLAGS = ("false", "true")
_ENTRY_KINDS = [labels(internal=internal, deleted=deleted) for internal in _FLAGS for deleted in _FLAGS]


def metrics_text(facts: Facts, now: float) -> bytes:
    """Return all metrics of a server in the Prometheus text format."""
    out = Exposition()
    out.gauge("build_info", "1; the label says which version of Pico runs.", {labels(version=__version__): 1})
    _proxy(out, facts.metrics)
    out.counter(
        "proxy_policy_denials_total",
        "Requests that a policy did not let pass, by its part; bodies only where their length was known.",
        {labels(part=part): count for part, count in facts.policies.denials.items()},
    )
    _upstreams(out, facts)
    _logs(out, facts)
    out.counter(
        "upstreams_second_agents_total",
        "Agents that registered an endpoint which somebody else serves.",
        {labels(outcome=outcome): count for outcome, count in facts.metrics.second_agents.items()},
    )
    _connections(out, facts.admission)
    out.gauge("unfinished_heads_bytes", "Bytes of heads that have not come whole.", {"": facts.heads.used_bytes})
    out.counter(
        "unfinished_heads_refused_total",
        "Heads refused because the unfinished ones took too much memory.",
        {"": facts.heads.refused},
    )
    _cluster(out, facts)
    _gossip(out, facts.gossip, now)
    return out.text()


def _upstreams(out: Exposition, facts: Facts) -> None:
    out.gauge("upstreams_connected_upstreams", "Tunnels from agents that are open here.", {"": len(facts.tunnels)})
    out.gauge("upstreams_registered_endpoints", "Endpoints with a tunnel here.", {"": len(facts.registry.counts())})
    out.counter(
        "upstreams_upstream_requests_total",
        "Requests sent to a tunnel of this node.",
        {"": facts.metrics.upstream_requests},
    )
    out.counter(
        "proxy_headers_refused_total",
        "Connections of trusted proxies closed because they did not begin with a PROXY header, by the reason.",
        {
            labels(listener=listener, reason=reason): count
            for (listener, reason), count in facts.metrics.proxy_headers_refused.items()
        },
    )
    out.counter(
        "upstreams_registrations_refused_total",
        "Registrations refused because their address had too many.",
        {"": facts.metrics.registrations_refused},
    )


def _logs(out: Exposition, facts: Facts) -> None:
    out.counter(
        "log_lines_dropped_total",
        "Log lines lost because standard output or standard error did not take them.",
        {"": facts.metrics.log_lines_dropped},
    )
    out.counter(
        "log_lines_suppressed_total",
        "Log lines held back because there were many of their kind.",
        {"": facts.log_limits.suppressed},
    )


def _connections(out: Exposition, admission: Admission) -> None:
    ports = {labels(listener=name): port for name, port in admission.ports.items()}
    out.gauge("connections", "Open connections.", {label: len(port.channels) for label, port in ports.items()})
    out.gauge("connections_limit", "The most connections.", {label: port.limits.most for label, port in ports.items()})
    out.counter(
        "connections_refused_total",
        "Connections refused because there was no place for them.",
        {label: port.refused for label, port in ports.items()},
    )
    out.counter(
        "connections_closed_idle_total",
        "Idle connections closed because others needed their place.",
        {label: port.closed for label, port in ports.items()},
    )
    out.gauge("connections_outgoing", "Connections that this node opened or is opening.", {"": admission.outgoing})
    out.counter(
        "accepts_failed_total",
        "Times that the system had no descriptor or memory for a connection.",
        {"": admission.accepts_failed},
    )


def _proxy(out: Exposition, metrics: ServerMetrics) -> None:
    out.gauge(
        "proxy_requests_in_flight", "Requests and upgraded connections in progress.", {"": metrics.requests_in_flight}
    )
    out.counter(
        "proxy_requests_total",
        "Requests of clients of this node that were answered.",
        {_series(*key): each.count for key, each in metrics.requests.items()},
    )
    out.counter(
        "proxy_forwarded_requests_total",
        "Requests that other nodes forwarded to this one, which they count themselves.",
        {"": metrics.forwarded_requests},
    )
    out.counter(
        "proxy_errors_total",
        "Requests that their service did not answer, or not wholly, by the reason and by what decided.",
        {labels(reason=reason, by=REASONS[reason].by): count for reason, count in metrics.errors.items()},
    )
    latencies = {_series(*key): each.latency_s for key, each in metrics.requests.items() if key[1] != OTHER}
    latencies[_series(0, OTHER)] = metrics.other_latency_s
    out.histogram(
        "proxy_request_latency_seconds",
        "Time from the request head to the end of the response, of requests sent to an upstream or a node.",
        {label: latency for label, latency in latencies.items() if _is_used(latency)},
    )
    out.histogram("proxy_request_size_bytes", "Bytes of request bodies.", {"": metrics.request_bytes})
    out.histogram("proxy_response_size_bytes", "Bytes of response bodies.", {"": metrics.response_bytes})
    out.counter("proxy_retries_total", "Requests sent to another upstream or node again.", {"": metrics.retries})
    out.counter(
        "proxy_retries_denied_total",
        "Requests not sent again: their endpoint had no retry left.",
        {"": metrics.retries_denied},
    )
    out.counter(
        "proxy_failures_total",
        "Upstreams that gave no response to a request, or not a whole one.",
        {labels(reason=reason): count for reason, count in metrics.failures.items()},
    )
    out.counter(
        "proxy_incomplete_responses_total",
        "Responses that broke off after they had begun, by the side that ended them.",
        {labels(by=side): count for side, count in metrics.incomplete.items()},
    )


def _series(status: int, method: bytes) -> str:
    return labels(status=str(status or "other"), method=method.decode("ascii"))


def _is_used(histogram: Histogram) -> bool:
    return any(histogram.counts)


def _cluster(out: Exposition, facts: Facts) -> None:
    counts = dict.fromkeys(NodeStatus, 0)
    counts[NodeStatus.LEFT if facts.left else NodeStatus.ACTIVE] += 1
    for peer in facts.view:
        counts[peer.status] += 1
    out.counter(
        "upstreams_remote_requests_total",
        "Requests forwarded to a node.",
        {labels(node_id=peer.id): peer.requests for peer in facts.view if peer.requests},
    )
    out.gauge(
        "cluster_nodes",
        "Known nodes, this one included.",
        {labels(status=status.value): count for status, count in counts.items()},
    )


def _gossip(out: Exposition, gossip: Gossip, now: float) -> None:
    for name, meaning in GOSSIP_COUNTERS.items():
        out.counter(f"gossip_{name}_total", meaning, {"": getattr(gossip.counters, name)})
    out.gauge("gossip_entries", "Entries of the states of all known nodes.", _entries(gossip, now))


def _entries(gossip: Gossip, now: float) -> dict[str, int]:
    """Count every node's entries by kind: a loop over all there are, 60 ns each, so it does nothing else."""
    samples: dict[str, int] = {}
    for row in gossip.snapshot(now):
        label = labels(node_id=row.id)
        counts = [0, 0, 0, 0]
        for entry in gossip.entries(row.id) or ():
            counts[2 * entry.internal + entry.deleted] += 1
        for kind, count in zip(_ENTRY_KINDS, counts, strict=True):
            if count:
                samples[f"{label},{kind}"] = count
    return samples
