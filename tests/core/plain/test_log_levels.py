"""``/log-levels``: changes are applied, told and undone; unknown names are refused with the nearest one."""

import json
import random
from collections.abc import Callable

import pytest

from pico_core.agent.client import EmbeddedClient
from pico_core.agent.machine import AgentMachine
from pico_core.boundary import Accepted, Command, ConfigReloaded, Listen, Listening, Received, Send, Tick
from pico_core.config.agent import AgentConfig
from pico_core.config.client_admin import ClientAdminConfig
from pico_core.config.forward import ForwardConfig
from pico_core.config.logs import SUBSYSTEMS, LogConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.forward.machine import ForwardMachine
from pico_core.plain.client_pages import OPEN_PORT
from pico_core.records import UseLogConfig
from pico_core.server.embedded import EmbeddedNode
from tests.core.server.admin.scene import OPERATOR, joins
from tests.play import Play, joined, server_play

LOCAL = 23


def asked(play: Play, line: str, connection: int = LOCAL, *fields: str) -> tuple[int, dict[str, object], list[Command]]:
    """Return the status and the document of the answer, and what was done besides."""
    head = "".join(f"{field}\r\n" for field in ("Host: localhost", *fields))
    play >> Received(connection, f"{line} HTTP/1.1\r\n{head}\r\n".encode())
    done = play.take()
    (answer,) = [each for each in done if isinstance(each, Send)]
    start, _, body = joined(answer.data).partition(b"\r\n\r\n")
    return int(start.split(b" ")[1]), json.loads(body), [each for each in done if isinstance(each, UseLogConfig)]


def server() -> Play:
    return server_play() >> Accepted(LOCAL, "admin", "127.0.0.1", 6001)


def agent() -> Play:
    config = AgentConfig(admin=ClientAdminConfig(bind_addr=Address("", 8004)))
    return clients(Play(AgentMachine(config, random.Random(1))))


def forwarder() -> Play:
    config = ForwardConfig(admin=ClientAdminConfig(bind_addr=Address("", 8005)))
    return clients(Play(ForwardMachine(config, random.Random(1))))


def clients(play: Play) -> Play:
    play >> Tick() >> Listening("admin", "::", 8004) >> Accepted(LOCAL, "admin", "127.0.0.1", 6001)
    play.take()
    return play


@pytest.mark.parametrize("start", [server, agent, forwarder])
def test_a_level_is_changed_and_undone(start: object) -> None:
    assert callable(start)
    play = start()
    before = {"level": "info", "subsystems": {}, "configured_level": "info", "configured_subsystems": {}}
    assert asked(play, "GET /log-levels") == (200, before, [])
    status, told, done = asked(play, "PUT /log-levels/gossip?level=debug")
    assert (status, told) == (200, before | {"subsystems": {"gossip": "debug"}})
    assert done == [UseLogConfig(LogConfig(subsystems=("gossip=debug",)))]
    assert play.logs[-1].message == "log levels changed"
    assert play.logs[-1].fields == {"least": "info", "subsystems": "gossip=debug", "client": "127.0.0.1"}
    assert asked(play, "PUT /log-levels/all?level=error")[1]["level"] == "error"
    assert asked(play, "DELETE /log-levels/gossip")[2] == [UseLogConfig(LogConfig(level="error"))]
    assert asked(play, "DELETE /log-levels/all") == (200, before, [UseLogConfig(LogConfig())])


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        ("PUT /log-levels/gosip?level=debug", 404, "unknown subsystem 'gosip'; did you mean 'gossip'?"),
        ("GET /log-levels/prox", 404, "unknown subsystem 'prox'; did you mean 'proxy'?"),
        ("DELETE /log-levels", 404, "unknown subsystem ''"),
        (
            "PUT /log-levels/proxy?level=loud",
            400,
            "level must be one of debug, info, warning, error, as in /log-levels/proxy?level=debug",
        ),
        (
            "PUT /log-levels/proxy",
            400,
            "level must be one of debug, info, warning, error, as in /log-levels/proxy?level=debug",
        ),
    ],
)
def test_what_is_refused(line: str, status: int, error: str) -> None:
    assert asked(server(), line) == (status, {"error": error}, [])


def test_without_a_token_changes_come_from_this_machine_only() -> None:
    play = joins(server())
    status, told, done = asked(play, "PUT /log-levels/gossip?level=debug", OPERATOR)
    assert (status, done) == (403, [])
    assert "from this machine only" in str(told["error"])
    assert asked(play, "GET /log-levels", OPERATOR)[0] == 200


