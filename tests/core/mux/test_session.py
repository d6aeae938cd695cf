"""Plays for one end of a yamux session: literal frames in, events and literal frames out."""

import pytest

from pico_core.errors import LocalProtocolError
from pico_core.mux.events import (
    GoAwayReceived,
    PongReceived,
    SessionFailed,
    StreamAccepted,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from pico_core.mux.session import Session
from pico_core.mux.windows import MIN_WINDOW_BYTES
from tests.core.mux.plays import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW,
    WINDOW_UPDATE,
    data,
    frame,
    new_agent,
    new_server,
    output,
)

# --- against a capture of Go's yamux ---


def test_serves_a_request_of_a_go_server() -> None:
    agent = new_agent()
    (opened,) = agent.receive(bytes.fromhex("000100010000000200000000"), 0.0)
    assert isinstance(opened, StreamOpened)
    stream = opened.stream
    assert stream.id == 2
    assert output(agent) == bytes.fromhex("000100020000000200000000")
    events = agent.receive(bytes.fromhex("000000000000000200000012") + b"GET / HTTP/1.1\r\n\r\n", 0.1)
    assert events == [StreamData(stream, b"GET / HTTP/1.1\r\n\r\n")]
    stream.consume(18)
    stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    stream.send_eof()
    assert output(agent) == (
        bytes.fromhex("00000000000000020000001b")
        + b"HTTP/1.1 204 No Content\r\n\r\n"
        + bytes.fromhex("000100040000000200000000")
    )
    assert agent.receive(bytes.fromhex("000100040000000200000000"), 0.2) == [StreamEnded(stream)]
    assert agent.streams == {}
    assert not agent.has_output


def test_a_go_agent_leaves() -> None:
    assert new_server().receive(bytes.fromhex("000300000000000000000000"), 0.0) == [GoAwayReceived(0)]


# --- opening ---


def test_syn_travels_with_the_first_data() -> None:
    server = new_server()
    first, second = server.open_stream(), server.open_stream()
    first.send(b"one")
    second.send((b"tw", b"o"))
    assert output(server) == data(SYN, 2, b"one") + data(SYN, 4, b"two")
    first.send(b"more")
    second.send((b"mo", memoryview(b"re")))
    assert output(server) == data(0, 2, b"more") + data(0, 4, b"more")


def test_syn_goes_out_even_if_there_is_nothing_to_send() -> None:
    server = new_server()
    stream = server.open_stream()
    assert output(server) == frame(WINDOW_UPDATE, SYN, 2, 0)
    assert server.receive(frame(WINDOW_UPDATE, ACK, 2, 0) + data(0, 2, b"220 ready"), 0.0) == [
        StreamAccepted(stream),
        StreamData(stream, b"220 ready"),
    ]


def test_ack_travels_with_the_first_answer() -> None:
    agent = new_agent()
    opened, request = agent.receive(data(SYN, 2, b"hi"), 0.0)
    assert isinstance(opened, StreamOpened)
    assert request == StreamData(opened.stream, b"hi")
    opened.stream.send(b"ho")
    assert output(agent) == data(ACK, 2, b"ho")


def test_the_client_opens_odd_streams() -> None:
    agent = new_agent()
    agent.open_stream().send(b"x")
    assert output(agent) == data(SYN, 1, b"x")


def test_opens_no_more_streams_than_allowed() -> None:
    server = new_server()
    first, *_ = [server.open_stream() for _ in range(1_024)]
    with pytest.raises(LocalProtocolError):
        server.open_stream()
    first.reset()
    assert server.open_stream().id == 2_050
    assert not server.can_open_stream


def test_a_stream_reset_before_its_syn_was_sent_never_was() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(b"x")
    stream.reset()
    assert not server.has_output
    assert server.streams == {}


