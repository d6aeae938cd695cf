"""What takes too long ends, with an answer where one is due; what makes progress never does."""

import msgspec
import pytest

from pico_core.boundary import Close, Received, ResumeReading, Send, SendEof
from pico_core.config.server import ServerConfig
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, error, proxy_play, put, put_sent
from tests.play import Data, End, Nothing, Open, Play, Reset, joined

TIMEOUT = error(504, "Gateway Timeout", "upstream timeout")
SLOW_REQUEST = error(408, "Request Timeout", "request timeout", "Connection: close")


def test_an_upstream_that_does_not_answer() -> None:
    play = proxy_play()
    assert (
        play
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> 29.0
        << Nothing()
        >> 30.5
        << TIMEOUT
        << Reset(AGENT, 2)
        >> Received(CLIENT, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )
    (line,) = play.access_log
    assert b'"status":504' in line


@pytest.mark.parametrize("hints", [b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_an_interim_response_is_a_sign_of_life_but_not_a_response(hints: bytes) -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> 20.0
        >> Data(AGENT, 2, hints)
        << Send(CLIENT, hints)
        >> 49.5
        << Nothing()
        >> 50.5
        << TIMEOUT
        << Reset(AGENT, 2)
    )


def test_a_retry_has_its_own_time() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> 20.0
        >> Reset(AGENT, 2)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
        >> 40.0
        >> Data(AGENT, 4, OK)
        << Send(CLIENT, OK)
    )


def test_the_configured_time_counts() -> None:
    config = msgspec.convert({"proxy": {"timeout_s": 2.0, "http": {"idle_timeout_s": 20.0}}}, ServerConfig)
    assert (
        proxy_play(config)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> 2.5
        << TIMEOUT
        << Reset(AGENT, 2)
        >> 21.5
        << Nothing()
        >> 22.5
        << Close(CLIENT)
    )


def test_a_response_that_began_is_never_cut_by_time() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    event = b"2\r\n\n\n\r\n"
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, head)
        << Send(CLIENT, head)
        >> 4_000.0
        >> Data(AGENT, 2, event)
        << Send(CLIENT, event)
    )


def test_an_upload_that_stops() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, put(b"abc")[:-2])
        << Open(AGENT, 2)
        << Data(AGENT, 2, put_sent(b"abc")[:-2])
        >> 250.0
        >> Received(CLIENT, b"b")
        << Data(AGENT, 2, b"b")
        >> 549.0
        << Nothing()
        >> 550.5
        << SLOW_REQUEST
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
    )


def test_an_upload_that_the_upstream_does_not_take() -> None:
    play = proxy_play()
    play.tunnels[AGENT].reading = False
    play >> Received(CLIENT, put(bytes(500_000))[:-100_000])
    play.take()
    assert (
        play
        >> 29.0
        << Nothing()
        >> 30.5
        << error(504, "Gateway Timeout", "upstream timeout", "Connection: close")
        << ResumeReading(CLIENT)
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
    )


def test_an_upload_that_the_upstream_takes_slowly() -> None:
    """Each time it takes something it has its time again."""
    play = proxy_play()
    far = play.tunnels[AGENT]
    far.reading = False
    play >> Received(CLIENT, put(bytes(2_000_000))[:600_000])
    half_window = INITIAL_WINDOW_BYTES // 2
    done = play.take()
    for turn in range(1, 9):
        play >> turn * 25.0
        far.streams[2].consume(half_window)
        play >> Received(AGENT, far.output()) >> Received(CLIENT, bytes(half_window))
        done += play.take()
    assert sum(len(cue.data) for cue in done if isinstance(cue, Data)) >= 9 * half_window
    assert not [command for command in done if isinstance(command, Send)], "no answer"
    assert b"HTTP/1.1 504 " in joined_sends(play >> 231.0)


def joined_sends(play: Play) -> bytes:
    """Return what the client gets."""
    return b"".join(joined(command.data) for command in play.take() if isinstance(command, Send))


def test_a_connection_that_never_asks_is_closed() -> None:
    assert proxy_play() >> 9.5 << Nothing() >> 10.5 << Close(CLIENT)


def test_a_head_that_drips_is_refused() -> None:
    play = proxy_play() >> 5.0
    for second, byte in enumerate(GET[:5], 5):
        assert play >> float(second) >> Received(CLIENT, bytes([byte]))
    assert play >> 9.9 << Nothing() >> 10.5 << SLOW_REQUEST << SendEof(CLIENT) >> 13.0 << Close(CLIENT)


def test_a_later_head_that_drips_is_refused_as_soon() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> 100.0
        << End(AGENT, 2)
        >> Received(CLIENT, b"GET")
        >> 109.0
        >> Received(CLIENT, b" ")
        << Nothing()
        >> 110.5
        << SLOW_REQUEST
        << SendEof(CLIENT)
    )


def test_an_idle_connection_and_an_idle_stream_are_closed_in_the_end() -> None:
    assert (
        proxy_play()
        >> 5.0
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> 64.0
        << Nothing()
        >> 75.0
        << End(AGENT, 2)
        >> 304.0
        << Nothing()
        >> 305.5
        << Close(CLIENT)
    )
