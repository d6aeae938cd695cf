"""``/metrics`` of a server: every name of the protocol page, with values that a parser reads back."""

import random
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pico_core.boundary import (
    Connect,
    ConnectFailed,
    DatagramReceived,
    LogLinesDropped,
    Received,
    Send,
    ShutdownRequested,
    Tick,
)
from pico_core.config.server import ServerConfig
from pico_core.gossip.counters import Counters
from pico_core.plain.process_metrics import process_text
from pico_core.server.admin.metrics_text import GOSSIP_COUNTERS, metrics_text
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, CLIENT, GET, OK, QUIET, proxy_play
from tests.core.server.admin.scene import OPERATOR, admin_play, ask, node_appears
from tests.play import USAGE, Data, Play, node_of

PAGE = {
    "proxy_requests_in_flight": "gauge",
    "proxy_requests": "counter",
    "proxy_request_latency_seconds": "histogram",
    "proxy_request_size_bytes": "histogram",
    "proxy_response_size_bytes": "histogram",
    "upstreams_connected_upstreams": "gauge",
    "upstreams_registered_endpoints": "gauge",
    "upstreams_upstream_requests": "counter",
    "upstreams_remote_requests": "counter",
    "log_lines_dropped": "counter",
    "cluster_nodes": "gauge",
    "gossip_connections_inbound": "counter",
    "gossip_connections_outbound": "counter",
    "gossip_stream_bytes_inbound": "counter",
    "gossip_stream_bytes_outbound": "counter",
    "gossip_packet_bytes_inbound": "counter",
    "gossip_packet_bytes_outbound": "counter",
    "gossip_digest_entries_inbound": "counter",
    "gossip_digest_entries_outbound": "counter",
    "gossip_delta_entries_inbound": "counter",
    "gossip_delta_entries_outbound": "counter",
    "gossip_entries": "gauge",
}
"""Names without prefix, and without ``_total`` as the parser gives them."""


def samples(play: Play) -> dict[str, float]:
    """Return all samples, by name and labels as they are written."""
    lines = metrics_text(node_of(play).facts, play.now).decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_every_name_of_the_page() -> None:
    families = text_string_to_metric_families(metrics_text(node_of(admin_play()).facts, 0.0).decode())
    types = {family.name: family.type for family in families}
    assert {f"pico_{name}": kind for name, kind in PAGE.items()}.items() <= types.items()
    assert all(name.startswith("pico_") for name in types)


def test_every_name_is_explained_to_operators() -> None:
    page = (Path(__file__).parents[4] / "docs" / "operating.md").read_text()
    text = metrics_text(node_of(admin_play()).facts, 0.0).decode()
    names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_counter_of_gossip_is_exposed() -> None:
    assert tuple(GOSSIP_COUNTERS) == Counters.__struct_fields__


def test_an_answer_of_the_admin_port() -> None:
    play = admin_play() >> ask("/metrics")
    (answer,) = [each for each in play.take() if isinstance(each, Send)]
    text = metrics_text(node_of(play).facts, play.now) + process_text(USAGE)
    assert answer == Send(
        OPERATOR,
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"
        b"content-length: %d\r\nx-content-type-options: nosniff\r\n\r\n%b" % (len(text), text),
    )


def test_before_the_ports_are_open() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    assert samples(play)["pico_proxy_requests_in_flight"] == 0
    assert samples(play)["pico_gossip_packet_bytes_inbound_total"] == 0


def test_a_request_to_a_tunnel() -> None:
    play = proxy_play(QUIET) >> Received(CLIENT, GET)
    play.take()
    assert samples(play)["pico_proxy_requests_in_flight"] == 1
    play >> 0.2 >> Data(AGENT, 2, OK)
    play.take()
    found = samples(play)
    assert found["pico_proxy_requests_in_flight"] == 0
    assert found['pico_proxy_requests_total{status="200",method="GET"}'] == 1
    assert found['pico_proxy_request_latency_seconds_bucket{status="200",method="GET",le="0.1"}'] == 0
    assert found['pico_proxy_request_latency_seconds_bucket{status="200",method="GET",le="0.25"}'] == 1
    assert found['pico_proxy_request_latency_seconds_count{status="200",method="GET"}'] == 1
    assert found["pico_proxy_response_size_bytes_sum"] == 2
    assert found["pico_upstreams_connected_upstreams"] == 1
    assert found["pico_upstreams_registered_endpoints"] == 1
    assert found["pico_upstreams_upstream_requests_total"] == 1
    assert 'pico_proxy_request_latency_seconds_count{status="other",method="other"}' not in found


