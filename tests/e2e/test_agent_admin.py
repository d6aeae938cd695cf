"""The admin port of an agent: what a liveness probe, a readiness probe and a scrape get."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import LOCAL, Fleet, Process
from tests.e2e.origin import Origin
from tests.e2e.wire import Head, dial, receive_response, request
from tests.waiting import wait_until


def asked(process: Process, path: str, host: str = LOCAL) -> tuple[Head, bytes]:
    with dial(process.port("admin")) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return receive_response(wire)


@pytest.mark.parametrize("flag", ["--admin.bind-addr", "--server.bind-addr"])
def test_an_agent_says_how_it_is(fleet: Fleet, origin: Origin, flag: str) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "web", origin.port, flag, f"{LOCAL}:0")
    assert asked(agent, "/health")[0].status == 200
    wait_until(lambda: asked(agent, "/ready")[1] == b"ready\n", "the agent is ready")
    assert request(server.proxy_port, "web", "/describe")[0].status == 200
    wait_until(lambda: b'status="2xx"} 1\n' in asked(agent, "/metrics")[1], "the request is counted")
    families = {family.name: family for family in text_string_to_metric_families(asked(agent, "/metrics")[1].decode())}
    assert {sample.labels["endpoint"] for sample in families["pico_agent_tunnels"].samples} == {"web"}
    assert families["pico_agent_registered"].samples[0].value == 1
    (row,) = json.loads(asked(agent, "/status")[1])["endpoints"]
    assert (row["endpoint"], row["protocol"], row["state"], row["tunnels"]) == ("web", "http", "serving", 1)
    assert (row["requests"]["2xx"], row["errors"]) == (1, {})
    assert row["url"].startswith("http://web.localhost:")
    assert row["node"]


def test_it_is_not_ready_without_a_tunnel_and_counts_what_failed(fleet: Fleet) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "web", fleet.reserve_port(), "--admin.bind-addr", f"{LOCAL}:0")
    assert request(server.proxy_port, "web")[0].status == 502
    wait_until(lambda: b'reason="service-refused",by="agent"} 1\n' in asked(agent, "/metrics")[1], "it is counted")
    server.process.stop()
    wait_until(lambda: asked(agent, "/ready")[0].status == 503, "the loss is seen")
    assert asked(agent, "/ready")[1] == b"no tunnel: web\n"
    assert asked(agent, "/health")[0].status == 200
    agent.stop()


def test_a_page_cannot_read_it_by_a_name_of_its_own(fleet: Fleet, origin: Origin) -> None:
    agent = fleet.agent(fleet.server(), "web", origin.port, "--admin.bind-addr", f"{LOCAL}:0")
    for path in ("/status", "/metrics"):
        assert asked(agent, path, "evil.example")[0].status == 421
    assert asked(agent, "/health", "evil.example")[0].status == 200
    assert asked(agent, "/nothing")[0].status == 404


def test_a_port_in_use_is_one_line(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    address = f"{LOCAL}:{server.admin_port}"
    agent = fleet.start(
        "agent", "http", "web", str(origin.port), "--connect.url", f"http://{LOCAL}:{server.process.port('upstream')}",
        "--admin.bind-addr", address,
    )  # fmt: skip
    assert agent.wait() == 1
    assert f"cannot listen on admin address '{address}'" in agent.errors()
    assert "Traceback" not in agent.errors()
