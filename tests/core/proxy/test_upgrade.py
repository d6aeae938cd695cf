"""Upgrade: after a 101, and only then, a pipe for raw bytes."""

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    ConnectionLost,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    WritingPaused,
    WritingResumed,
)
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, GET, GET_SENT, OK, error, proxy_play
from tests.play import Data, End, Nothing, Open, Play, Reset

ASKING = b"GET /chat HTTP/1.1\r\nHost: e1.example.com\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\n"
ASKING_SENT = (
    b"GET /chat HTTP/1.1\r\nHost: e1.example.com\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n" + FORWARDED + b"\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\n"


def asked(behind: bytes = b"") -> Play:
    """Return a play in which a client has asked for an upgrade, with ``behind`` in the same write."""
    return proxy_play() >> Received(CLIENT, ASKING + behind) << Open(AGENT, 2) << Data(AGENT, 2, ASKING_SENT)


def piped() -> Play:
    """Return a play in which the upgrade was granted."""
    return asked() >> Data(AGENT, 2, SWITCHING) << Send(CLIENT, SWITCHING)


def test_after_101_bytes_pass_untouched_for_as_long_as_it_takes() -> None:
    play = (
        piped()
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET)
        >> 1_000.0
        >> Data(AGENT, 2, b"\x00\xff")
        << Send(CLIENT, b"\x00\xff")
        >> EofReceived(CLIENT)
        << End(AGENT, 2)
        >> Data(AGENT, 2, b"bye")
        << Send(CLIENT, b"bye")
        >> End(AGENT, 2)
        << SendEof(CLIENT)
        << Close(CLIENT)
    )
    assert play
    (line,) = play.access_log
    assert b'"path":"/chat","endpoint":"e1","status":101' in line
    assert b'"request_bytes":%d,"response_bytes":5,' % len(GET) in line


def test_bytes_on_both_sides_of_the_101_are_kept() -> None:
    assert (
        asked(b"early")
        >> Received(CLIENT, b" bird")
        << Nothing()
        >> Data(AGENT, 2, SWITCHING + b"hello")
        << Send(CLIENT, SWITCHING + b"hello")
        << Data(AGENT, 2, b"early bird")
    )


def test_the_service_may_end_first() -> None:
    assert (
        piped()
        >> End(AGENT, 2)
        << SendEof(CLIENT)
        >> Received(CLIENT, b"last words")
        << Data(AGENT, 2, b"last words")
        >> EofReceived(CLIENT)
        << Close(CLIENT)
        << End(AGENT, 2)
    )


def test_a_reset_is_passed_on() -> None:
    assert piped() >> ConnectionLost(CLIENT, "reset") << Reset(AGENT, 2)
    assert piped() >> Reset(AGENT, 2) << Abort(CLIENT) >> ConnectionLost(CLIENT, "")


def test_a_client_that_is_gone_after_its_end_of_stream_leaves_in_order() -> None:
    assert piped() >> EofReceived(CLIENT) << End(AGENT, 2) >> ConnectionLost(CLIENT, "") >> End(AGENT, 2)


def test_the_pipe_runs_at_the_pace_of_the_slower_side() -> None:
    assert (
        piped()
        >> WritingPaused(AGENT)
        >> Received(CLIENT, b"a")
        << Nothing()
        >> Received(CLIENT, b"b")
        << PauseReading(CLIENT)
        >> WritingResumed(AGENT)
        << ResumeReading(CLIENT)
        << Data(AGENT, 2, b"ab")
        >> WritingPaused(CLIENT)
        >> Data(AGENT, 2, bytes(200_000))
        << Send(CLIENT, bytes(200_000))
        >> WritingResumed(CLIENT)
        << Nothing()
        >> Data(AGENT, 2, bytes(200_000))
        << Send(CLIENT, bytes(200_000))
    )


def test_a_pipe_that_begins_with_a_full_tunnel_waits() -> None:
    assert (
        asked()
        >> WritingPaused(AGENT)
        >> Received(CLIENT, b"a")
        << Nothing()
        >> Data(AGENT, 2, SWITCHING)
        << Send(CLIENT, SWITCHING)
        >> Received(CLIENT, b"b")
        << PauseReading(CLIENT)
        >> Received(CLIENT, b"c")
        << Nothing()
        >> WritingResumed(AGENT)
        << ResumeReading(CLIENT)
        << Data(AGENT, 2, b"abc")
    )


def test_a_declined_upgrade_is_an_ordinary_response_and_what_follows_a_request() -> None:
    assert asked(GET) >> Data(AGENT, 2, OK) << Send(CLIENT, OK) << Data(AGENT, 2, GET_SENT)


def test_bytes_behind_a_declined_upgrade_that_are_not_a_request_are_refused() -> None:
    assert (
        asked(b"\x81\x85....")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << error(400, "Bad Request", "malformed request line", "Connection: close")
        << SendEof(CLIENT)
    )


@pytest.mark.parametrize("request_head", [GET, ASKING.replace(b"chat/1", b"h2c")])
def test_a_101_without_an_upgrade_is_not_an_answer(request_head: bytes) -> None:
    play = proxy_play() >> Received(CLIENT, request_head.replace(b"GET", b"POST"))
    play.take()
    assert (
        play
        >> Data(AGENT, 2, SWITCHING + b"GET / HTTP/1.1\r\n\r\n")
        << error(
            502, "Bad Gateway", "the service's response was not valid HTTP: switching protocols without being asked"
        )
        << Reset(AGENT, 2)
    )


def test_an_interim_response_may_precede_the_101() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    assert asked() >> Data(AGENT, 2, hints + SWITCHING) << Send(CLIENT, hints) << Send(CLIENT, SWITCHING)


def test_a_backlog_that_stopped_the_client_goes_through_the_pipe() -> None:
    assert (
        asked(bytes(70_000))
        >> Received(CLIENT, b"x")
        << PauseReading(CLIENT)
        >> Data(AGENT, 2, SWITCHING)
        << Send(CLIENT, SWITCHING)
        << ResumeReading(CLIENT)
        << Data(AGENT, 2, bytes(70_000) + b"x")
    )
