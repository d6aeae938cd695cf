"""``pico server --dev``: for this machine alone."""

import os
import pty
import subprocess
import sys
import time

import pytest

from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_tunnel.dev import check_loopback, dev_flags, introduction
from tests.e2e.harness import AT_ONCE_S, LOCAL, Fleet
from tests.e2e.origin import Origin
from tests.e2e.test_wrong_use import complaint
from tests.e2e.wire import request

PORTS = ("proxy", "upstream", "admin")


def test_a_node_on_loopback(fleet: Fleet, origin: Origin) -> None:
    node = fleet.start("server", "--dev", *(f"--{name}.bind-addr={LOCAL}:0" for name in PORTS))
    node.await_log("ready")
    for name in (*PORTS, "gossip"):
        assert node.await_log("listening", subsystem=name)["addr"].startswith(f"{LOCAL}:")
    fleet.agent(node.port("upstream"), "web", origin.port).await_log("endpoint registered")
    assert request(node.port("proxy"), "web", "/describe")[0].status == 200
    assert "warning" not in node.errors()
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--config.path", "server.yaml"), "--dev takes no file: leave out --config.path, or --dev"),
        (("--cluster.join", "pico"), "--dev is a node alone: leave out --cluster.join, or --dev"),
        (("--admin.bind-addr", ":9002"), "--admin.bind-addr: --dev listens on this machine only: give 127.0.0.1:9002"),
    ],
)
def test_what_contradicts_it(fleet: Fleet, flags: tuple[str, ...], text: str) -> None:
    assert complaint(fleet.start("server", "--dev", *flags), 2) == text


def test_the_ports_are_the_usual_ones() -> None:
    config = check_loopback(load(ServerConfig, None, dev_flags({}, None), ""))
    assert [str(each.bind_addr) for each in (config.proxy, config.upstream, config.admin)] == [
        f"{LOCAL}:8000",
        f"{LOCAL}:8001",
        f"{LOCAL}:8002",
    ]
    lines = list(introduction(config))
    assert "  your service   pico agent http my-endpoint 3000" in lines
    assert "  its clients    http://my-endpoint.localhost:8000/" in lines


def test_a_terminal_is_told_what_to_do_next(fleet: Fleet) -> None:
    ports = {name: fleet.reserve_port() for name in PORTS}
    flags = [f"--{name}.bind-addr={LOCAL}:{port}" for name, port in ports.items()]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pico_tunnel", "server", "--dev", *flags, "--runtime", fleet.runtime]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while b"ready" not in shown:
            shown += os.read(ours, 4_096)
    finally:
        process.kill()
        process.wait(20)
        os.close(ours)
    told = shown.decode()
    assert f"pico agent http my-endpoint 3000 --connect.url http://localhost:{ports['upstream']}\r\n" in told
    assert f"http://my-endpoint.localhost:{ports['proxy']}/\r\n" in told
    assert f"http://localhost:{ports['admin']}/\r\n" in told
