"""``pico doctor`` finds made faults with real processes, and nothing where there is none."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pico_tunnel.checkup import FAIL, OK, WARN, Answer, judge_port
from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin, Visit, service
from tests.e2e.wire import Wire

Findings = dict[str, tuple[str, str, str]]


def examined(*arguments: str) -> tuple[int, Findings]:
    command = [sys.executable, "-m", "pico_tunnel", "doctor", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    rows = json.loads(done.stdout)
    return done.returncode, {row["subject"]: (row["verdict"], row["text"], row["advice"]) for row in rows}


def test_an_agent_that_would_work(fleet: Fleet, origin: Origin) -> None:
    port = fleet.server().process.port("upstream")
    code, found = examined("agent", "http", "web", str(origin.port), "--connect.url", f"http://{LOCAL}:{port}")
    assert code == 0
    assert found[f"{LOCAL} port {port}"][0] == OK
    assert "upgrades pass" in found[f"{LOCAL} port {port}"][1]
    assert {verdict for verdict, _, _ in found.values()} == {OK}


@pytest.mark.parametrize(
    ("name", "kind"), [("proxy", "agent"), ("admin", "agent"), ("upstream", "forward"), ("admin", "forward")]
)
def test_the_wrong_port(fleet: Fleet, name: str, kind: str) -> None:
    port = fleet.server().process.port(name)
    code, found = examined(kind, "--connect.url", f"http://{LOCAL}:{port}")
    verdict, text, advice = found[f"{LOCAL} port {port}"]
    assert (code, verdict, advice) == (1, FAIL, "change the port of connect.url")
    assert f"this is the {name} port of a Pico server" in text


def test_the_endpoint_of_a_forwarder(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    server = fleet.server()
    url = f"http://{LOCAL}:{server.proxy_port}"
    path = tmp_path / "forward.yaml"
    path.write_text(f"ports: [{{addr: '{LOCAL}:{fleet.reserve_port()}', endpoint_id: db}}]\n")
    arguments = ("forward", "--config.path", str(path), "--connect.url", url)
    code, found = examined(*arguments)
    verdict, text, advice = found[f"{LOCAL} port {server.proxy_port}"]
    assert (code, verdict) == (1, FAIL)
    assert "the endpoint cannot be reached: no-tunnel" in text
    assert advice == "Start its agent, and compare the spelling of the endpoint."
    fleet.agent(server, "db", origin.port, kind="tcp")
    code, found = examined(*arguments)
    assert found[f"{LOCAL} port {server.proxy_port}"][0] == OK


@pytest.mark.parametrize("name", ["proxy", "upstream"])
def test_the_wrong_port_as_the_admin_port_of_a_node(fleet: Fleet, name: str) -> None:
    port = fleet.server().process.port(name)
    code, found = examined("server", "--admin.bind-addr", f"{LOCAL}:{port}")
    verdict, text, advice = found["running node"]
    assert (code, verdict, text) == (1, FAIL, f"admin.bind_addr is the {name} port of a running Pico server")
    assert "admin.bind_addr, 8002 by default" in advice


def test_a_service_and_a_server_that_are_down(fleet: Fleet) -> None:
    port, other = fleet.reserve_port(), fleet.reserve_port()
    code, found = examined("agent", "tcp", "db", str(other), "--connect.url", f"http://{LOCAL}:{port}")
    assert code == 1
    assert found[f"{LOCAL} port {port}"][:2] == (FAIL, "connection refused")
    assert found["service of 'db'"][:2] == (FAIL, f"localhost:{other}: connection refused")


def test_a_balancer_that_does_not_pass_upgrades_on(fleet: Fleet) -> None:
    """It answers in the server's words, which never saw the upgrade."""

    def without_upgrade(wire: Wire) -> None:
        body = b'{"error":"not a WebSocket handshake of version 13"}'
        Visit(wire, wire.receive_head()).respond(body, status="426 Upgrade Required")

    with service(without_upgrade) as running:
        code, found = examined("agent", "--connect.url", f"http://{LOCAL}:{running.port}")
        verdict, text, advice = found[f"{LOCAL} port {running.port}"]
        assert (code, verdict) == (1, FAIL)
        assert "does not reach it" in text
        assert "pass Upgrade and Connection" in advice


def test_another_web_server(fleet: Fleet, origin: Origin) -> None:
    answer = Answer(200, {"server": "nginx"}, "<html>")
    assert judge_port("x", "upstream", answer, 1.0).text == "not a Pico upstream port: it answered 200 nginx"


