"""The admin port's server under clients that send much and read little: bounded work a turn, bounded memory."""

from pico_core.boundary import (
    Close,
    ConnectionLost,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    WritingPaused,
    WritingResumed,
)
from pico_core.plain.server import ANSWERS_PER_TURN
from tests.core.server.admin.scene import OPERATOR, admin_play, ask, response_bytes
from tests.play import joined

HEALTH = ask("/health").data
HEALTHY = response_bytes(200, "ok\n", "text/plain; charset=utf-8")
OK = Send(OPERATOR, HEALTHY)


def test_a_long_pipeline_is_answered_in_turns() -> None:
    play = admin_play() >> Received(OPERATOR, HEALTH * 10_000)
    assert play.take() == [OK] * ANSWERS_PER_TURN + [PauseReading(OPERATOR)]
    done = (play >> 1.0).take()
    assert done.count(OK) == 10_000 - ANSWERS_PER_TURN
    assert done[-1] == ResumeReading(OPERATOR)
    assert play >> Received(OPERATOR, HEALTH) << OK


def test_long_answers_wait_for_their_reader() -> None:
    play = admin_play() >> Received(OPERATOR, ask("/metrics").data * 100)
    sent = [each for each in play.take() if isinstance(each, Send)]
    assert 1 < len(sent) <= ANSWERS_PER_TURN
    assert sum(len(each.data) for each in sent) < 200_000
    play >> WritingPaused(OPERATOR) >> 5.0
    assert not play.take()
    play >> WritingResumed(OPERATOR)
    assert any(isinstance(each, Send) for each in play.take())


def test_a_client_that_never_reads_is_let_go() -> None:
    play = admin_play() >> Received(OPERATOR, HEALTH * 100) >> WritingPaused(OPERATOR)
    play.take()
    assert Close(OPERATOR) in (play >> 10.6).take()
    assert not (play >> 11.0).take()


def test_a_client_that_leaves_in_its_pipeline() -> None:
    play = admin_play() >> Received(OPERATOR, HEALTH * 20 + b"GET /health HTTP/1.0\r\n\r\n" + HEALTH)
    done = (play.take() + (play >> 0.1).take())[-4:]
    last = Send(OPERATOR, HEALTHY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert done == [OK, last, ResumeReading(OPERATOR), SendEof(OPERATOR)]


def test_a_body_is_skipped() -> None:
    play = admin_play() >> Received(
        OPERATOR, b"GET /health HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\nhi" + HEALTH
    )
    assert play << OK << OK


def test_a_body_that_is_not_there_yet_ends_the_connection() -> None:
    play = admin_play() >> Received(OPERATOR, b"GET /health HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\n")
    closing = HEALTHY.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    assert play << Send(OPERATOR, closing) << SendEof(OPERATOR)


def test_a_broken_body_is_refused() -> None:
    head = b"GET /health HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n"
    refusal, end = (admin_play() >> Received(OPERATOR, head + b"nonsense\r\n")).take()
    assert isinstance(refusal, Send)
    assert joined(refusal.data).startswith(b"HTTP/1.1 400 ")
    assert end == SendEof(OPERATOR)


def test_a_client_that_is_gone_before_its_next_turn() -> None:
    play = admin_play() >> Received(OPERATOR, HEALTH * 100) >> ConnectionLost(OPERATOR, "reset")
    play.take()
    assert not (play >> 0.1).take()


def test_a_head_request_has_no_body() -> None:
    play = admin_play() >> Received(OPERATOR, HEALTH.replace(b"GET", b"HEAD"))
    assert play << Send(OPERATOR, HEALTHY.removesuffix(b"ok\n")) >> Received(OPERATOR, HEALTH) << OK
