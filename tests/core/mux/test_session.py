"""Plays for one end of a yamux session: literal frames in, events and literal frames out."""

import itertools
import sys
import tracemalloc

import pytest

from pico_core.errors import LocalProtocolError
from pico_core.mux.frame import GoAwayCode
from pico_core.mux.session import (
    MIN_WINDOW_BYTES,
    GoAwayReceived,
    MuxEvent,
    PongReceived,
    Session,
    SessionFailed,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReset,
    StreamWritable,
)

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW = 262_144


def frame(kind: int, flags: int, stream_id: int, value: int, body: bytes = b"") -> bytes:
    numbers = ((0, 1), (kind, 1), (flags, 2), (stream_id, 4), (value, 4))
    return b"".join(number.to_bytes(size, "big") for number, size in numbers) + body


def data(flags: int, stream_id: int, body: bytes) -> bytes:
    return frame(DATA, flags, stream_id, len(body), body)


def output(session: Session, limit: int = 1_000_000) -> bytes:
    pieces, size = session.take_output(limit)
    joined = b"".join(pieces)
    assert len(joined) == size
    return joined


def new_server() -> Session:
    """The end of a tunnel that opens streams."""
    return Session(client=False)


def new_agent(max_incoming_streams: int = 1_024) -> Session:
    """The end of a tunnel that accepts streams."""
    return Session(client=True, max_incoming_streams=max_incoming_streams)


def failure(events: list[MuxEvent]) -> SessionFailed:
    event = events[-1]
    assert isinstance(event, SessionFailed)
    return event


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
        StreamData(stream, b"220 ready")
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
    server = Session(client=False, max_outgoing_streams=2)
    first, _ = server.open_stream(), server.open_stream()
    assert not server.can_open_stream
    with pytest.raises(LocalProtocolError):
        server.open_stream()
    first.reset()
    assert server.open_stream().id == 6


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


# --- data, both directions ---


def test_any_cut_gives_the_same() -> None:
    script = (
        data(SYN, 2, b"abc")
        + frame(PING, SYN, 0, 7)
        + data(0, 2, b"")
        + data(FIN, 2, b"de")
        + frame(WINDOW_UPDATE, SYN | FIN, 4, 5)
        + frame(GO_AWAY, 0, 0, 2)
    )
    for at in range(len(script) + 1):
        agent = new_agent()
        events = agent.receive(script[:at], 0.0) + agent.receive(memoryview(script)[at:], 0.0)
        first, second = agent.streams.values()
        assert b"".join(event.data for event in events if isinstance(event, StreamData)) == b"abcde"
        assert [event for event in events if not isinstance(event, StreamData)] == [
            StreamOpened(first),
            StreamEnded(first),
            StreamOpened(second),
            StreamEnded(second),
            GoAwayReceived(2),
        ]
        assert second.send_window_bytes == WINDOW + 5
        assert output(agent).startswith(frame(PING, ACK, 0, 7))


def test_a_part_of_a_frame_is_delivered_at_once() -> None:
    agent = new_agent()
    (opened, part) = agent.receive(frame(DATA, SYN | FIN, 2, 5, b"ab"), 0.0)
    assert isinstance(opened, StreamOpened)
    stream = opened.stream
    assert part == StreamData(stream, b"ab")
    assert agent.receive(b"cd", 0.0) == [StreamData(stream, b"cd")]
    assert agent.receive(b"e" + frame(PING, ACK, 0, 1), 0.0) == [
        StreamData(stream, b"e"),
        StreamEnded(stream),
        PongReceived(1),
    ]


def piece_of(events: list[MuxEvent]) -> bytes | memoryview:
    event = events[-1]
    assert isinstance(event, StreamData)
    return event.data


def test_large_data_is_a_view_that_keeps_little_else_alive() -> None:
    agent = new_agent()
    agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0), 0.0)
    large = data(0, 2, bytes(4_096))
    piece = piece_of(agent.receive(large, 0.0))
    assert isinstance(piece, memoryview)
    assert piece.obj is large
    assert isinstance(piece_of(agent.receive(memoryview(large), 0.0)), memoryview)
    assert isinstance(piece_of(agent.receive(data(0, 2, bytes(4_095)), 0.0)), bytes)
    assert isinstance(piece_of(agent.receive(memoryview(data(0, 2, bytes(4_095))), 0.0)), bytes)
    mostly_other = data(0, 6, bytes(12_288)) + large
    assert isinstance(piece_of(agent.receive(mostly_other, 0.0)), bytes)
    assert isinstance(piece_of(agent.receive(memoryview(mostly_other)[12_300:], 0.0)), bytes)


