"""Levels of running processes, changed by ``pico log-level``: a server, its workers, an agent and a forwarder."""

import subprocess
import sys
import time

import yaml

from pico_core.access.issuing import Claims, SigningKey
from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin
from tests.e2e.wire import request
from tests.waiting import wait_until

SECRET = "key-" * 16
ADMIN = ("--admin.bind-addr", f"{LOCAL}:0")


def log_level(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pico_tunnel", "log-level", *arguments, "--server.url", f"http://{LOCAL}:{port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def told(port: int, *arguments: str) -> dict[str, object]:
    done = log_level(port, *arguments)
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(done.stdout)
    assert isinstance(document, dict)
    return document


def test_each_process_logs_as_it_is_told(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "web", origin.port, *ADMIN)
    forwarder, _ = fleet.forward(server, "web", *ADMIN)
    for process, port in (
        (server.process, server.admin_port),
        (agent, agent.port("admin")),
        (forwarder, forwarder.port("admin")),
    ):
        assert told(port)["subsystems"] == {}
        assert told(port, "access", "debug")["subsystems"] == {"access": "debug"}
        process.await_log("log levels changed", subsystems="access=debug", client=LOCAL)
        assert told(port, "all", "reset")["subsystems"] == {}
    assert request(server.proxy_port, "web")[0].status == 200


def test_lines_below_the_level_are_not_written(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    told(server.admin_port, "all", "warning")
    agent = fleet.start(
        "agent", "http", "web", str(origin.port), "--connect.url", f"http://{LOCAL}:{server.upstream_port}"
    )
    agent.await_log("endpoint registered")
    assert request(server.proxy_port, "web")[0].status == 200
    told(server.admin_port, "upstream", "info")
    agent.stop()
    server.process.await_log("tunnel closed")
    lines = server.process.errors()
    assert "tunnel closed" in lines
    assert "tunnel opened" not in lines


def test_names_and_levels_are_checked(fleet: Fleet) -> None:
    server = fleet.server()
    for arguments, code, error in (
        (("gosip", "debug"), 1, "unknown subsystem 'gosip'; did you mean 'gossip'?"),
        (("gossip",), 2, "missing LEVEL"),
        (("gossip", "loud"), 1, "level must be one of debug, info, warning, error"),
    ):
        done = log_level(server.admin_port, *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert error in done.stderr


def test_all_workers_and_the_process_that_starts_them(fleet: Fleet) -> None:
    server = fleet.server("--workers", "2")
    wait_until(lambda: "all workers are ready" in server.process.errors(), "both workers are ready")
    assert told(server.admin_port, "cluster", "debug")["subsystems"] == {"cluster": "debug"}
    for number in (1, 2):
        server.process.await_log("log levels changed", worker=number, subsystems="cluster=debug")


def test_a_port_that_asks_for_a_token_asks_for_it(fleet: Fleet) -> None:
    server = fleet.server("--admin.auth.hmac-secret-key", SECRET)
    now = time.time()
    operator = SigningKey(SECRET).sign(Claims((), expires_at=now + 600), now)
    done = log_level(server.admin_port, "gossip", "debug")
    assert done.returncode == 1
    assert "401: missing authorization; give a token with --server.token" in done.stderr
    told(server.admin_port, "gossip", "debug", "--server.token", operator)
