"""The documents below ``/status/``."""

import random

import pytest

from pico_core.boundary import Listening, ShutdownRequested, Tick
from pico_core.config.server import ServerConfig
from pico_core.server.admin import agents
from pico_core.server.admin.live import STREAM_PATH
from pico_core.server.admin.status import STATUS_PATH
from pico_core.server.node import ServerNode
from tests.core.server.admin.scene import admin_play, ask, document, joins, node_appears, response
from tests.play import Play, node_of, server_play

OWN_ROW = {
    "id": "node-1",
    "status": "active",
    "proxy_addr": "10.0.0.1:8000",
    "admin_addr": "10.0.0.1:8002",
    "endpoints": 0,
    "upstreams": 0,
}


def test_the_endpoints_of_this_node() -> None:
    play = server_play()
    for connection, endpoint in ((1, "zoo"), (3, "bar"), (5, "zoo")):
        play.agent_registers(connection, endpoint)
    play.take()
    assert joins(play) >> ask("/status/upstream/endpoints") << response(200, '{"bar":1,"zoo":2}')


def test_the_agents_of_this_node() -> None:
    play = server_play()
    play.agent_registers(1, "zoo")
    play.agent_registers(3, "bar")
    play >> 2.0
    play.agent_registers(5, "zoo")
    play.take()
    found = document(joins(play), "/status/upstream/agents")
    assert found["count"] == 3
    assert [(row["endpoint"], row["open_s"]) for row in found["rows"]] == [("bar", 2.0), ("zoo", 2.0), ("zoo", 0.0)]
    assert list(found["rows"][0]) == ["endpoint", "node", "agent", "version", "protocol", "open_s", "in_flight"]
    assert {row["node"] for row in found["rows"]} == {"node-1"}


def test_so_many_agents_are_listed_and_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "AGENTS_LISTED", 2)
    play = server_play()
    for connection, endpoint in ((1, "c"), (3, "a"), (5, "b")):
        play.agent_registers(connection, endpoint)
    play.take()
    found = document(joins(play), "/status/upstream/agents")
    assert (found["count"], [row["endpoint"] for row in found["rows"]]) == (3, ["a", "b"])


def test_the_index_has_every_path() -> None:
    play = admin_play()
    found = document(play, "/status")
    assert found == document(play, "/status/")
    for path in found:
        filled = path.replace("{id}", "local").replace("{text}", "a").replace("{endpoint}", "a")
        assert STATUS_PATH.fullmatch(filled) or filled == STREAM_PATH, path


def test_no_endpoints() -> None:
    assert admin_play() >> ask("/status/upstream/endpoints") << response(200, "{}")


def test_the_nodes_of_a_cluster_in_the_order_of_their_ids() -> None:
    play = admin_play()
    values = {"proxy_addr": "10.0.0.2:8000", "admin_addr": "[fd00::2]:8002", "endpoint:e2": "3", "endpoint:e1": "4"}
    node_appears(play, "node-0", "10.0.0.2", **values)
    node_appears(play, "node-2", "10.0.0.3", proxy_addr="nonsense")
    other = {"proxy_addr": "", "admin_addr": "", "endpoints": 0, "upstreams": 0}
    assert document(play, "/status/cluster/nodes") == [
        {
            "id": "node-0",
            "status": "active",
            "proxy_addr": "10.0.0.2:8000",
            "admin_addr": "[fd00::2]:8002",
            "endpoints": 2,
            "upstreams": 7,
        },
        OWN_ROW,
        {"id": "node-2", "status": "active", **other},
    ]


def test_the_bytes_of_a_row() -> None:
    assert (
        admin_play()
        >> ask("/status/cluster/nodes")
        << response(
            200,
            '[{"id":"node-1","status":"active","proxy_addr":"10.0.0.1:8000","admin_addr":"10.0.0.1:8002",'
            '"endpoints":0,"upstreams":0}]',
        )
    )