def test_a_server_that_would_not_do_well(fleet: Fleet, tmp_path: Path) -> None:
    taken = fleet.server()
    path = tmp_path / "server.yaml"
    path.write_text(
        f"proxy: {{bind_addr: '{LOCAL}:{taken.proxy_port}'}}\nupstream: {{bind_addr: '{LOCAL}:0'}}\n"
        f"admin: {{bind_addr: '{LOCAL}:0'}}\ngrace_period: 4s\n"
        f"cluster:\n  join: ['{LOCAL}:{taken.process.port('gossip')}', nowhere.invalid]\n"
        f"  gossip: {{bind_addr: '{LOCAL}:0'}}\n"
    )
    code, found = examined("server", "--config.path", str(path))
    assert code == 1
    assert found[f"proxy port {LOCAL}:{taken.proxy_port}"][1] == "in use"
    assert found[f"upstream port {LOCAL}:0"][:2] == (OK, "free")
    assert found["join nowhere.invalid"][0] == FAIL
    assert found[f"join {LOCAL}: {LOCAL} port {taken.process.port('gossip')}"][0] == OK
    assert found["times of a stop"][0] == FAIL


def test_a_wrong_command_is_one_line() -> None:
    command = [sys.executable, "-m", "pico_tunnel", "doctor", "agent", "http", "web"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "give the endpoint and the address too" in done.stderr


def joining(*members: int) -> tuple[str, ...]:
    """Return the flags of a node on free ports that joins others of this machine."""
    ports = [f"--{name}.bind-addr={LOCAL}:0" for name in ("proxy", "upstream", "admin", "cluster.gossip")]
    return ("server", *ports, "--cluster.join", ",".join(f"{LOCAL}:{port}" for port in members))


def test_a_node_to_join_is_asked_on_both_protocols_and_keeps_nothing(fleet: Fleet) -> None:
    server = fleet.server("--cluster.node-id", "n1")
    port = server.process.port("gossip")
    _, found = examined(*joining(port))
    assert found[f"join {LOCAL}: {LOCAL} port {port}"][:2] == (OK, "takes connections on TCP")
    assert found[f"join {LOCAL}: {LOCAL} port {port} UDP"][:2] == (OK, "node n1 answers")
    with urllib.request.urlopen(f"http://{LOCAL}:{server.admin_port}/status/gossip/nodes", timeout=10) as answer:
        assert [node["id"] for node in json.load(answer)] == ["n1"]
    assert "warning" not in server.process.errors()


def test_datagrams_that_do_not_arrive(fleet: Fleet) -> None:
    with socket.create_server((LOCAL, 0)) as listening, socket.socket(type=socket.SOCK_DGRAM) as silent:
        port = listening.getsockname()[1]
        silent.bind((LOCAL, port))
        _, found = examined(*joining(port))
    verdict, text, advice = found[f"join {LOCAL}: {LOCAL} port {port} UDP"]
    assert (verdict, text[:9]) == (WARN, "no answer")
    assert "UDP" in advice
    with socket.create_server((LOCAL, 0)) as listening:
        port = listening.getsockname()[1]
        _, found = examined(*joining(port))
    assert found[f"join {LOCAL}: {LOCAL} port {port} UDP"][:2] == (WARN, "connection refused")


def test_with_a_key_only_nodes_are_answered(fleet: Fleet, tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "pico_tunnel", "server", "key"], capture_output=True, check=True)
    (tmp_path / "keys").write_bytes(made.stdout)
    flags = ("--cluster.gossip.keys-file", str(tmp_path / "keys"))
    port = fleet.server(*flags).process.port("gossip")
    _, found = examined(*joining(port), *flags)
    assert found[f"join {LOCAL}: {LOCAL} port {port} UDP"][:2] == (
        OK, "not tried: with a gossip key only nodes are answered",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("endpoint not permitted", "the token is for other endpoints, or for another tenant: see 'pico token inspect'"),
        ("unknown tenant", "give a tenant of the server with connect.tenant_id"),
        ("expired token", "give a new one with connect.token or connect.token_file"),
    ],
)
def test_each_refusal_of_a_token_has_its_own_advice(reason: str, advice: str) -> None:
    answer = Answer(401, {"x-pico-error": "401"}, f'{{"error": "{reason}"}}')
    found = judge_port("x", "upstream", answer, 1.0)
    assert (found.verdict, found.advice) == (FAIL, advice)
