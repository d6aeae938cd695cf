"""The question of a forwarder whether an endpoint can be reached: no stream is opened for it."""

import pytest

from pico_core.boundary import Received, Send
from pico_core.proxy.way_check import REACHABLE
from tests.core.proxy.scene import AGENT, CLIENT, client_joins, proxy_play
from tests.core.server.test_tcp_route import ASKING
from tests.play import Play, joined, server_play

KEY = b"Sec-WebSocket-Key: kIqtl8dPEU+ET68+zXi82g==\r\n"
QUESTION = ASKING.replace(b"/tcp/e1 ", b"/tcp/e1?check ").replace(KEY, b"")


def answer(play: Play, question: bytes = QUESTION) -> bytes:
    play >> Received(CLIENT, question)
    (sent,) = play.take()
    assert isinstance(sent, Send)
    assert sent.connection == CLIENT, "the agent is not asked"
    return joined(sent.data)


@pytest.mark.parametrize("agent", [((b"x-pico-protocol", b"tcp"),), ()])
def test_an_endpoint_with_a_tunnel(agent: tuple[tuple[bytes, bytes], ...]) -> None:
    play = proxy_play(None, agent)
    told = answer(play)
    assert told.startswith(b"HTTP/1.1 200 OK\r\n")
    assert told.endswith(b'\r\n\r\n{"error":"%b"}' % REACHABLE.encode())
    machine = play.machine
    assert not list(machine.facts.stories.failures()), "it has not failed"  # type: ignore[attr-defined]


def test_with_a_key_it_is_a_question_as_well() -> None:
    asked = ASKING.replace(b"/tcp/e1 ", b"/tcp/e1?check ")
    assert answer(proxy_play(), asked).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_endpoint_that_nobody_has() -> None:
    told = answer(client_joins(server_play()))
    assert told.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"X-Pico-Error: no-tunnel; by=server\r\n" in told


def test_an_endpoint_for_http() -> None:
    told = answer(proxy_play(None, ((b"x-pico-protocol", b"http"),)))
    assert told.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"X-Pico-Error: http-endpoint; by=server\r\n" in told


def test_the_upgrade_has_to_arrive() -> None:
    told = answer(proxy_play(), QUESTION.replace(b"Connection: Upgrade\r\n", b""))
    assert told.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")


def test_the_agent_goes_on() -> None:
    play = proxy_play()
    answer(play)
    assert play.tunnels[AGENT]