def test_this_node_in_detail() -> None:
    play = server_play()
    play.agent_registers(1, "zoo")
    play.agent_registers(3, "bar")
    play.take()
    own = joins(play) >> ask("/status/cluster/nodes/local")
    body = (
        '{"id":"node-1","status":"active","proxy_addr":"10.0.0.1:8000","admin_addr":"10.0.0.1:8002",'
        '"endpoints":{"bar":1,"zoo":1}}'
    )
    assert own << response(200, body) >> ask("/status/cluster/nodes/node-1") << response(200, body)


def test_another_node_in_detail() -> None:
    play = admin_play()
    values = {"proxy_addr": "10.0.0.2:8000", "endpoint:e2": "3", "endpoint:e1": "4"}
    node_appears(play, "a node", "10.0.0.2", **values)
    assert (
        play
        >> ask("/status/cluster/nodes/a%20node")
        << response(
            200,
            '{"id":"a node","status":"active","proxy_addr":"10.0.0.2:8000","admin_addr":"",'
            '"endpoints":{"e1":4,"e2":3}}',
        )
    )


def test_gossip_nodes() -> None:
    play = admin_play()
    node_appears(play, "node-0", "10.0.0.2", proxy_addr="10.0.0.2:8000")
    rows = document(play, "/status/gossip/nodes")
    assert [row["id"] for row in rows] == ["node-0", "node-1"]
    assert rows[1] == {
        "id": "node-1",
        "addr": "10.0.0.1:8003",
        "status": "active",
        "version": 3,
        "entries": 3,
        "draining": False,
        "silent_s": 0.0,
        "local": True,
    }


def test_one_gossip_node() -> None:
    play = admin_play()
    node_appears(play, "node-0", "10.0.0.2", proxy_addr="10.0.0.2:8000")
    found = document(play, "/status/gossip/nodes/node-0")
    assert found["local"] is False
    assert found["entries"] == [
        {"key": "proxy_addr", "value": "10.0.0.2:8000", "version": 1, "internal": False, "deleted": False}
    ]
    assert list(found) == ["id", "addr", "status", "version", "draining", "silent_s", "local", "entries"]
    own = document(play, "/status/gossip/nodes/local")
    assert own == document(play, "/status/gossip/nodes/node-1")
    assert own["entries"][0]["key"] == "proxy_addr"


def test_unknown_nodes() -> None:
    assert (
        admin_play()
        >> ask("/status/cluster/nodes/nobody")
        << response(404, '{"error": "unknown node \'nobody\'"}')
        >> ask("/status/gossip/nodes/%22nobody%22")
        << response(404, '{"error": "unknown node \'\\"nobody\\"\'"}')
    )


def test_other_paths_are_not_found() -> None:
    play = admin_play()
    for path in ("/status//", "/status/cluster", "/status/upstream/nodes", "/status/cluster/nodes/a/b"):
        play >> ask(path) << response(404, '{"error": "not found"}')
    assert play >> ask("/status/upstream/endpoints/x") << response(404, '{"error": "not found"}')


def test_before_the_ports_are_open() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    play.take()
    joins(play >> Listening("admin", "0.0.0.0", 8002))
    assert document(play, "/status/cluster/nodes") == [{**OWN_ROW, "proxy_addr": "", "admin_addr": ""}]
    (row,) = document(play, "/status/gossip/nodes")
    assert (row["id"], row["addr"], row["local"]) == ("node-1", "", True)
    assert play >> ask("/status/cluster/nodes/x") << response(404, '{"error": "unknown node \'x\'"}')
    assert play >> ask("/status/gossip/nodes/x") << response(404, '{"error": "unknown node \'x\'"}')


def test_a_node_that_has_left() -> None:
    play = server_play() >> ShutdownRequested() >> 10.0
    play.take()
    assert document(joins(play), "/status/cluster/nodes") == [{**OWN_ROW, "status": "left"}]
    assert node_of(play).facts.ready is False