def test_methods_without_a_label() -> None:
    play = proxy_play(QUIET) >> Received(CLIENT, GET.replace(b"GET", b"BREW"))
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n")
    play.take()
    found = samples(play)
    assert found['pico_proxy_requests_total{status="other",method="other"}'] == 1
    assert found['pico_proxy_request_latency_seconds_count{status="other",method="other"}'] == 1


def test_a_request_forwarded_to_a_node() -> None:
    play = proxy_play(QUIET)
    node_appears(play, "node-2", "10.0.0.2", **{"proxy_addr": "10.0.0.2:8000", "endpoint:e2": "3"})
    assert 'pico_upstreams_remote_requests_total{node_id="node-2"}' not in samples(play)
    play >> Received(CLIENT, GET.replace(b"e1", b"e2"))
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    play >> ConnectFailed(connect.connection, "refused")
    play.take()
    found = samples(play)
    assert found['pico_upstreams_remote_requests_total{node_id="node-2"}'] == 1
    assert found["pico_proxy_retries_total"] == 0  # it waits for a route, and was sent nowhere


def test_nodes_and_their_entries() -> None:
    play = admin_play()
    found = samples(play)
    assert found['pico_cluster_nodes{status="active"}'] == 1
    assert found['pico_cluster_nodes{status="unreachable"}'] == 0
    assert found['pico_gossip_entries{node_id="node-1",internal="false",deleted="false"}'] == 2
    assert found['pico_gossip_entries{node_id="node-1",internal="true",deleted="false"}'] == 1
    assert 'pico_gossip_entries{node_id="node-1",internal="true",deleted="true"}' not in found
    node_appears(play, 'n"2', "10.0.0.2", **{"proxy_addr": "10.0.0.2:8000", "endpoint:e2": "3"})
    found = samples(play)
    assert found['pico_cluster_nodes{status="active"}'] == 2
    assert found['pico_gossip_entries{node_id="n\\"2",internal="false",deleted="false"}'] == 2
    assert found["pico_gossip_delta_entries_inbound_total"] == 2


def test_a_node_that_falls_silent() -> None:
    play = admin_play()
    node_appears(play, "node-2", "10.0.0.2", proxy_addr="10.0.0.2:8000")
    play >> 30.0
    play.take()
    found = samples(play)
    assert found['pico_cluster_nodes{status="active"}'] == 1
    assert found['pico_cluster_nodes{status="unreachable"}'] == 1


def test_this_node_leaves() -> None:
    play = admin_play() >> ShutdownRequested() >> 10.0
    play.take()
    assert samples(play)['pico_cluster_nodes{status="left"}'] == 1


def test_malformed_gossip_is_counted() -> None:
    play = admin_play() >> DatagramReceived("gossip", b"\x01\x02garbage", "10.0.0.9", 8003)
    play.take()
    assert samples(play)["pico_gossip_malformed_total"] == 1


def test_a_deleted_endpoint_is_a_tombstone() -> None:
    play = proxy_play(QUIET)
    label = 'pico_gossip_entries{node_id="node-1",internal="false",deleted="true"}'
    assert label not in samples(play)
    play.agent_registers(5, "e2")
    play.machine.handle(Received(5, b"\xff\xff"), play.now)
    play.take()
    assert samples(play)[label] == 1


def test_log_lines_that_were_dropped() -> None:
    play = admin_play()
    assert samples(play)["pico_log_lines_dropped_total"] == 0
    assert play >> LogLinesDropped(3) >> LogLinesDropped(5)
    assert samples(play)["pico_log_lines_dropped_total"] == 5
