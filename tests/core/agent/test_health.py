"""Checks of the service: an agent takes an endpoint out of routing while they fail."""

import re

import msgspec
import pytest

from pico_core.boundary import Abort, Close, Connect, Connected, ConnectFailed, Received, Send
from pico_core.config.agent import AgentConfig, HealthCheckConfig, ListenerConfig
from pico_core.config.load import load
from pico_core.config.values import Origin
from pico_core.errors import ConfigError
from tests.core.agent.scene import SERVER, agent_config
from tests.play import GoAway, Play, agent_play, joined

UP = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
DOWN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def config(**check: object) -> AgentConfig:
    (listener,) = agent_config().listeners
    listener = msgspec.structs.replace(listener, health_check=HealthCheckConfig(**check))  # type: ignore[arg-type]
    return msgspec.structs.replace(agent_config(), listeners=(listener,))


def begun(**check: object) -> tuple[Play, int]:
    """Return an agent whose tunnel is open, and the connection of its first check."""
    play = agent_play(config(**check))
    dials = [each for each in play.take() if isinstance(each, Connect)]
    assert [each.port for each in dials] == [8001, 3000]
    play.server_accepts(dials[0].connection)
    play.take()
    return play, dials[1].connection


def next_check(play: Play, at: float) -> int:
    play >> at
    (dial,) = [each for each in play.take() if isinstance(each, Connect) and each.port == 3000]
    return dial.connection


def answered(play: Play, connection: int, answer: bytes) -> Play:
    play >> Connected(connection, "127.0.0.1", 3000)
    (asked,) = play.take()
    assert isinstance(asked, Send)
    assert b"GET /up?deep=1 HTTP/1.1\r\n" in joined(asked.data)
    return play >> Received(connection, answer)


def test_an_endpoint_is_taken_out_after_two_failures_and_comes_back() -> None:
    play, check = begun(protocol="http", path="/up?deep=1")
    answered(play, check, DOWN)
    assert GoAway(SERVER) not in play.take(), "one may be lost to a restart"
    check = next_check(play, 5.0)
    play >> ConnectFailed(check, "connection refused")
    assert GoAway(SERVER) in play.take()
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.fields["reason"] == "connection refused"
    check = next_check(play, 10.0)
    answered(play, check, UP)
    dials = [each for each in play.take() if isinstance(each, Connect)]
    assert [each.port for each in dials] == [8001]
    assert [log.message for log in play.logs if "healthy again" in log.message] == ["the service is healthy again"]


def test_a_connection_is_enough_for_tcp() -> None:
    play, check = begun(protocol="tcp")
    play >> Connected(check, "127.0.0.1", 3000)
    assert play << Close(check)
    for at in (5.0, 10.0):
        play >> ConnectFailed(next_check(play, at), "timed out")
    assert GoAway(SERVER) in play.take()


def test_no_check_without_one() -> None:
    play = agent_play(agent_config())
    assert [each.port for each in play.take() if isinstance(each, Connect)] == [8001]


@pytest.mark.parametrize(
    ("protocol", "check", "error"),
    [
        ("tcp", "{protocol: http}", "health_check.protocol is http at a tcp listener; give tcp or off"),
        ("http", "{path: up}", "path: wants a path such as /health"),
        ("http", "{failures: 0}", "failures: wants a whole number from 1 to 100"),
        ("http", "{protocl: http}", "did you mean 'listeners[0].health_check.protocol'?"),
    ],
)
def test_what_is_refused(protocol: str, check: str, error: str) -> None:
    text = f"listeners:\n  - endpoint_id: e1\n    addr: 3000\n    protocol: {protocol}\n    health_check: {check}\n"
    with pytest.raises(ConfigError, match=re.escape(error)):
        load(AgentConfig, text, {}, "agent.yaml")


def test_the_default_is_off() -> None:
    assert ListenerConfig(endpoint_id="e", addr=Origin("localhost", 1)).health_check.protocol == "off"


def test_of_an_answer_a_mebibyte_is_read() -> None:
    play, check = begun(protocol="http", path="/up?deep=1")
    answered(play, check, b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
    for _ in range(16):
        play >> Received(check, bytes(65_536))
    assert not play.take()
    play >> Received(check, b"x")
    assert Abort(check) in play.take()
