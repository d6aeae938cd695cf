"""Requests one after the other on a client's connection: order, reuse of streams, and what may pile up."""

import pytest

from pico_core.boundary import (
    Close,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    WritingPaused,
    WritingResumed,
)
from pico_core.proxy.http1.downstream import MAX_BACKLOG_BYTES
from tests.core.proxy.scene import (
    AGENT,
    CLIENT,
    FORWARDED,
    GET,
    GET_SENT,
    OK,
    client_joins,
    error,
    proxy_play,
    put,
    put_sent,
)
from tests.play import Data, End, Nothing, Open, Reset

OTHER = 5


def test_requests_follow_each_other_on_one_stream() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> 1.0
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
    )


def test_an_idle_stream_serves_another_client_and_a_busy_one_does_not() -> None:
    assert (
        client_joins(proxy_play(), OTHER)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Received(OTHER, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


def test_pipelined_requests_are_answered_in_order() -> None:
    second = GET.replace(b"/", b"/2", 1)
    assert (
        proxy_play()
        >> Received(CLIENT, GET + second[:20])
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Received(CLIENT, second[20:] + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        << Nothing()
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << Data(AGENT, 2, GET_SENT.replace(b"/", b"/2", 1))
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << error(400, "Bad Request", "missing endpoint id")
    )


def test_a_request_behind_a_body_waits_its_turn() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, put(b"abc") + GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, put_sent(b"abc"))
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << Data(AGENT, 2, GET_SENT)
    )


def test_a_request_behind_a_body_that_came_in_parts_waits_its_turn() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, put(b"abc")[:-2])
        << Open(AGENT, 2)
        << Data(AGENT, 2, put_sent(b"abc")[:-2])
        >> Received(CLIENT, b"bc" + GET)
        << Data(AGENT, 2, b"bc")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << Data(AGENT, 2, GET_SENT)
    )


def test_nothing_is_served_behind_a_request_that_closes() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET)
        << error(400, "Bad Request", "missing endpoint id", "Connection: close")
        << SendEof(CLIENT)
        >> Received(CLIENT, GET)
    )


def test_close_is_said_and_done() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET[:-2] + b"Connection: close\r\n\r\n")
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        << SendEof(CLIENT)
    )


@pytest.mark.parametrize(
    ("field", "answer", "closes"),
    [
        (b"", b"Connection: close\r\n", True),
        (b"Connection: keep-alive\r\n", b"Connection: keep-alive\r\n", False),
    ],
)
def test_http_1_0_stays_only_when_asked(field: bytes, answer: bytes, closes: bool) -> None:
    play = (
        proxy_play()
        >> Received(CLIENT, b"GET / HTTP/1.0\r\nHost: e1.example.com\r\n" + field + b"\r\n")
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + answer + b"\r\nok")
    )
    if closes:
        play << SendEof(CLIENT)
    assert play


def test_an_upstream_that_closes_gets_no_second_request() -> None:
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, closing)
        << Send(CLIENT, OK)
        << End(AGENT, 2)
        >> End(AGENT, 2)
        >> Received(CLIENT, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 200 OK\r\n", b"x"])
def test_surplus_bytes_never_answer_the_next_request(unasked: bytes) -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> Data(AGENT, 2, unasked)
        << Reset(AGENT, 2)
        >> Received(CLIENT, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


def test_bytes_behind_a_response_end_its_stream() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK + b"HTTP/1.1 200 OK\r\n")
        << Send(CLIENT, OK)
        << End(AGENT, 2)
    )


