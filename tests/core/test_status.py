"""``StatusMachine``, and through it the client part of ``http.plain``: one question, one answer or one reason."""

import random

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Received,
    Send,
    ShutdownRequested,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.values import Origin
from pico_core.plain.client import PlainResponse
from pico_core.status import StatusMachine
from tests.play import Play

REQUEST = (
    b"GET /status/cluster/nodes?forward=a HTTP/1.1\r\nHost: [::1]:8002\r\nUser-Agent: pico\r\nAccept: */*\r\n"
    b"Connection: close\r\n\r\n"
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DONE = Exit(0, "")


def asked() -> tuple[Play, StatusMachine]:
    node = StatusMachine(Origin("::1", 8002, "http"), "/status/cluster/nodes?forward=a")
    play = Play(node) >> Tick() << Connect(2, "::1", 8002, 10.0)
    return play >> Connected(2, "::1", 8002) << Send(2, REQUEST), node


def failed(reason: str) -> Exit:
    return Exit(1, f"no answer from http://[::1]:8002: {reason}; give the admin address of a server with --server.url")


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n", b""),
        (HEAD + b"Content-Length: 2\r\n\r\n{}trailing bytes of no interest", b"{}"),
    ],
)
def test_an_answer_however_it_is_cut(data: bytes, body: bytes) -> None:
    for size in (1, 3, len(data)):
        play, node = asked()
        for at in range(0, len(data), size):
            play >> Received(2, data[at : at + size])
        assert play << Close(2) << DONE
        assert node.response == PlainResponse(200, "application/json", body)


def test_an_answer_that_the_end_of_the_connection_ends() -> None:
    play, node = asked()
    assert play >> Received(2, b"HTTP/1.0 404 No\r\n\r\nnothing") >> EofReceived(2) << Close(2) << DONE
    assert node.response == PlainResponse(404, "", b"nothing")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "connection closed early"),
        (b"HTTP/1.1 200", "connection closed early"),
        (HEAD + b"Content-Length: 2\r\n\r\n{", "connection closed early"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "connection closed early"),
    ],
)
def test_an_answer_that_ends_early(data: bytes, reason: str) -> None:
    play, node = asked()
    if data:
        play >> Received(2, data)
    assert play >> EofReceived(2) << Abort(2) << failed(reason)
    assert node.response is None


def test_what_is_not_http() -> None:
    play, _ = asked()
    done = (play >> Received(2, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")).take()
    assert done[0] == Abort(2)
    assert isinstance(done[1], Exit)
    assert done[1].message.startswith("no answer from http://[::1]:8002: no HTTP response: ")


def test_an_answer_without_end_is_given_up() -> None:
    play, _ = asked()
    play >> Received(2, HEAD + b"\r\n")
    for _ in range(256):
        play >> Received(2, bytes(65_536))
    assert not play.take()
    assert play >> Received(2, b"x") << Abort(2) << failed("the response is too long")


def test_a_head_without_end_is_given_up() -> None:
    play, _ = asked()
    done = (play >> Received(2, HEAD + b"x: " + bytes(b"y" * 20_000))).take()
    assert done[0] == Abort(2)


def test_nobody_is_there() -> None:
    play = Play(StatusMachine(Origin("localhost", 8002, "http"), "/")) >> Tick() << Connect(2, "localhost", 8002, 10.0)
    play >> ConnectFailed(2, "connection refused")
    assert play << Exit(
        1,
        "no answer from http://localhost:8002: connection refused; give the admin address of a server with "
        "--server.url",
    )


def test_a_server_that_does_not_answer() -> None:
    play, _ = asked()
    assert play >> 9.9 >> 10.6 << Abort(2) << failed("timed out")


def test_a_connection_that_breaks() -> None:
    play, _ = asked()
    assert play >> WritingPaused(2) >> WritingResumed(2) >> ConnectionLost(2, "reset") << failed("connection lost")


def test_an_interrupt() -> None:
    play, _ = asked()
    assert play >> ShutdownRequested() << Exit(130, "interrupted")


def test_random_bytes_end_in_one_outcome() -> None:
    draw = random.Random(11)
    heads = (b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n", HEAD + b"\r\n")
    for number in range(400):
        play, _ = asked()
        play >> Received(2, heads[number % 4] + draw.randbytes(draw.randint(1, 200)))
        play >> Received(2, b"\r\n\r\n") >> EofReceived(2)
        done = play.take()
        assert [type(each) for each in done] in ([Abort, Exit], [Close, Exit]), done
