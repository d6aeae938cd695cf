"""What an agent tells a person who looks on: whether its service answers, and that it still connects."""

import random
from collections.abc import Sequence

from pico_core.agent.machine import AgentMachine
from pico_core.boundary import Close, Connect, Connected, ConnectFailed, ShutdownRequested, Tick
from tests.core.agent.scene import agent_config
from tests.play import Play


def watched() -> tuple[Play, int, int]:
    """Return an agent that is watched, and its connections to the server and to the service."""
    play = Play(AgentMachine(agent_config(), random.Random(1), is_watched=True)) >> Tick()
    server, service = dials(play.take())
    assert (server.port, service.port, service.timeout_s) == (8001, 3000, 5.0)
    return play, server.connection, service.connection


def dials(commands: Sequence[object]) -> list[Connect]:
    return [each for each in commands if isinstance(each, Connect)]


def told(play: Play) -> list[tuple[str, object]]:
    messages = ("the service answers", "the service does not answer", "still connecting")
    return [(log.message, log.fields.get("reason")) for log in play.logs if log.message in messages]


def test_a_service_that_answers() -> None:
    play, server, service = watched()
    play.server_accepts(server)
    play >> Connected(service, "127.0.0.1", 3000) >> 20.0
    done = play.take()
    assert Close(service) in done
    assert dials(done) == [], "it is not asked again"
    assert told(play) == [("the service answers", None)]


def test_a_service_that_comes_later() -> None:
    play, server, service = watched()
    play.server_accepts(server)
    for at, reason in enumerate(("connection refused", "connection refused", "timed out"), 1):
        play >> ConnectFailed(service, reason) >> float(at)
        (again,) = dials(play.take())
        service = again.connection
    play >> Connected(service, "127.0.0.1", 3000)
    play.take()
    assert told(play) == [
        ("the service does not answer", "connection refused"),
        ("the service does not answer", "timed out"),
        ("the service answers", None),
    ]


def test_a_server_that_does_not_answer() -> None:
    play, _, service = watched()
    play >> Connected(service, "127.0.0.1", 3000) >> 25.0
    play.take()
    waits = [log.fields for log in play.logs if log.message == "still connecting"]
    assert [(each["endpoint"], each["for_s"]) for each in waits] == [("e1", 1), ("e1", 11), ("e1", 21)]
    assert "reason" not in waits[0]


def test_nothing_is_tried_while_the_agent_stops() -> None:
    play, _, service = watched()
    play >> ShutdownRequested() >> ConnectFailed(service, "connection refused") >> 30.0
    assert dials(play.take()) == []


def test_nobody_looks_on() -> None:
    play = Play(AgentMachine(agent_config(), random.Random(1))) >> Tick()
    assert [each.port for each in dials(play.take())] == [8001]
