"""Policies, claims and pages: real processes, a cluster of two nodes with one file, on each runtime."""

import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import Origin, service
from tests.e2e.wire import Wire, assert_error, dial, request
from tests.waiting import wait_until

ALICE = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n"
MARK = "X-Pico-Forward: true\r\nX-Forwarded-For: 203.0.113.9\r\n"
"""What a client at the address of a node may say, as all are here: without a key it chooses its address."""

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
FILE = """\
policies:
  - endpoints: [guarded]
    basic_auth: ["alice:$PASSWORD"]
    max_body_bytes: 10
    request_headers: {add: ["X-Env: prod"]}
    response_headers: {add: ["X-Frame-Options: DENY"]}
  - endpoints: [closed-*]
    denied_networks: [loopback]
  - endpoints: [slow]
    requests_per_second: 0.001
    burst: 2
  - endpoints: [single]
    second_agent: refuse
"""


def cluster(fleet: Fleet, path: Path, *flags: str) -> tuple[Server, Server]:
    """Start two nodes with one file, and wait until they know each other."""
    path.write_text(FILE.replace("$PASSWORD", "secret"))
    gossip_port = fleet.reserve_port()
    flags = ("--config.path", str(path), *flags)
    first = fleet.server(*flags, f"--cluster.gossip.bind-addr={LOCAL}:{gossip_port}")
    second = fleet.server(*flags, "--cluster.join", f"{LOCAL}:{gossip_port}")
    for server in (first, second):
        server.process.await_log("node joined")
    return first, second


def await_route(port: int, endpoint: str) -> None:
    """Wait until a node knows the tunnel of an endpoint."""
    wait_until(lambda: request(port, endpoint, "/describe", fields=ALICE)[0].status == 200, "the route")


def echo(wire: Wire) -> None:
    while data := wire.receive():
        wire.send(data)


@pytest.mark.parametrize("key", [KEY, ""], ids=["with a key", "without a key"])
def test_policies_hold_whichever_node_a_client_comes_to(fleet: Fleet, origin: Origin, tmp_path: Path, key: str) -> None:
    first, second = cluster(fleet, tmp_path / "server.yaml", *(("--cluster.gossip.keys", key) if key else ()))
    for endpoint in ("guarded", "slow", "closed-1"):
        fleet.agent(first, endpoint, origin.port)
    for server in (first, second):
        port = server.proxy_port
        await_route(port, "guarded")
        assert_error(request(port, "guarded"), 401, "wrong or missing credentials")
        assert_error(request(port, "closed-1"), 403, "this client's network is not allowed here")
        too_long = request(port, "guarded", "/describe", "PUT", ALICE, b"x" * 11)
        assert_error(too_long, 413, "request body too long")
        head, body = request(port, "guarded", "/describe", fields=ALICE)
        assert head["x-frame-options"] == "DENY"
        seen = {name.lower(): value for name, value in json.loads(body)["fields"]}
        assert seen["x-env"] == "prod"
        assert "authorization" not in seen
        answers = [request(port, "slow", "/describe") for _ in range(3)]
        counts_again = server is second and not key  # the node with the tunnel, which has counted two already
        assert [head.status for head, _ in answers][:2] == ([429, 429] if counts_again else [200, 200])
        assert_error(answers[2], 429, "too many requests of this client")
        assert int(answers[2][0]["retry-after"]) > 100
        assert request(port, "guarded", "/describe", fields=MARK)[0].status == 401
        open_status = 200 if server is first else 421  # a second hop is not made
        assert request(port, "closed-1", "/describe", fields=MARK)[0].status == (403 if key else open_status)
    with dial(second.admin_port) as wire:
        wire.send(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert wire.receive_head().status == 421


def test_what_an_endpoint_speaks_and_whose_it_is(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    first, second = cluster(fleet, tmp_path / "server.yaml")
    with service(echo) as running:
        fleet.agent(first, "database", running.port, kind="tcp")
        fleet.agent(first, "web", origin.port)
        fleet.agent(first, "single", origin.port)
        for server in (first, second):
            port = server.proxy_port
            await_route(port, "single")
            message = "this endpoint takes TCP connections and no HTTP requests: see 'pico forward tcp --help'"
            assert_error(request(port, "database"), 404, message)
            for endpoint, fields, status in (("web", {}, 404), ("database", {"Origin": "http://evil.example"}, 403)):
                with pytest.raises(InvalidStatus) as refused:
                    connect(f"ws://{LOCAL}:{port}/_pico/v1/tcp/{endpoint}", additional_headers=fields, proxy=None)
                assert refused.value.response.status_code == status
            with connect(f"ws://{LOCAL}:{port}/_pico/v1/tcp/database", proxy=None) as socket:
                socket.send(b"ping")
                assert socket.recv() == b"ping"
            url = f"ws://{LOCAL}:{server.upstream_port}/pico/v1/upstream/mine"
            with pytest.raises(InvalidStatus) as refused:
                connect(url, additional_headers={"Origin": "http://evil.example"}, proxy=None)
            assert refused.value.response.status_code == 403
        assert running.connections == 2
    another = fleet.agent(second, "web", origin.port)
    another.await_log("another agent serves this endpoint too", endpoint="web")
    second.process.await_log("a second agent serves an endpoint", endpoint="web")
    refused_agent = fleet.agent(second.upstream_port, "single", origin.port)
    refused_agent.await_log("the server refused: 409 another agent serves this endpoint, and its policy lets only one")
    refused_agent.stop()
