"""Plays for the windows of a yamux session: what may be sent, what waits, and which stream has the next turn."""

import itertools

import pytest

from pico_core.errors import LocalProtocolError
from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    PongReceived,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamWritable,
)
from pico_core.mux.session import Session
from pico_core.mux.stream import MANY_READY
from pico_core.mux.windows import MIN_WINDOW_BYTES
from pico_core.pieces import Piece
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


def piece_of(events: list[MuxEvent]) -> Piece:
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
    a_quarter = data(0, 6, bytes(3 * 4_096 - 24)) + large
    assert isinstance(piece_of(agent.receive(a_quarter, 0.0)), memoryview)
    less = data(0, 6, bytes(3 * 4_096 - 23)) + large
    assert isinstance(piece_of(agent.receive(less, 0.0)), bytes)


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
    writable = [stream.writable]
    stream.send(b"abc")
    writable.append(stream.writable)
    assert writable == [True, False]
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


def test_a_rest_of_the_window_that_is_not_small_is_used() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW - 16_384))
    output(server)
    stream.send(bytes(16_385))
    assert output(server) == data(0, 2, bytes(16_384))


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


@pytest.mark.parametrize(("streams", "turn"), [(MANY_READY, 65_536), (MANY_READY + 1, 16_384)])
def test_turns_are_short_where_many_streams_wait_for_theirs(streams: int, turn: int) -> None:
    server = new_server()
    opened = [server.open_stream() for _ in range(streams)]
    output(server)
    for stream in opened:
        stream.send(bytes(100_000))
    assert output(server, 2 * turn) == data(0, 2, bytes(turn)) + data(0, 4, bytes(turn - 12))


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


def test_a_small_rest_that_waits_does_not_keep_a_large_piece_alive() -> None:
    server = new_server()
    stream = server.open_stream()
    stream.send(bytes(WINDOW + 65_536))
    assert output(server) == data(SYN, 2, bytes(WINDOW))
    server.receive(frame(WINDOW_UPDATE, 0, 2, 100_000), 0.0)
    ((_, rest), _) = server.take_output(1_000_000)
    assert isinstance(rest, bytes)  # a copy of 64 KiB, and not a view of 320
    assert len(rest) == 65_536
