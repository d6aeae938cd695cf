"""A connection that brings much to do in few bytes waits for the others after a share of each turn."""

import random

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
    WritingPaused,
    WritingResumed,
)
from pico_core.machine.turns import TURN_PAUSE_S
from pico_core.mux.frame import HEADER, WINDOW_UPDATE
from pico_core.records import Record
from pico_core.tunnel.tunnel import MAX_FRAMES_AT_ONCE
from pico_core.websocket.encoding import encode_frame
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.core.server.test_tcp_route import ASKING, client_closes, client_sends, piped
from tests.play import Data, End, Nothing, Open, Play, Reset, joined

OTHER = 5
CHUNKED = b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MISSING = error(400, "Bad Request", "missing endpoint id")


def message(payload: bytes) -> bytes:
    """Return the masked message that an agent sends."""
    return joined(encode_frame((payload,), len(payload), random.Random(1)))


def updates(count: int) -> bytes:
    """Return window updates of a stream that does not exist."""
    return HEADER.pack(WINDOW_UPDATE, 0, 9_999, 1) * count


def turns(play: Play, connection: int) -> list[list[Record]]:
    """Let turns pass until the connection is read again; return the commands of each."""
    passed: list[list[Record]] = []
    while ResumeReading(connection) not in (passed[-1] if passed else ()):
        assert len(passed) < 1_000, "never read again"
        play = play >> play.now + TURN_PAUSE_S
        passed.append(play.take())
    return passed


