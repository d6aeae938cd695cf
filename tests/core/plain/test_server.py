"""The small HTTP server of the admin port, with a service that answers at once and one that takes its time."""

from collections.abc import Callable

import pytest

from pico_core.boundary import (
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.machine.turns import TURN_PAUSE_S
from pico_core.plain.server import ANSWERED_PER_TURN_BYTES, ANSWERS_PER_TURN, PLAIN_TEXT, PlainConnection, Question
from tests.play import Nothing, Play, joined

LARGE = ANSWERED_PER_TURN_BYTES * 3 // 5
CLOSE = b"connection: close\r\n"
GET = b"GET /a?b=c HTTP/1.1\r\nHost: pico\r\n\r\n"


class Echo(BaseMachine):
    """Answers with the path and query, or with much; below ``/late`` only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[PlainConnection] = []

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        PlainConnection(channel, self, self, now)

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        path = question.path
        if path.startswith("/late"):
            self.late.append(connection)
        elif path == "/large":
            connection.respond(200, PLAIN_TEXT, b"x" * LARGE, now)
        else:
            connection.respond(200, PLAIN_TEXT, f"{path} {question.query}".encode(), now)


def accepted() -> tuple[Play, Echo]:
    node = Echo()
    return Play(node) >> Tick() >> Accepted(1, "admin", "192.0.2.1", 5), node


def answer(body: bytes, status: bytes = b"200 OK", extra: bytes = b"", shown: bool = True) -> Send:
    head = b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % (status, len(body))
    return Send(1, head + b"x-content-type-options: nosniff\r\n" + extra + b"\r\n" + (body if shown else b""))


def test_requests_follow_each_other() -> None:
    play, _ = accepted()
    assert play >> Received(1, GET[:9]) << Nothing() >> Received(1, GET[9:]) << answer(b"/a b=c") >> 8.0
    assert play >> Received(1, GET) << answer(b"/a b=c") >> 17.0 << Nothing()
    assert play >> Received(1, GET + GET) << answer(b"/a b=c") << answer(b"/a b=c")


def test_a_higher_minor_version_is_served_as_1_1() -> None:
    play, _ = accepted()
    newer = GET.replace(b"HTTP/1.1", b"HTTP/1.2")
    assert play >> Received(1, newer + newer) << answer(b"/a b=c") << answer(b"/a b=c")


def test_head_has_no_body() -> None:
    play, _ = accepted()
    assert play >> Received(1, GET.replace(b"GET", b"HEAD")) << answer(b"/a b=c", shown=False)


def test_close_is_done() -> None:
    play, _ = accepted()
    closing = GET[:-2] + b"Connection: close\r\n\r\n"
    assert play >> Received(1, closing) << answer(b"/a b=c", extra=b"Connection: close\r\n") << SendEof(1)
    play, _ = accepted()
    assert (
        play
        >> Received(1, b"GET /a?b=c HTTP/1.0\r\n\r\n")
        << answer(b"/a b=c", extra=b"Connection: close\r\n")
        << SendEof(1)
    )


@pytest.mark.parametrize("method", [b"POST", b"DELETE", b"OPTIONS"])
def test_other_methods_are_refused(method: bytes) -> None:
    play, _ = accepted()
    request = GET.replace(b"GET", method)
    assert (
        play
        >> Received(1, request)
        << answer(
            b"only GET and HEAD are served here\n",
            b"405 Method Not Allowed",
            extra=b"connection: close\r\nallow: GET, HEAD\r\n",
        )
        << SendEof(1)
    )


def test_a_body_is_read_and_dropped() -> None:
    play, _ = accepted()
    body = GET[:-2] + b"Content-Length: 3\r\n\r\nabc"
    assert play >> Received(1, body + GET) << answer(b"/a b=c") << answer(b"/a b=c")


def test_a_body_that_is_not_there_yet_ends_the_connection() -> None:
    play, _ = accepted()
    assert play >> Received(1, GET[:-2] + b"Content-Length: 3\r\n\r\na") << answer(b"/a b=c", extra=CLOSE) << SendEof(1)


def test_garbage_is_refused() -> None:
    play, _ = accepted()
    done = (play >> Received(1, b"\x16\x03\x01\r\n\r\n")).take()
    assert isinstance(done[0], Send)
    assert joined(done[0].data).startswith(b"HTTP/1.1 400")
    assert done[1] == SendEof(1)


def test_garbage_behind_a_head_request_is_refused_with_a_body() -> None:
    play, _ = accepted()
    assert play >> Received(1, GET.replace(b"GET", b"HEAD")) << answer(b"/a b=c", shown=False)
    done = (play >> Received(1, b"\x00\r\n\r\n")).take()
    assert isinstance(done[0], Send)
    assert joined(done[0].data).startswith(b"HTTP/1.1 400")
    assert joined(done[0].data).endswith(b"\n")
    assert done[1] == SendEof(1)


def test_a_head_without_end_is_refused() -> None:
    play, _ = accepted()
    done = (play >> Received(1, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 3_000)).take()
    assert isinstance(done[0], Send)
    assert joined(done[0].data).startswith(b"HTTP/1.1 431")
    assert done[1] == SendEof(1)


def test_silence_and_slowness_end_the_connection() -> None:
    play, _ = accepted()
    assert play >> 9.5 << Nothing() >> 10.5 << Close(1)
    play, _ = accepted()
    assert play >> Received(1, GET[:5]) >> 9.0 >> Received(1, GET[5:9]) << Nothing() >> 10.5 << Close(1)


def test_a_client_that_leaves() -> None:
    play, _ = accepted()
    assert play >> WritingPaused(1) >> WritingResumed(1) >> EofReceived(1) << Close(1) >> ConnectionLost(1, "")
    play, _ = accepted()
    assert play >> ConnectionLost(1, "reset") >> 60.0


# --- answers that take their time ---

LATE = GET.replace(b"/a", b"/late")


def asked_late(request: bytes = LATE) -> tuple[Play, Callable[[], None]]:
    """Return a play in which the service was asked, and what makes it answer."""
    play, node = accepted()
    assert play >> Received(1, request) << PauseReading(1)
    return play, lambda: node.late[0].respond(200, PLAIN_TEXT, b"late", play.now)


def test_the_next_request_waits_for_the_answer() -> None:
    play, respond = asked_late()
    assert play >> Received(1, GET) >> 5.0
    respond()
    assert play << answer(b"late") << answer(b"/a b=c") << ResumeReading(1)


def test_an_answer_for_a_client_that_left_is_dropped() -> None:
    play, respond = asked_late()
    assert play >> ConnectionLost(1, "")
    respond()
    assert play >> 60.0


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    play, respond = asked_late()
    assert play >> 10.5 << Close(1)
    respond()
    assert play


def test_only_the_first_answer_counts() -> None:
    play, respond = asked_late()
    respond()
    respond()
    assert play << answer(b"late") << ResumeReading(1)


def test_a_broken_request_behind_one_that_waits() -> None:
    play, respond = asked_late(LATE + b"\x00\r\n\r\n")
    respond()
    done = play.take()
    assert done[0] == answer(b"late")
    assert done[-1] == SendEof(1)


def test_a_broken_body_is_refused() -> None:
    play, node = accepted()
    play >> Received(1, LATE[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert play << answer(b"malformed request\n", b"400 Bad Request", extra=CLOSE) << SendEof(1)
    assert not node.late


# --- clients that ask much or read little ---


def test_a_client_that_reads_no_answers_gets_no_more_of_them() -> None:
    play, _ = accepted()
    assert play >> WritingPaused(1) >> Received(1, GET) << PauseReading(1)
    assert play >> WritingResumed(1) << answer(b"/a b=c") << ResumeReading(1)


def test_a_crowd_of_requests_is_answered_in_turns() -> None:
    play, _ = accepted()
    done = (play >> Received(1, GET * (ANSWERS_PER_TURN + 2))).take()
    assert done == [answer(b"/a b=c")] * ANSWERS_PER_TURN + [PauseReading(1)]
    assert play >> TURN_PAUSE_S << answer(b"/a b=c") << answer(b"/a b=c") << ResumeReading(1)


def test_a_client_that_leaves_between_two_turns() -> None:
    play, _ = accepted()
    (play >> Received(1, GET * (ANSWERS_PER_TURN + 2))).take()
    assert play >> ConnectionLost(1, "") >> 60.0


def test_large_answers_are_fewer_in_a_turn() -> None:
    play, _ = accepted()
    large = answer(b"x" * LARGE)
    assert play >> Received(1, GET.replace(b"/a", b"/large") * 3) << large << large << PauseReading(1)
    assert play >> TURN_PAUSE_S << large << ResumeReading(1)


def test_empty_lines_before_a_request_are_ignored() -> None:
    play, _ = accepted()
    assert play >> Received(1, b"\r\n") << Nothing() >> Received(1, b"\r\n" + GET) << answer(b"/a b=c")
    assert play >> Received(1, b"\r\n\r\n" + GET) << answer(b"/a b=c")


def test_empty_lines_between_pipelined_requests_are_ignored() -> None:
    play, _ = accepted()
    play >> Received(1, GET + b"\r\n" + GET + b"\r\n\r\n" + GET + b"\r")
    assert play << answer(b"/a b=c") << answer(b"/a b=c") << answer(b"/a b=c")
    assert play >> Received(1, b"\n" + GET) << answer(b"/a b=c")


def test_a_refused_head_request_behind_another_request_gets_no_body() -> None:
    play, _ = accepted()
    play >> Received(1, GET + b"\r\nHEAD /\x80 HTTP/1.1\r\nHost: pico\r\n\r\n")
    (first, refusal, closed) = play.take()
    assert first == answer(b"/a b=c")
    assert isinstance(refusal, Send)
    assert joined(refusal.data).startswith(b"HTTP/1.1 400 ")
    assert joined(refusal.data).endswith(b"\r\n\r\n")
    assert closed == SendEof(1)


@pytest.mark.parametrize(
    ("request_head", "why"),
    [
        (b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", b"malformed request line: byte 0x80 at place 2 of the target"),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", b"malformed request line: byte 0x20 at place 3 of the target"),
        (b"GET /caf\xc3\xa9 HTTP/1.1\r\n\r\n", b"malformed request line: byte 0xc3 at place 5 of the target"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"blank before the colon of a header field"),
        (b"GET / HTTP/1.1\r\n\r\n", b"missing Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"malformed or repeated Content-Length"),
        (b"nonsense\r\n\r\n", b"malformed request line"),
        (b"GET / HTTP/1.1\nHost : a\n\n", b"malformed request"),
    ],
)
def test_a_refusal_says_why(request_head: bytes, why: bytes) -> None:
    play, _ = accepted()
    play >> Received(1, request_head)
    (refusal, closed) = play.take()
    assert isinstance(refusal, Send)
    assert joined(refusal.data).rpartition(b"\r\n\r\n")[2] == why + b"\n"
    assert closed == SendEof(1)


def test_a_malformed_request_is_refused_and_not_repeated() -> None:
    play, _ = accepted()
    play >> Received(1, b"<script>\r\n\r\n")
    (refusal, closed) = play.take()
    assert isinstance(refusal, Send)
    assert joined(refusal.data) == (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 23\r\n"
        b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\nmalformed request line\n"
    )
    assert closed == SendEof(1)