def test_credit_comes_back_when_half_a_window_was_consumed() -> None:
    agent = new_agent()
    agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0), 0.0)
    stream = agent.streams[2]
    output(agent)
    agent.receive(data(0, 2, bytes(WINDOW)), 0.0)
    stream.consume(131_071)
    assert not agent.has_output
    stream.consume(1)
    assert output(agent) == frame(WINDOW_UPDATE, 0, 2, 131_072)
    stream.consume(131_072)
    agent.receive(data(FIN, 2, bytes(131_072)), 0.0)
    assert output(agent) == b""
    stream.consume(131_072)
    assert output(agent) == b""
    assert (agent.unread_bytes, stream.unread_bytes) == (0, 0)


def test_a_window_smaller_than_the_first_one_shrinks_to_its_size() -> None:
    agent = Session(client=True, max_incoming_streams=1, window_bytes=65_536)
    agent.receive(data(SYN, 2, bytes(WINDOW)), 0.0)
    output(agent)
    stream = agent.streams[2]
    stream.consume(229_375)
    assert not agent.has_output
    stream.consume(1)
    assert output(agent) == frame(WINDOW_UPDATE, 0, 2, 32_768)
    stream.consume(32_768)
    assert output(agent) == frame(WINDOW_UPDATE, 0, 2, 32_768)
    assert stream.receive_window_bytes == 65_536


def test_consuming_more_than_there_is_is_a_mistake() -> None:
    agent = new_agent()
    agent.receive(data(SYN, 2, b"abc"), 0.0)
    stream = agent.streams[2]
    with pytest.raises(LocalProtocolError):
        stream.consume(4)
    stream.consume(3)
    with pytest.raises(LocalProtocolError):
        stream.consume(1)


def test_what_exceeds_the_window_waits() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW - 1))
    assert stream.writable
    stream.send(b"abc")
    assert not stream.writable
    assert output(server) == data(SYN, 2, bytes(WINDOW - 1) + b"a")
    stream.send(b"d")
    assert (stream.pending_bytes, server.has_output) == (3, False)
    assert server.receive(frame(WINDOW_UPDATE, 0, 2, 100), 0.0) == [StreamWritable(stream)]
    assert output(server) == data(0, 2, b"bcd")
    assert server.receive(frame(WINDOW_UPDATE, 0, 2, 100), 0.0) == []
    assert stream.writable


def test_a_small_rest_of_the_window_is_left_to_grow() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW - 16_383))
    assert output(server) == data(SYN, 2, bytes(WINDOW - 16_383))
    stream.send(bytes(16_384))
    assert (stream.pending_bytes, server.has_output) == (16_384, False)
    assert server.receive(frame(WINDOW_UPDATE, 0, 2, 1), 0.0) == []
    assert output(server) == data(0, 2, bytes(16_384))
    stream.send(b"more")
    assert not server.has_output
    assert server.receive(frame(WINDOW_UPDATE, 0, 2, 4), 0.0) == []
    assert output(server) == data(0, 2, b"more")  # all that waits may always leave, however little


def test_what_is_small_enough_for_the_rest_does_not_overtake_what_waits() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW - 100))
    output(server)
    stream.send(b"a" * 101)
    stream.send(b"b")
    assert not server.has_output
    server.receive(frame(WINDOW_UPDATE, 0, 2, 2), 0.0)
    assert output(server) == data(0, 2, b"a" * 101 + b"b")


def test_two_ends_that_leave_rests_neither_wait_for_each_other_nor_change_the_order() -> None:
    pattern = bytes(at % 251 for at in range(1 << 21))
    for window in (MIN_WINDOW_BYTES, 65_536, WINDOW):
        for pieces in ((16_385, 1), (100_001, 7, 5_000), (256_000, 16_383, 2)):
            server, agent = new_server(), Session(client=True, max_incoming_streams=1, window_bytes=window)
            stream = server.open_stream()
            sizes = itertools.cycle(pieces)
            sent = 0
            received = b""
            while len(received) < len(pattern):
                for size in itertools.islice(sizes, 2 * stream.writable + 1):  # also what was on its way already
                    stream.send(pattern[sent : sent + size])
                    sent = min(sent + size, len(pattern))
                for event in agent.receive(output(server), 0.0):
                    if isinstance(event, StreamData):
                        received += event.data
                        event.stream.consume(len(event.data))
                answer = output(agent)
                assert answer or stream.writable or len(received) == len(pattern), f"stuck at {len(received)}"
                server.receive(answer, 0.0)
            assert received == pattern


