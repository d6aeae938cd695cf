"""``?forward=``: a status question that another node answers."""

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendDatagram,
    SendEof,
)
from pico_core.records import Record
from pico_core.server.admin.asking import FORWARD_TIMEOUT_S
from pico_core.server.admin.pages import MAX_FORWARDS
from tests.core.server.admin.scene import OPERATOR, admin_play, ask, joins, node_appears, response
from tests.play import Play

OUT = 2
"""The connection to the other node."""

QUESTION = (
    b"GET /status/upstream/endpoints HTTP/1.1\r\nHost: 10.0.0.2:8002\r\nUser-Agent: pico\r\nAccept: */*\r\n"
    b"Connection: close\r\n\r\n"
)
FORWARDED = ask("/status/upstream/endpoints?forward=node-2")


def two_nodes(admin_addr: str = "10.0.0.2:8002") -> Play:
    play = admin_play()
    node_appears(play, "node-2", "10.0.0.2", proxy_addr="10.0.0.2:8000", admin_addr=admin_addr)
    return play


def asked() -> Play:
    """Return a play in which the other node has got the question."""
    play = two_nodes() >> FORWARDED
    play << Connect(OUT, "10.0.0.2", 8002, FORWARD_TIMEOUT_S) << PauseReading(OPERATOR)
    return play >> Connected(OUT, "10.0.0.2", 8002) << Send(OUT, QUESTION)


def reply(status: int, body: bytes, kind: bytes = b"application/json") -> Received:
    return Received(
        OUT, b"HTTP/1.1 %d \r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body)
    )


def refusal(reason: str, status: int = 502) -> Send:
    return response(status, f'{{"error": "{reason}"}}')


def test_the_answer_is_passed_on() -> None:
    assert (
        asked()
        >> reply(200, b'{"e1":1}', b"application/json; charset=utf-8")
        << Close(OUT)
        << response(200, '{"e1":1}')
        << ResumeReading(OPERATOR)
        >> ask("/health")
        << response(200, "ok\n", "text/plain; charset=utf-8")
    )


def test_the_path_is_passed_on_as_it_came_and_without_the_parameter() -> None:
    play = two_nodes() >> ask("/status/cluster/nodes/a%2Fb?x=1&forward=node-2")
    play.take()
    play >> Connected(OUT, "10.0.0.2", 8002)
    assert play << Send(OUT, QUESTION.replace(b"upstream/endpoints", b"cluster/nodes/a%2Fb"))


def test_an_unknown_node_of_another_node() -> None:
    assert (
        asked()
        >> reply(404, b'{"error": "unknown node"}')
        << Close(OUT)
        << response(404, '{"error": "unknown node"}')
        << ResumeReading(OPERATOR)
    )


def test_this_node_asks_itself_directly() -> None:
    assert two_nodes() >> ask("/status/upstream/endpoints?forward=node-1") << response(200, "{}")
    assert two_nodes() >> ask("/status/upstream/endpoints?forward=") << response(200, "{}")


def test_unknown_nodes_and_too_many() -> None:
    assert (
        two_nodes()
        >> ask("/status/upstream/endpoints?forward=node-3")
        << refusal("unknown node 'node-3'", 404)
        >> ask("/status/upstream/endpoints?forward=node-2&forward=node-1")
        << refusal("more than one node to forward to", 400)
        >> ask("/nowhere?forward=node-2")
        << refusal("not found", 404)
        >> ask("/health?forward=node-2")
        << response(200, "ok\n", "text/plain; charset=utf-8")
    )


@pytest.mark.parametrize(
    "admin_addr", ["", "nonsense", "a\r\nb:80", "a b:80", "a/b:80", "a@b:80", "10.0.0.300:80", "a:0"]
)
def test_a_node_without_a_usable_admin_address(admin_addr: str) -> None:
    assert two_nodes(admin_addr) >> FORWARDED << refusal("node 'node-2' has no usable admin address")


