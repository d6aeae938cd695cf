"""``/status/stream`` of a supervisor: whose stream it is, that nothing piles up, and when it ends."""

import random

import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.ports import RebalanceConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.program import WorkerEnded, WorkerStarted
from pico_core.records import Record
from pico_core.server.admin.live import MAX_VIEWERS, STREAM_S
from pico_core.server.node import ServerNode
from pico_core.server.worker import Worker
from pico_core.server.workers.asking import ASK_TIMEOUT_S
from pico_core.server.workers.live import SILENCE_S
from pico_core.server.workers.supervisor import Supervisor
from tests.play import Play, sent

OPERATOR = 101
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSAL = b"HTTP/1.1 401 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
FIRST_PORT = 7001


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENT = chunk(b"event: here\ndata: {}\n\n")


def running(workers: int = 2) -> Play:
    """Return the play of a supervisor whose workers are ready: their control ports are 7001 and up."""
    play = Play(Supervisor(ServerConfig(), workers, "n-", "drawn"), 0.0) >> Tick(0.0)
    play >> Listening("admin", "", 8002)
    for number in range(1, workers + 1):
        becomes_ready(play, number)
    play.take()
    return play


def becomes_ready(play: Play, number: int) -> None:
    play >> WorkerStarted(number, 100 + number, 9000 + number, FIRST_PORT + number - 1)
    (asked,) = dials(play.take())
    answers(play, asked, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") >> ConnectionLost(asked.connection, "")


def dials(commands: list[Record]) -> list[Connect]:
    return [each for each in commands if isinstance(each, Connect)]


def answers(play: Play, dial: Connect, data: bytes) -> Play:
    return play >> Connected(dial.connection, dial.host, dial.port) >> Received(dial.connection, data)


def looks_on(play: Play, viewer: int = OPERATOR, method: bytes = b"GET") -> Connect:
    """Have a viewer ask for the stream, and return where it is asked for."""
    head = b"%b /status/stream HTTP/1.1\r\nHost: pico:8002\r\nAuthorization: Bearer t\r\n\r\n" % method
    play >> Accepted(viewer, "admin", "192.0.2.9", 5000) >> Received(viewer, head)
    (asked,) = dials(play.take())
    return asked


def streaming(workers: int = 2) -> tuple[Play, Connect]:
    play = running(workers)
    asked = looks_on(play)
    answers(play, asked, HEAD + EVENT)
    play.take()
    return play, asked


def test_the_stream_of_the_first_worker_is_passed_on() -> None:
    play = running()
    asked = looks_on(play)
    assert (asked.host, asked.port) == ("127.0.0.1", FIRST_PORT)
    play >> Connected(asked.connection, asked.host, asked.port)
    question = sent(play.take(), asked.connection)
    assert question.startswith(b"GET /status/stream HTTP/1.1\r\n")
    for field in (b"x-pico-worker: drawn", b"x-pico-host: pico:8002", b"x-pico-client: 192.0.2.9"):
        assert field + b"\r\n" in question
    assert b"authorization: Bearer t\r\n" in question
    play >> Received(asked.connection, HEAD + EVENT[:2]) >> Received(asked.connection, EVENT[2:] + EVENT)
    head, _, body = sent(play.take(), OPERATOR).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n")
    assert body.count(b"event: here\n") == 2
    play >> EofReceived(OPERATOR)
    assert Abort(asked.connection) in play.take(), "nobody looks on"


def test_a_refusal_is_passed_on() -> None:
    play = running()
    answers(play, looks_on(play), REFUSAL)
    data = sent(play.take(), OPERATOR)
    assert data.startswith(b"HTTP/1.1 401 ")
    assert data.endswith(b"\r\n\r\n{}")


def test_a_worker_that_does_not_answer_is_passed_over() -> None:
    play = running()
    first = looks_on(play)
    play >> ConnectFailed(first.connection, "connection refused")
    (second,) = dials(play.take())
    assert second.port == FIRST_PORT + 1
    play >> Connected(second.connection, second.host, second.port) >> play.now + ASK_TIMEOUT_S + 1.0
    assert sent(play.take(), OPERATOR).startswith(b"HTTP/1.1 503 ")


def test_what_a_viewer_does_not_take_waits_at_the_worker() -> None:
    play, asked = streaming()
    play >> WritingPaused(OPERATOR) >> Received(asked.connection, EVENT)
    assert PauseReading(asked.connection) in play.take()
    play >> WritingResumed(OPERATOR)
    assert ResumeReading(asked.connection) in play.take()
    play >> Received(asked.connection, EVENT)
    assert b"event: here\n" in sent(play.take(), OPERATOR)
    play >> WritingPaused(OPERATOR) >> Received(asked.connection, EVENT) >> play.now + SILENCE_S + 1.0
    done = play.take()
    assert Abort(OPERATOR) in done
    assert Abort(asked.connection) in done


@pytest.mark.parametrize("end", ["lost", "silent", "in order"])
def test_a_stream_ends_in_order_with_its_worker(end: str) -> None:
    play, asked = streaming()
    if end == "lost":
        play >> ConnectionLost(asked.connection, "reset") >> WorkerEnded(1, -9, "it was ended by SIGKILL")
    elif end == "silent":
        play >> play.now + SILENCE_S + 1.0
    else:
        play >> Received(asked.connection, b"0\r\n\r\n")
    assert sent(play.take(), OPERATOR).endswith(b"0\r\n\r\n")
    next_one = looks_on(play, 103)
    assert next_one.port == (FIRST_PORT + 1 if end == "lost" else FIRST_PORT)


def test_a_stream_ends_when_its_worker_is_replaced() -> None:
    play, asked = streaming(1)
    play >> ConfigReloaded(ServerConfig(upstream=UpstreamConfig(rebalance=RebalanceConfig(threshold=0.5))))
    becomes_ready(play, 2)
    done = play.take()
    assert sent(done, OPERATOR).endswith(b"0\r\n\r\n")
    assert Abort(asked.connection) in done
    assert looks_on(play, 103).port == FIRST_PORT + 1


def test_places_for_viewers() -> None:
    play = running()
    for viewer in range(101, 101 + 2 * MAX_VIEWERS, 2):
        asked = looks_on(play, viewer)
        answers(play, asked, HEAD)
        play.take()
    head = b"GET /status/stream HTTP/1.1\r\nHost: pico:8002\r\n\r\n"
    play >> Accepted(201, "admin", "192.0.2.9", 5000) >> Received(201, head)
    assert sent(play.take(), 201).startswith(b"HTTP/1.1 503 ")
    play >> EofReceived(101)
    looks_on(play, 203)


def test_head_gets_the_head_and_no_stream() -> None:
    play = running()
    asked = looks_on(play, method=b"HEAD")
    answers(play, asked, HEAD + EVENT)
    done = play.take()
    head, _, body = sent(done, OPERATOR).partition(b"\r\n\r\n")
    assert b"\r\ncache-control: no-store\r\n" in head
    assert body == b""
    assert Abort(asked.connection) in done
    looks_on(play, 103)


def test_a_stream_lasts_as_long_as_the_worker_says() -> None:
    play, asked = streaming()
    at = play.now
    while play.now < at + STREAM_S - 10.0:
        play >> play.now + 2.0 >> Received(asked.connection, EVENT)
    assert not sent(play.take(), OPERATOR).endswith(b"0\r\n\r\n")


def test_the_control_port_of_a_worker_has_the_stream() -> None:
    port = Address("127.0.0.1", 1)
    shared = {"proxy": port, "upstream": port, "join": port}
    worker = Worker(
        number=1,
        count=2,
        node_id="n-1-1",
        group="n-",
        shared=shared,
        own_gossip=port,
        control=port,
        secret="drawn",
    )
    play = Play(ServerNode(ServerConfig(), "n-1-1", random.Random(1), worker=worker), 0.0) >> Tick(0.0)
    fields = b"Host: x\r\nx-pico-worker: drawn\r\nx-pico-host: localhost\r\nx-pico-client: 192.0.2.9\r\n"
    play >> Accepted(1, "control", "127.0.0.1", 5000)
    play >> Received(1, b"GET /status/stream HTTP/1.1\r\n" + fields + b"\r\n")
    assert b"event: here\n" in sent(play.take(), 1)
