"""The lines of a terminal, one record after the other."""

import json
import re

import pytest

from pico_core.config.server import ServerConfig
from pico_core.records import Log
from pico_tunnel.agent_screen import MAX_ROWS, AgentScreen, Row
from pico_tunnel.screen import FOLD_S
from pico_tunnel.server_screen import ServerScreen

NOW = 1_764_072_001.0


def agent(*rows: Row, colour: bool = False) -> AgentScreen:
    return AgentScreen("agent, asyncio", "http://server:8001", rows or [web()], colour=colour, width=100)


def web(name: str = "web", protocol: str = "http") -> Row:
    return Row(name, protocol, "localhost:3000")


def log(message: str, level: str = "info", subsystem: str = "agent", **fields: str | float) -> Log:
    return Log(level, subsystem, message, dict(fields))


def failed(path: str = "/a", **more: object) -> bytes:
    fields = {
        "method": "GET", "path": path, "endpoint": "web", "status": 502, "duration_ms": 1.0, "response_bytes": 9,
        "client": "::1", "request_id": "0f", "reason": "service-refused", **more,
    }  # fmt: skip
    return json.dumps(fields)[1:-1].encode()


def test_many_endpoints() -> None:
    screen = agent(web("web"), web("my-db", "tcp"), *(web(f"e{number}") for number in range(10)))
    shown = ""
    for name in ("web", "my-db", *(f"e{number}" for number in range(10))):
        shown += screen.event(log("the service answers", endpoint=name, addr="localhost:3000"), NOW) or ""
        url = {} if name == "my-db" else {"url": f"http://{name}.example.com"}
        shown += screen.event(log("endpoint registered", endpoint=name, node="n1", **url), NOW) or ""
    assert "  web          http://web.example.com   to localhost:3000   answers\n" in shown
    assert "  my-db        pico forward tcp PORT my-db   to localhost:3000   answers\n" in shown
    assert f"and {12 - MAX_ROWS} more\n" in shown
    assert "  server       http://server:8001   node n1\n" in shown
    again = screen.event(log("endpoint registered", endpoint="web", node="n2"), NOW)
    assert again is not None
    assert again.endswith("web: connected, node n2\n")
    assert "  web  GET" in screen.request(failed(), NOW)


def test_without_a_url_clients_send_the_header() -> None:
    screen = agent(Row("web", "http", "app:app", is_probed=False))
    shown = screen.event(log("endpoint registered", endpoint="web", node="n1"), NOW)
    assert shown is not None
    assert "  endpoint     its clients send x-pico-endpoint: web\n  service      app:app\n" in shown


def test_ports_of_the_agent_itself() -> None:
    screen = agent()
    assert screen.event(log("listening", subsystem="inspect", addr="127.0.0.1:4040", url="x"), NOW) == ""
    assert screen.event(log("listening", subsystem="admin", addr=":8004"), NOW) == ""
    screen.event(log("the service answers", endpoint="web"), NOW)
    shown = screen.event(log("endpoint registered", endpoint="web", node="n1"), NOW)
    assert shown is not None
    assert "  inspect      http://127.0.0.1:4040/\n" in shown


def test_equal_failures_are_counted() -> None:
    screen = agent()
    assert "502" in screen.request(failed(), NOW)
    assert [screen.request(failed(), NOW + each) for each in (1, 2, 3)] == ["", "", ""]
    other = screen.request(failed("/b"), NOW + 4)
    assert re.search(r"502  GET /a  3 more, service-refused\n.*502  GET     /b ", other)
    assert screen.request(failed("/b"), NOW + 4 + FOLD_S).count("\n") == 1, "from time to time one is shown"
    screen.request(failed("/b"), NOW + 5 + FOLD_S)
    assert "1 more" in (screen.event(log("draining", streams=0, at_most_s=60.0), NOW + 10) or "")
    assert screen.rest(NOW) == ""


def test_nothing_of_a_peer_reaches_the_terminal_as_a_control_sequence() -> None:
    screen = agent(colour=False)
    shown = "".join(
        screen.event(record, NOW) or ""
        for record in (
            log("the service answers", endpoint="web"),
            log("endpoint registered", endpoint="web", node="n\x1b[31m1", url="http://\u202e/\n"),
            log("cannot reach the server: \x1b[2J\xff", "warning", endpoint="web", retry_in_s=1.0),
            log("cannot reach the service", "warning", endpoint="web", failure="x", reason="\x1b]0;\x07"),
        )
    ) + screen.request(failed("/\x1b[2J", method="\x9b"), NOW)
    assert shown.isascii()
    assert not any(ord(each) < 0x20 for each in shown.replace("\n", ""))


@pytest.mark.parametrize(
    ("config", "bound", "lines"),
    [
        (
            ServerConfig(),
            {"proxy": "[::]:8000", "upstream": "[::]:8001", "admin": "[::]:8002", "gossip": "[::]:8003"},
            ["  agents       pico agent http my-endpoint 3000\n", "  nodes        [::]:8003, TCP and UDP\n"],
        ),
        (
            ServerConfig(),
            {"proxy": "127.0.0.1:1", "upstream": "127.0.0.1:2", "admin": "127.0.0.1:3", "gossip": "127.0.0.1:4"},
            [
                "  agents       pico agent http my-endpoint 3000 --connect.url http://localhost:2\n",
                "  clients      http://my-endpoint.localhost:1/\n  dashboard    http://localhost:3/\n\n",
            ],
        ),
    ],
)
def test_a_server(config: ServerConfig, bound: dict[str, str], lines: list[str]) -> None:
    screen = ServerScreen("server, trio", config, colour=False, width=80)
    shown = [screen.event(log("listening", subsystem=name, addr=addr), NOW) for name, addr in bound.items()]
    assert shown[:3] == [""] * 3
    assert all(line in (shown[3] or "") for line in lines)
    assert screen.event(log("no other node was found: this one is alone", "warning", "cluster"), NOW) is None