def test_data_of_a_closed_stream_is_still_accounted_for() -> None:
    agent = new_agent()
    agent.receive(data(SYN | FIN, 2, b"abc"), 0.0)
    stream = agent.streams[2]
    stream.send_eof()
    output(agent)
    assert (agent.streams, agent.unread_bytes) == ({}, 3)
    stream.consume(2)
    assert agent.unread_bytes == 1
    stream.reset()
    stream.reset()
    stream.consume(1)
    assert (agent.unread_bytes, agent.has_output) == (0, False)


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
    assert output(agent) == frame(WINDOW_UPDATE, RST, 2, 0)
    assert (agent.unread_bytes, agent.streams) == (0, {})


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
    agent.go_away(GoAwayCode.INTERNAL_ERROR)
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


# --- back-pressure and turns ---


def test_paused_output_waits_in_the_streams() -> None:
    server = new_server()
    first, second = server.open_stream(), server.open_stream()
    output(server)
    server.pause_output()
    first.send(b"abc")
    assert (first.writable, second.writable, server.has_output) == (False, False, False)
    second.reset()
    assert server.receive(frame(WINDOW_UPDATE, 0, 2, 9), 0.0) == []
    assert server.resume_output() == [StreamWritable(first)]
    assert server.resume_output() == []
    assert output(server) == frame(WINDOW_UPDATE, RST, 4, 0) + data(0, 2, b"abc")


def test_a_stream_out_of_window_is_not_writable_after_a_pause() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW))
    server.pause_output()
    assert not stream.writable
    assert server.resume_output() == []
    output(server)
    assert server.receive(frame(WINDOW_UPDATE, 0, 2, 1), 0.0) == [StreamWritable(stream)]


def test_streams_take_turns() -> None:
    server = new_server()
    bulk, other, late = server.open_stream(), server.open_stream(), server.open_stream()
    output(server)
    bulk.send(b"b" * 200_000)
    other.send(b"o" * 100_000)
    late.send(b"small")
    assert output(server, 262_144) == (
        data(0, 6, b"small")
        + data(0, 2, b"b" * 65_536)
        + data(0, 4, b"o" * 65_536)
        + data(0, 2, b"b" * 65_536)
        + data(0, 4, b"o" * 34_464)
        + data(0, 2, b"b" * 31_007)
    )
    assert output(server, 262_144) == data(0, 2, b"b" * 37_921)


def test_many_small_sends_stop_jumping_the_queue() -> None:
    server = new_server()
    bulk, chatty = server.open_stream(), server.open_stream()
    output(server)
    bulk.send(b"b" * 100_000)
    for _ in range(7):
        chatty.send(b"c" * 10_000)
    assert output(server) == (
        data(0, 4, b"c" * 10_000) * 6
        + data(0, 2, b"b" * 65_536)
        + data(0, 4, b"c" * 10_000)
        + data(0, 2, b"b" * 34_464)
    )


def test_pieces_are_cut_without_a_copy() -> None:
    server = new_server()
    stream = server.open_stream()
    body = bytes(300_000)
    stream.send((b"head", body, b"", b"tail"))
    pieces, _ = server.take_output(100_000)
    assert [len(piece) for piece in pieces] == [12, 4, 99_996]
    assert isinstance(pieces[2], memoryview)
    assert pieces[2].obj is body
    pieces, _ = server.take_output(100_000)
    assert [len(piece) for piece in pieces] == [12, 100_000]
    stream.send(())
    assert stream.pending_bytes == 100_008


def test_an_empty_send_does_nothing() -> None:
    server = new_server()
    stream = server.open_stream()
    output(server)
    stream.send(b"")
    stream.send((b"", memoryview(b"")))
    assert not server.has_output


# --- a hostile peer ---