def test_other_paths_are_not_changed() -> None:
    for line in (
        "PUT /status/cluster/nodes",
        "DELETE /",
        "PUT /log-levels2",
        "POST /log-levels/proxy",
        "OPTIONS /log-levels",
    ):
        play = server() >> Received(LOCAL, f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        (answer, *_) = [each for each in play.take() if isinstance(each, Send)]
        assert joined(answer.data).startswith(b"HTTP/1.1 405 "), line


def test_access_lines_go_by_their_level() -> None:
    play = server()
    play.agent_registers(1, "e1")
    play.take()
    request = b"GET / HTTP/1.1\r\nHost: e2.example.com\r\n\r\n"
    play >> Accepted(31, "proxy", "192.0.2.7", 5000) >> Received(31, request) >> 1.0
    play.take()
    lines = len(play.access_log)
    assert lines
    asked(play, "PUT /log-levels/proxy.access?level=error")
    play >> Received(31, request) >> 2.0
    play.take()
    assert len(play.access_log) == lines
    asked(play, "DELETE /log-levels/proxy.access")
    play >> Received(31, request) >> 3.0
    play.take()
    assert len(play.access_log) > lines


def test_a_configuration_that_is_read_again_undoes_it() -> None:
    play = server()
    asked(play, "PUT /log-levels/proxy?level=debug")
    play >> ConfigReloaded(ServerConfig(log=LogConfig(level="warning")))
    play.take()
    assert asked(play, "GET /log-levels")[1] == {
        "level": "warning",
        "subsystems": {},
        "configured_level": "warning",
        "configured_subsystems": {},
    }


@pytest.mark.parametrize(
    ("subsystems", "subsystem", "level"),
    [
        ((), "proxy", "info"),
        (("proxy",), "proxy", "debug"),
        (("proxy",), "proxy.access", "debug"),
        (("proxy",), "proxyx", "info"),
        (("proxy=warning", "proxy.access=debug"), "proxy.access", "debug"),
        (("proxy=warning", "proxy.access=debug"), "proxy", "warning"),
        (("proxy=warning",), "proxy.access.x", "warning"),
    ],
)
def test_the_longest_name_decides(subsystems: tuple[str, ...], subsystem: str, level: str) -> None:
    assert LogConfig(subsystems=subsystems).level_of(subsystem) == level


def embedded_node() -> Play:
    node = EmbeddedNode(ServerConfig(), "node-a", random.Random(1))
    return clients(Play(node))


def embedded_client() -> Play:
    config = AgentConfig(admin=ClientAdminConfig(bind_addr=Address("", 8004)))
    return clients(Play(EmbeddedClient(config, random.Random(1))))


@pytest.mark.parametrize("start", [embedded_node, embedded_client])
def test_a_program_decides_what_its_machine_logs(start: Callable[[], Play]) -> None:
    """But for access logs: their lines are made only where they are wanted."""
    play = start()
    before = asked(play, "GET /log-levels")[1]
    for name, logger in (("gossip", "pico.gossip"), ("all", "pico")):
        for line in (f"PUT /log-levels/{name}?level=debug", f"DELETE /log-levels/{name}"):
            status, told, done = asked(play, line)
            reason = f"a program runs this and decides what it logs: by default with the logger '{logger}'"
            assert (status, told, done) == (409, {"error": reason}, [])
    assert asked(play, "GET /log-levels")[1] == before
    assert asked(play, "PUT /log-levels/gosip?level=debug")[0] == 404
    assert asked(play, "PUT /log-levels/proxy.access?level=error")[0] == 200


def test_names_are_sorted_so_that_they_can_be_read() -> None:
    assert list(SUBSYSTEMS) == sorted(SUBSYSTEMS)


def test_an_admin_port_of_an_agent_that_other_hosts_reach_is_warned_of() -> None:
    for host, warned in (("::", [OPEN_PORT]), ("127.0.0.1", [])):
        config = AgentConfig(admin=ClientAdminConfig(bind_addr=Address(host, 8004)))
        play = Play(AgentMachine(config, random.Random(1))) >> Tick() << Listen("admin", host, 8004)
        play >> Listening("admin", host, 8004)
        play.take()
        assert [log.message for log in play.logs if log.level == "warning"] == warned