def test_window_updates_without_end_are_carried_out_over_many_turns() -> None:
    play = client_joins(proxy_play(), OTHER) >> Received(AGENT, message(updates(20_000))) << PauseReading(AGENT)
    play = play >> Received(OTHER, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert len(turns(play, AGENT)) == -(-20_000 // MAX_FRAMES_AT_ONCE) - 1
    assert play >> Data(AGENT, 2, OK) << Send(OTHER, OK)


def test_what_comes_behind_a_flood_keeps_its_place() -> None:
    play = client_joins(proxy_play()) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play = play >> Received(AGENT, message(updates(600))) << PauseReading(AGENT)
    play = play >> Data(AGENT, 2, OK) << Nothing()
    assert play >> play.now + TURN_PAUSE_S << Send(CLIENT, OK) << ResumeReading(AGENT)


def test_a_flood_of_empty_frames_in_a_tunnel() -> None:
    play = proxy_play() >> Received(AGENT, message(b"") * 5_000) << PauseReading(AGENT)
    assert len(turns(play, AGENT)) == 9


def test_a_broken_frame_behind_a_flood_is_found_in_its_turn() -> None:
    play = proxy_play() >> Received(AGENT, message(updates(600)) + b"\xff\xff") << PauseReading(AGENT)
    assert play >> play.now + TURN_PAUSE_S << Close(AGENT)


@pytest.mark.parametrize("end", [EofReceived(AGENT), ConnectionLost(AGENT, "reset")])
def test_a_tunnel_that_ends_behind_a_flood_ends_in_its_turn(end: EofReceived | ConnectionLost) -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play = play >> Received(AGENT, message(updates(600))) << PauseReading(AGENT)
    play = play >> Data(AGENT, 2, OK) >> end << Nothing()
    passed = (play >> play.now + TURN_PAUSE_S).take()
    assert passed[0] == Send(CLIENT, OK), "what came before the end counts"


def test_the_tcp_route_reads_empty_frames_over_many_turns() -> None:
    empty = bytes.fromhex("828000000000")
    play = piped() >> Received(CLIENT, empty * 2_000) << PauseReading(CLIENT)
    play = play >> client_sends(b"PING") >> client_closes() << Nothing()
    passed = turns(play, CLIENT)
    assert len(passed) == 3
    assert passed[-1] == [ResumeReading(CLIENT), Data(AGENT, 2, b"PING"), End(AGENT, 2)]


def test_a_client_of_the_tcp_route_that_is_gone_behind_its_flood() -> None:
    empty = bytes.fromhex("828000000000")
    play = piped() >> Received(CLIENT, empty * 1_000) << PauseReading(CLIENT)
    play = play >> client_sends(b"PING") >> ConnectionLost(CLIENT, "reset") << Nothing()
    assert play >> play.now + TURN_PAUSE_S << Data(AGENT, 2, b"PING") << Reset(AGENT, 2)


def test_an_upload_in_tiny_chunks_passes_over_many_turns() -> None:
    play = proxy_play() >> Received(CLIENT, CHUNKED) << Open(AGENT, 2)
    play.take()
    play = play >> Received(CLIENT, b"1\r\na\r\n" * 5_000 + b"0\r\n\r\n")
    first, *passed = [play.take(), *turns(play, CLIENT)]
    assert PauseReading(CLIENT) in first
    body = b"".join(each.data for turn in [first, *passed] for each in turn if isinstance(each, Data))
    assert body == b"400\r\n%b\r\n" % (b"a" * 1_024) * 4 + b"388\r\n%b\r\n0\r\n\r\n" % (b"a" * 904)
    assert len(passed) == 4


def test_a_request_whose_tiny_chunks_come_with_its_head() -> None:
    play = proxy_play() >> Received(CLIENT, CHUNKED + b"1\r\na\r\n" * 2_000 + b"0\r\n\r\n" + GET)
    assert play.take()[:2] == [PauseReading(CLIENT), Open(AGENT, 2)]
    turns(play, CLIENT)
    play = play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert play << Data(AGENT, 2, GET_SENT), "the request behind the body is served too"


def test_an_answer_in_tiny_chunks_passes_over_many_turns() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play = play >> Data(AGENT, 2, ANSWER + b"1\r\na\r\n" * 3_000 + b"0\r\n\r\n")
    sent = [joined(each.data) for each in play.take() if isinstance(each, Send)]
    while sent[-1][-5:] != b"0\r\n\r\n":
        play = play >> play.now + TURN_PAUSE_S
        sent += [joined(each.data) for each in play.take() if isinstance(each, Send)]
        assert len(sent) < 10
    assert len(sent) == 3
    assert b"".join(sent).count(b"a") == 3_000 + ANSWER.count(b"a")


def test_an_agent_that_leaves_behind_an_answer_in_tiny_chunks() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play = play >> Data(AGENT, 2, ANSWER + b"1\r\na\r\n" * 1_500 + b"0\r\n\r\n") >> Reset(AGENT, 2)
    play.take()
    (rest,) = [joined(each.data) for each in (play >> play.now + TURN_PAUSE_S).take() if isinstance(each, Send)]
    assert rest.endswith(b"\r\n0\r\n\r\n"), "the whole answer came before the reset"


def test_pipelined_requests_that_this_node_answers_take_turns() -> None:
    play = proxy_play() >> Received(CLIENT, BAD * 100)
    assert play.take() == [*[MISSING] * 16, PauseReading(CLIENT)]
    passed = turns(play, CLIENT)
    assert [len([each for each in turn if each == MISSING]) for turn in passed] == [16, 16, 16, 16, 16, 4]


def test_a_client_that_reads_no_answers_holds_its_requests_back() -> None:
    play = proxy_play() >> Received(CLIENT, BAD * 40)
    assert play.take().count(MISSING) == 16
    play = play >> WritingPaused(CLIENT) >> play.now + 1.0 << ResumeReading(CLIENT)
    play = play >> WritingResumed(CLIENT)
    answers = play.take().count(MISSING)
    for _ in range(10):
        play = play >> play.now + TURN_PAUSE_S
        answers += play.take().count(MISSING)
    assert answers == 24


def test_a_long_head_is_read_one_piece_a_turn() -> None:
    head = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + b"x: %b\r\n" % (b"a" * 50_000) * 3
    play = proxy_play() >> Received(CLIENT, head) << PauseReading(CLIENT) >> TURN_PAUSE_S << ResumeReading(CLIENT)
    play = play >> Received(CLIENT, b"\r\n") << Open(AGENT, 2)
    assert len(play.take()) == 1


def test_only_some_floods_go_on_in_one_turn() -> None:
    play = proxy_play()
    clients = range(OTHER, OTHER + 20, 2)
    for client in clients:
        play = client_joins(play, client) >> Received(client, BAD * 40)
    play.take()
    answered = {each.connection for each in (play >> play.now + TURN_PAUSE_S).take() if isinstance(each, Send)}
    assert answered == set(clients[:4])
    answered = {each.connection for each in (play >> play.now + TURN_PAUSE_S).take() if isinstance(each, Send)}
    assert answered == set(clients[4:8])


def test_a_connection_that_is_closed_forgets_what_it_held() -> None:
    play = proxy_play() >> Received(CLIENT, BAD * 40)
    play.take()
    play = play >> EofReceived(CLIENT) >> Received(CLIENT, BAD)
    passed: list[Record] = []
    for _ in range(5):
        play = play >> play.now + TURN_PAUSE_S
        passed += play.take()
    assert passed.count(MISSING) == 24 + 1
    assert passed[-1] == Close(CLIENT)
    assert play >> ConnectionLost(CLIENT, "") << Nothing()


def test_a_request_with_an_upgrade_behind_a_flood() -> None:
    play = proxy_play() >> Received(CLIENT, BAD * 20 + ASKING)
    play.take()
    play = play >> play.now + TURN_PAUSE_S
    assert Open(AGENT, 2) in play.take()
    assert Abort(CLIENT) not in play.take()