def test_a_node_that_is_not_there() -> None:
    play = two_nodes() >> FORWARDED
    play.take()
    assert (
        play
        >> ConnectFailed(OUT, "connection refused")
        << refusal("node 'node-2' does not answer: connection refused")
        << ResumeReading(OPERATOR)
    )


def done_until(play: Play, at: float) -> list[Record]:
    """Let time pass and return what is done but gossip."""
    return [each for each in (play >> at).take() if not isinstance(each, SendDatagram)]


TIMED_OUT = [refusal("node 'node-2' does not answer: timed out"), ResumeReading(OPERATOR)]


def test_a_node_that_does_not_accept_in_time() -> None:
    play = two_nodes() >> FORWARDED
    play.take()
    assert done_until(play, 5.9) == [Abort(OUT), *TIMED_OUT]


def test_a_node_that_does_not_answer_in_time() -> None:
    assert done_until(asked(), 5.9) == [Abort(OUT), *TIMED_OUT]


def test_a_node_that_breaks_off() -> None:
    for end in (EofReceived(OUT), ConnectionLost(OUT, "reset")):
        done = (asked() >> Received(OUT, b"HTTP/1.1 200 \r\ncontent-length: 9\r\n\r\n{") >> end).take()
        reason = "connection closed early" if isinstance(end, EofReceived) else "connection lost"
        assert refusal(f"node 'node-2' does not answer: {reason}") in done


@pytest.mark.parametrize(("status", "kind"), [(200, b"text/html"), (302, b"application/json"), (500, b"text/plain")])
def test_what_is_not_a_status_is_not_passed_on(status: int, kind: bytes) -> None:
    assert (
        asked()
        >> reply(status, b"<script>", kind)
        << Close(OUT)
        << refusal(f"node 'node-2' gave no status: {status} {kind.decode()}")
        << ResumeReading(OPERATOR)
    )


def test_the_operator_is_gone_when_the_answer_comes() -> None:
    assert asked() >> ConnectionLost(OPERATOR, "") >> reply(200, b"{}") << Close(OUT)
    assert asked() >> EofReceived(OPERATOR) << Close(OPERATOR) >> reply(200, b"{}") << Close(OUT)


def test_questions_behind_a_forwarded_one_wait() -> None:
    assert (
        two_nodes()
        >> FORWARDED
        >> ask("/health")
        << Connect(OUT, "10.0.0.2", 8002, FORWARD_TIMEOUT_S)
        << PauseReading(OPERATOR)
        >> Connected(OUT, "10.0.0.2", 8002)
        << Send(OUT, QUESTION)
        >> reply(200, b"{}")
        << Close(OUT)
        << response(200, "{}")
        << response(200, "ok\n", "text/plain; charset=utf-8")
        << ResumeReading(OPERATOR)
    )


def test_garbage_behind_a_forwarded_question_is_refused_after_the_answer() -> None:
    done = (asked() >> Received(OPERATOR, b"\x00 nonsense\r\n\r\n") >> reply(200, b"{}")).take()
    assert done[:2] == [Close(OUT), response(200, "{}")]
    assert isinstance(done[2], Send)
    assert isinstance(done[2].data, bytes)
    assert done[2].data.startswith(b"HTTP/1.1 400 ")
    assert done[3:] == [ResumeReading(OPERATOR), SendEof(OPERATOR)]


def test_questions_on_their_way_are_bounded() -> None:
    play = two_nodes()
    for number in range(MAX_FORWARDS):
        connection = 101 + 2 * number
        joins(play, connection) >> ask("/status/gossip/nodes?forward=node-2", connection)
    play.take()
    assert play >> FORWARDED << refusal("too many questions are being forwarded", 503)
    play >> ConnectFailed(2, "refused")
    play.take()
    play >> FORWARDED
    assert play.take()[0] == Connect(2 + 2 * MAX_FORWARDS, "10.0.0.2", 8002, FORWARD_TIMEOUT_S)