def test_an_idle_stream_that_ends_is_forgotten() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> End(AGENT, 2)
        << End(AGENT, 2)
        >> Received(CLIENT, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


def test_a_client_that_pipelines_without_end_is_not_read_until_its_turn_comes() -> None:
    later = GET[:-2] + b"X: " + b"x" * 40_000 + b"\r\n\r\n"
    later_sent = GET_SENT.replace(FORWARDED, later[len(GET) - 2 : -2] + FORWARDED)
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Received(CLIENT, later)
        << Nothing()
        >> Received(CLIENT, later)
        << PauseReading(CLIENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << ResumeReading(CLIENT)
        << Data(AGENT, 2, later_sent)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << Data(AGENT, 2, later_sent)
    )


def test_a_long_backlog_is_served_before_more_is_read() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> Received(CLIENT, GET * 2_000) << PauseReading(CLIENT)
    read_again_at = []
    for number in range(2_000):
        done = (play >> Data(AGENT, 2, OK)).take()
        assert [each for each in done if isinstance(each, (Send, Data))] == [Send(CLIENT, OK), Data(AGENT, 2, GET_SENT)]
        if ResumeReading(CLIENT) in done and PauseReading(CLIENT) not in done:
            read_again_at.append(number)
    assert len(read_again_at) == 1
    assert (2_000 - read_again_at[0]) * len(GET) <= MAX_BACKLOG_BYTES + 2 * len(GET)


def test_a_client_that_reads_no_answers_gets_no_more_of_them() -> None:
    bad = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = error(400, "Bad Request", "missing endpoint id")
    play = (
        proxy_play()
        >> Received(CLIENT, bad)
        << answer
        >> WritingPaused(CLIENT)
        >> Received(CLIENT, bad + bad)
        << Nothing()
        >> Received(CLIENT, bad * 2_500)
        << PauseReading(CLIENT)
        >> WritingResumed(CLIENT)
        << ResumeReading(CLIENT)
    )
    answers = play.take().count(answer)
    assert answers == 16, "the others have their turn"
    answers += (play >> 1.0).take().count(answer)
    assert answers == 2_502


def test_a_client_that_reads_again_with_nothing_waiting() -> None:
    assert proxy_play() >> WritingPaused(CLIENT) >> WritingResumed(CLIENT)


def test_a_client_that_leaves_between_requests() -> None:
    assert proxy_play() >> EofReceived(CLIENT) << Close(CLIENT)


# --- closing while the client still sends ---

REFUSED = error(400, "Bad Request", "malformed request line", "Connection: close")


def test_after_a_refusal_the_rest_is_read_for_a_moment_and_dropped() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b" ")
        << REFUSED
        << SendEof(CLIENT)
        >> Received(CLIENT, GET)
        << Nothing()
        >> 2.5
        << Close(CLIENT)
    )


def test_a_refused_client_that_leaves_is_let_go() -> None:
    assert proxy_play() >> Received(CLIENT, b" ") << REFUSED << SendEof(CLIENT) >> EofReceived(CLIENT) << Close(CLIENT)


def test_a_refused_client_that_sends_on_is_not_read_for_ever() -> None:
    play = proxy_play() >> Received(CLIENT, b" ") << REFUSED << SendEof(CLIENT)
    for second in range(1, 30):
        play >> float(second) >> Received(CLIENT, bytes(100_000)) << Nothing()
    assert play >> 30.5 << Close(CLIENT)


def test_a_broken_request_behind_a_good_one_is_refused_after_the_answer() -> None:
    play = proxy_play()
    assert (
        play
        >> Received(CLIENT, GET + b"broken\r\n\r\n")
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << REFUSED
        << SendEof(CLIENT)
    )
    answered, refused = play.access_log
    assert b'"status":200' in answered
    assert b'"status":400' in refused


@pytest.mark.parametrize(
    ("lines", "status", "phrase", "reason"),
    [
        (b"GET / HTTP/2.0\r\n", 505, "HTTP Version Not Supported", "HTTP version not supported"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n", 501, "Not Implemented", "method not supported"),
        (b"GET / HTTP/1.1\r\n", 400, "Bad Request", "missing Host"),
    ],
)
def test_what_is_not_a_request_is_refused(lines: bytes, status: int, phrase: str, reason: str) -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, lines + b"\r\n")
        << error(status, phrase, reason, "Connection: close")
        << SendEof(CLIENT)
    )