@pytest.mark.parametrize(
    "frames",
    [
        frame(WINDOW_UPDATE, SYN, 3, 0),
        frame(WINDOW_UPDATE, SYN, 2, 0),
        data(0, 0, b"x"),
        data(SYN, 0, b""),
        frame(WINDOW_UPDATE, 0, 0, 1),
        data(16, 2, b"x"),
        frame(WINDOW_UPDATE, 0x8000, 2, 0),
        frame(DATA, 0, 2, WINDOW + 1),
        frame(DATA, SYN, 4, WINDOW + 1),
        data(FIN, 2, b"") + data(0, 2, b"x"),
        frame(WINDOW_UPDATE, 0, 2, 2**32 - WINDOW),
        frame(PING, 0, 0, 1),
        frame(PING, SYN | ACK, 0, 1),
        frame(PING, SYN, 2, 1),
        frame(GO_AWAY, 1, 0, 0),
        frame(GO_AWAY, 0, 2, 0),
        frame(4, 0, 0, 0),
        b"\x01" + data(0, 2, b"x")[1:],
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_breaking_the_protocol_ends_the_session(frames: bytes) -> None:
    agent = new_agent()
    agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0), 0.0)
    stream = agent.streams[2]
    output(agent)
    agent.pause_output()
    event = failure(agent.receive(frames + frame(PING, ACK, 0, 1), 0.0))
    assert stream in event.streams
    assert event.reason == agent.failed != ""
    assert agent.has_output
    assert output(agent) == frame(GO_AWAY, 0, 0, 1)
    assert agent.receive(data(0, 2, b"x"), 0.0) == []
    assert agent.streams == {}


def test_the_window_may_be_used_up_exactly() -> None:
    agent = new_agent()
    agent.receive(data(SYN, 2, bytes(WINDOW)) + frame(WINDOW_UPDATE, 0, 2, 2**32 - 1 - WINDOW), 0.0)
    assert agent.failed == ""
    assert agent.streams[2].send_window_bytes == 2**32 - 1
    assert isinstance(failure(agent.receive(data(0, 2, b"x"), 0.0)), SessionFailed)


def test_a_flood_of_opened_and_reset_streams_ends_the_session() -> None:
    agent = new_agent()
    pairs = b"".join(
        frame(WINDOW_UPDATE, SYN, stream_id, 0) + frame(WINDOW_UPDATE, RST, stream_id, 0)
        for stream_id in range(2, 2_002, 2)
    )
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(200):
        agent.receive(pairs, 5.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 20 * 1_048_576
    assert agent.failed == "too many streams opened in vain"


def test_resets_at_a_human_pace_are_fine() -> None:
    agent = new_agent()
    for second in range(100):
        for _ in range(1_000):
            agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0) + frame(WINDOW_UPDATE, RST, 2, 0), 10.0 + second)
    assert agent.failed == ""
    assert (agent.streams, agent.has_output) == ({}, False)


def test_a_peer_that_makes_us_reset_and_never_reads_is_ended() -> None:
    agent = new_agent()
    agent.pause_output()
    opened = 0
    while not agent.failed:
        for event in agent.receive(frame(WINDOW_UPDATE, SYN, 2, 0), 0.0):
            if isinstance(event, StreamOpened):
                event.stream.send(b"sorry")
                output(agent)
                event.stream.reset()
                opened += 1
    assert opened == 13_654
    assert agent.failed == "the peer does not read our answers"


def test_the_greediest_stream_pays_for_too_much_unread_data() -> None:
    agent = Session(client=True, max_incoming_streams=3, max_unread_bytes=10_000)
    agent.receive(data(SYN, 2, bytes(6_000)) + data(SYN, 4, bytes(4_000)), 0.0)
    greedy, other = agent.streams[2], agent.streams[4]
    output(agent)
    assert agent.receive(data(0, 4, b"x"), 0.0) == [StreamData(other, b"x"), StreamReset(greedy)]
    assert output(agent) == frame(WINDOW_UPDATE, RST, 2, 0)
    assert agent.unread_bytes == 4_001
    (received, reset) = agent.receive(data(0, 4, bytes(6_000)), 0.0)
    assert isinstance(received, StreamData)
    assert reset == StreamReset(other)
    assert (agent.unread_bytes, agent.streams) == (0, {})


def test_an_idle_session_is_small() -> None:
    agent = new_agent()
    agent.receive(data(SYN | FIN, 2, b"x"), 0.0)
    agent.streams[2].consume(1)
    agent.streams[2].send_eof()
    output(agent)
    parts = [agent, agent.streams, agent.ready, agent.waiting, agent.output]
    assert sum(map(sys.getsizeof, parts)) < 1_024
