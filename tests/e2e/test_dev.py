"""``pico server --dev``: for this machine alone."""

import time

import pytest

from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_tunnel.dev import check_loopback, dev_flags
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