def test_streams_that_may_not_be_opened_are_reset() -> None:
    server = new_server()
    assert server.receive(data(SYN, 1, b"abc") + data(0, 1, b"def"), 0.0) == []
    assert output(server) == frame(WINDOW_UPDATE, RST, 1, 0)
    agent = new_agent(max_incoming_streams=1)
    assert len(agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0) + frame(WINDOW_UPDATE, SYN, 4, 0), 0.0)) == 1
    assert output(agent) == frame(WINDOW_UPDATE, RST, 4, 0) + frame(WINDOW_UPDATE, ACK, 2, 0)
    agent.receive(frame(WINDOW_UPDATE, RST, 2, 0), 0.0)
    assert len(agent.receive(frame(WINDOW_UPDATE, SYN, 6, 0), 0.0)) == 1


def test_a_window_of_our_own_size_is_granted_with_the_syn_or_ack() -> None:
    server = Session(client=False, window_bytes=1_048_576)
    server.open_stream().send(b"x")
    assert output(server) == frame(WINDOW_UPDATE, SYN, 2, 786_432) + data(0, 2, b"x")
    with pytest.raises(LocalProtocolError):
        Session(client=False, window_bytes=MIN_WINDOW_BYTES - 1)
    with pytest.raises(LocalProtocolError):
        Session(client=False, window_bytes=2**32)


# --- ending ---


def test_each_direction_ends_on_its_own() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(b"question")
    stream.send_eof()
    stream.send_eof()
    assert output(server) == data(SYN, 2, b"question") + frame(WINDOW_UPDATE, FIN, 2, 0)
    with pytest.raises(LocalProtocolError):
        stream.send(b"more")
    assert server.receive(data(0, 2, b"answer"), 0.0) == [StreamData(stream, b"answer")]
    assert server.receive(frame(WINDOW_UPDATE, FIN, 2, 0), 0.0) == [StreamEnded(stream)]
    assert server.streams == {}


def test_sending_goes_on_after_the_peers_end() -> None:
    agent = new_agent()
    agent.receive(data(SYN | FIN, 2, b"question"), 0.0)
    stream = agent.streams[2]
    assert agent.receive(frame(WINDOW_UPDATE, FIN, 2, 0) + frame(WINDOW_UPDATE, 0, 2, 9), 0.0) == []
    stream.send(b"answer")
    stream.send_eof()
    assert output(agent) == data(ACK, 2, b"answer") + frame(WINDOW_UPDATE, FIN, 2, 0)
    assert agent.streams == {}


def test_the_end_waits_for_what_the_window_held_back() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW) + b"x")
    stream.send_eof()
    output(server)
    assert not server.has_output
    server.receive(frame(WINDOW_UPDATE, 0, 2, 1), 0.0)
    assert output(server) == data(0, 2, b"x") + frame(WINDOW_UPDATE, FIN, 2, 0)


def test_a_stream_may_open_and_end_with_one_frame() -> None:
    server = new_server()
    server.open_stream().send_eof()
    assert output(server) == frame(WINDOW_UPDATE, SYN | FIN, 2, 0)


def test_reset_by_us() -> None:
    agent = new_agent()
    agent.receive(data(SYN, 2, b"abc"), 0.0)
    stream = agent.streams[2]
    stream.send(b"def")
    stream.reset()
    stream.send(b"ghi")
    stream.send_eof()
    stream.consume(3)
    assert not stream.writable
    assert output(agent) == frame(WINDOW_UPDATE, RST | ACK, 2, 0), "it was taken before it was reset"
    assert (agent.unread_bytes, agent.streams) == (0, {})


def test_a_stream_whose_acceptance_is_held_is_accepted_later_or_refused() -> None:
    agent = new_agent()
    agent.receive(data(SYN, 2, b"abc") + data(SYN, 4, b"def"), 0.0)
    one, two = agent.streams[2], agent.streams[4]
    one.hold_acceptance()
    two.hold_acceptance()
    assert output(agent) == b""
    one.accept()
    assert output(agent) == frame(WINDOW_UPDATE, ACK, 2, 0)
    two.reset()
    assert output(agent) == frame(WINDOW_UPDATE, RST, 4, 0)


def test_a_stream_is_accepted_once_and_a_refusal_is_not_an_acceptance() -> None:
    server = new_server()
    one, two = server.open_stream(), server.open_stream()
    output(server)
    assert server.receive(frame(WINDOW_UPDATE, ACK, 2, 0) + data(ACK, 2, b"x"), 0.0) == [
        StreamAccepted(one),
        StreamData(one, b"x"),
    ]
    assert server.receive(frame(WINDOW_UPDATE, RST, 4, 0), 0.0) == [StreamReset(two)]
    assert (one.accepted, two.accepted) == (True, False)


