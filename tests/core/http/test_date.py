"""Date (RFC 9110 section 6.6.1): its form against Python's own, and which responses get one on their way."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pico_core.boundary import Connected, Received, Send, Tick
from pico_core.http.date import LAST_S, Dates, imf_fixdate
from tests.core.agent import scene as agent_scene
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, proxy_play
from tests.play import Data, Open

SUNDAY_S = 784_111_777.0
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


@given(st.integers(0, LAST_S))
def test_as_python_writes_it(second: int) -> None:
    assert imf_fixdate(second + 0.5).decode() == formatdate(second, usegmt=True)


@pytest.mark.parametrize("second", [0, 951_782_399, 951_782_400, 951_868_800, 4_107_542_399, 4_107_542_400, LAST_S])
def test_around_leap_days(second: int) -> None:
    assert imf_fixdate(second).decode() == formatdate(second, usegmt=True)


def test_times_that_no_date_can_say_are_the_nearest_ones() -> None:
    assert imf_fixdate(-1.0) == imf_fixdate(0.0)
    assert imf_fixdate(1e300) == b"Fri, 31 Dec 9999 23:59:59 GMT"


def test_a_date_is_written_once_a_second() -> None:
    dates = Dates(lambda now: now)
    first = dates.line(SUNDAY_S)
    assert first == DATE
    assert dates.value(SUNDAY_S + 0.9) is dates.value(SUNDAY_S)
    assert dates.line(SUNDAY_S + 1.0) == DATE.replace(b":37", b":38")
    assert Dates(lambda now: 0.0).line(1.0) == b""


@pytest.mark.parametrize("named", [b"Date: yesterday\r\n", b"DATE:\r\n", b""])
def test_the_server_adds_a_date_to_a_response_without_one(named: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + named + b"Content-Length: 2\r\n"
    play = proxy_play() >> Tick(SUNDAY_S)
    for pieces in ([head + b"\r\nok"], [head + b"\r\n", b"ok"]):
        play >> Received(CLIENT, GET)
        play.take()
        play >> Data(AGENT, 2, pieces[0]) << Send(CLIENT, head + (b"" if named else DATE) + pieces[0][len(head) :])
        for piece in pieces[1:]:
            play >> Data(AGENT, 2, piece) << Send(CLIENT, piece)
        assert play


def test_a_response_that_is_remembered_gets_the_date_of_its_time() -> None:
    play = proxy_play() >> Tick(SUNDAY_S) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    dated = OK.replace(b"\r\n\r\n", b"\r\n" + DATE + b"\r\n")
    assert play >> Data(AGENT, 2, OK) << Send(CLIENT, dated) >> 1.0 >> Received(CLIENT, GET) << Data(AGENT, 2, GET_SENT)
    assert play >> Data(AGENT, 2, OK) << Send(CLIENT, dated.replace(b":37 GMT", b":38 GMT"))


def test_the_agent_adds_it_first() -> None:
    play = agent_scene.asked(agent_scene.registered() >> Tick(SUNDAY_S)) << agent_scene.DIAL
    dated = agent_scene.OK.replace(b"\r\n\r\n", b"\r\n" + DATE + b"\r\n")
    assert (
        play
        >> Connected(agent_scene.SERVICE, "127.0.0.1", 3000)
        << Send(agent_scene.SERVICE, agent_scene.GET)
        >> Received(agent_scene.SERVICE, agent_scene.OK)
        << Data(agent_scene.SERVER, 2, dated)
    )