def test_reset_by_the_peer() -> None:
    server = new_server()
    first, second, third = server.open_stream(), server.open_stream(), server.open_stream()
    output(server)
    third.send(bytes(70_000))
    events = server.receive(
        frame(WINDOW_UPDATE, RST, 2, 0) + data(RST, 4, b"dropped") + data(0, 6, b"x") + frame(DATA, RST | FIN, 6, 0),
        0.0,
    )
    assert events == [StreamReset(first), StreamReset(second), StreamData(third, b"x"), StreamReset(third)]
    assert (server.streams, server.unread_bytes, server.has_output) == ({}, 0, False)


def test_a_frame_under_way_is_skipped_after_a_reset() -> None:
    agent = new_agent()
    agent.receive(frame(DATA, SYN | FIN, 2, 6, b"abc"), 0.0)
    agent.streams[2].reset()
    assert agent.receive(b"def" + frame(PING, ACK, 0, 1), 0.0) == [PongReceived(1)]


def test_frames_of_streams_that_are_gone_are_skipped() -> None:
    agent = new_agent()
    stray = (
        data(0, 2, bytes(300_000)) + frame(WINDOW_UPDATE, 0, 2, 9) + frame(WINDOW_UPDATE, RST, 2, 0) + data(FIN, 2, b"")
    )
    assert agent.receive(stray + frame(WINDOW_UPDATE, FIN, 2, 0), 0.0) == []
    assert not agent.has_output


# --- going away ---


def test_opens_nothing_after_the_peers_go_away() -> None:
    server = new_server()
    stream = server.open_stream()
    assert server.receive(frame(GO_AWAY, 0, 0, 0) * 2, 0.0) == [GoAwayReceived(0)]
    assert (server.peer_going_away, server.can_open_stream) == (True, False)
    stream.send(b"still works")
    assert output(server) == data(SYN, 2, b"still works")
    agent = new_agent()
    agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0), 0.0)
    output(agent)
    agent.go_away()
    agent.go_away()
    assert output(agent) == frame(GO_AWAY, 0, 0, 0)
    assert agent.can_open_stream
    events = agent.receive(frame(WINDOW_UPDATE, SYN, 4, 0) + data(0, 2, b"x"), 0.0)
    assert events == [StreamOpened(agent.streams[4]), StreamData(agent.streams[2], b"x")]


def test_a_lost_connection_ends_all_streams_once() -> None:
    agent = new_agent()
    agent.receive(data(SYN, 2, b"x"), 0.0)
    stream = agent.streams[2]
    assert agent.fail("connection reset") == [SessionFailed("connection reset", (stream,))]
    assert agent.fail("again") == []
    assert agent.failed == "connection reset"
    stream.send(b"x")
    stream.reset()
    stream.consume(1)
    assert not agent.can_open_stream
    assert agent.receive(data(0, 2, b"x"), 0.0) == []


# --- pings ---


def test_pings_both_ways() -> None:
    server = new_server()
    assert server.ping() == 1
    assert server.ping() == 2
    assert output(server) == frame(PING, SYN, 0, 1) + frame(PING, SYN, 0, 2)
    assert server.receive(frame(PING, ACK, 0, 2), 0.0) == [PongReceived(2)]
    assert server.receive(frame(PING, SYN, 0, 0xFFFFFFFF), 0.0) == []
    assert output(server) == frame(PING, ACK, 0, 0xFFFFFFFF)


def test_a_flood_of_pings_gets_a_few_answers() -> None:
    server = new_server()
    server.receive(frame(PING, SYN, 0, 1) * 10_000, 0.0)
    assert output(server) == frame(PING, ACK, 0, 1) * 32
    server.pause_output()
    for _ in range(100):
        server.receive(frame(PING, SYN, 0, 2) * 10, 0.0)
        assert not server.has_output
        assert output(server) == b""
    server.resume_output()
    assert output(server) == frame(PING, ACK, 0, 2) * 32
