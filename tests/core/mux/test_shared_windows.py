"""Plays for the windows that streams share: slow readers get small ones, and none is reset for the memory it takes."""

from pico_core.mux.events import StreamData, StreamEnded, StreamOpened, StreamReset
from pico_core.mux.session import Session
from pico_core.mux.stream import MuxStream
from pico_core.mux.windows import SharedWindows
from tests.core.mux.plays import (
    ACK,
    DATA,
    FIN,
    RST,
    SYN,
    WINDOW,
    WINDOW_UPDATE,
    data,
    failure,
    frame,
    new_agent,
    output,
)

MIB = 1 << 20
FULL = bytes(WINDOW)
CLIENTS = 300


def open_full(session: Session, ids: range) -> list[MuxStream]:
    """Open streams, each with the whole first window unread."""
    for stream_id in ids:
        session.receive(data(SYN, stream_id, FULL), 0.0)
    output(session)
    return list(session.streams.values())


def pass_round(session: Session, streams: list[MuxStream]) -> None:
    """Every user consumes all that it has, and the peer then fills every window again."""
    for stream in streams:
        stream.consume(stream.unread_bytes)
        output(session)
        refill(session, stream)


def refill(session: Session, stream: MuxStream) -> None:
    size = stream.receive_window_bytes
    if size:
        assert session.receive(data(0, stream.id, FULL[:size]), 0.0) == [StreamData(stream, FULL[:size])]


def test_memory_is_short_when_more_than_half_is_unread() -> None:
    windows = SharedWindows(WINDOW, WINDOW, MIB)
    assert not windows.is_short(MIB // 2)
    assert windows.is_short(MIB // 2 + 1)


def test_no_stream_is_reset_however_many_are_read_slowly() -> None:
    agent = new_agent()
    streams = open_full(agent, range(2, 2 * 1_024 + 1, 2))
    assert (len(streams), agent.unread_bytes) == (1_024, 1_024 * WINDOW)
    for _ in range(3):
        pass_round(agent, streams)
    assert len(agent.streams) == 1_024
    assert agent.unread_bytes <= 1_024 * 32_768 + 16 * MIB


def test_slow_readers_share_the_budget_alike() -> None:
    agent = new_agent()
    streams = open_full(agent, range(2, 2 * CLIENTS + 1, 2))
    while streams[-1].granted_bytes <= MIB:
        pass_round(agent, streams)
    pass_round(agent, streams)
    windows = [stream.limit_bytes for stream in streams]
    assert sum(windows) <= CLIENTS * 32_768 + 9 * MIB  # a part more while they change
    assert min(windows) > 50_000
    assert agent.unread_bytes == sum(windows)


def test_a_fast_reader_among_slow_ones_keeps_a_full_window() -> None:
    agent = new_agent()
    fast, *slow = open_full(agent, range(2, 2 * CLIENTS + 1, 2))
    pass_round(agent, [fast, *slow])
    for stream in slow:
        pass_round(agent, [fast] * 4)
        pass_round(agent, [stream])
    assert fast.limit_bytes == WINDOW
    assert max(stream.limit_bytes for stream in slow) < 131_072
    assert agent.unread_bytes < CLIENTS * 32_768 + 9 * MIB


def test_what_was_consumed_into_buffers_gives_no_claim_while_much_is_unread() -> None:
    """A client that reads nothing looks like a fast one until the buffers before it are full."""
    agent = new_agent()
    _, *others = open_full(agent, range(2, 2 * CLIENTS + 1, 2))
    for stream in others:
        pass_round(agent, [stream] * 4)
        assert stream.limit_bytes == 32_768


def test_an_idle_stream_that_becomes_fast_gets_its_window_back_once_it_has_read_a_mebibyte() -> None:
    agent = new_agent()
    late, *slow = open_full(agent, range(2, 2 * CLIENTS + 1, 2))
    for _ in range(3):
        pass_round(agent, slow)
    grants = []
    while late.granted_bytes < MIB:
        pass_round(agent, [late])
        grants.append(late.limit_bytes)
    assert max(grants[:-1]) == 32_768
    pass_round(agent, [late])
    assert late.limit_bytes == WINDOW


def test_a_reader_that_takes_its_window_at_once_and_then_pauses_gets_no_larger_one() -> None:
    """A kernel or a transport takes what comes after a pause at once: that is not the speed of the client."""
    agent = new_agent()
    streams = open_full(agent, range(2, 2 * CLIENTS + 1, 2))
    for _ in range(40):
        for stream in streams:
            for _ in range(3):
                pass_round(agent, [stream])
    assert sum(stream.limit_bytes for stream in streams) <= CLIENTS * 32_768 + 12 * MIB


def test_windows_grow_again_once_little_is_unread_and_are_full_with_few_streams() -> None:
    agent = new_agent()
    streams = open_full(agent, range(2, 2 * CLIENTS + 1, 2))
    pass_round(agent, streams)
    assert streams[-1].limit_bytes < WINDOW
    for stream in streams:
        stream.consume(stream.unread_bytes)
    output(agent)
    assert all(stream.limit_bytes == 128 * WINDOW // CLIENTS for stream in streams)
    for stream in streams[100:]:
        stream.reset()
    for stream in streams[:100]:
        refill(agent, stream)
        stream.consume(stream.unread_bytes)
        output(agent)
    assert all(stream.receive_window_bytes == WINDOW for stream in streams[:100])


def test_the_frames_of_a_window_that_shrinks_and_grows() -> None:
    agent = Session(client=True, max_incoming_streams=2, shared_bytes=262_144)
    streams = slow, other = open_full(agent, range(2, 5, 2))
    while slow.granted_bytes < MIB:
        pass_round(agent, streams)
    for stream in streams:
        stream.consume(stream.unread_bytes)
    output(agent)
    for stream in streams:
        refill(agent, stream)
    # 512 KiB are unread. Of the grants before, 116.9 KiB of 884.3 count. Since the last one of the slow, 256 KiB of
    # the other were granted. Each stream counts with 16 KiB: 260.9 of 1,316.3 KiB make a window of 84_732, and the peer
    # has more than half of it.
    slow.consume(147_456)
    assert output(agent) == b""
    slow.consume(73_728)  # 332.9 of 1,388.3
    assert output(agent) == frame(WINDOW_UPDATE, 0, 2, 54_661)
    refill(agent, slow)
    for stream in (slow, other):
        stream.consume(stream.unread_bytes)  # nothing is unread in the end
    output(agent)
    for stream in (slow, other):
        refill(agent, stream)
        stream.consume(stream.unread_bytes)
    output(agent)
    assert [stream.receive_window_bytes for stream in (slow, other)] == [WINDOW, WINDOW]


def test_a_window_that_shrank_to_the_least_never_stops() -> None:
    """Also with a peer that leaves a rest below 16 KiB in the window, and a user that consumes byte by byte."""
    agent = Session(client=True, max_incoming_streams=3, shared_bytes=0)
    slow, _, _ = open_full(agent, range(2, 7, 2))
    for _ in range(20):
        slow.consume(slow.unread_bytes - 1)
        slow.consume(1)
        grant = output(agent)
        assert grant.startswith(frame(WINDOW_UPDATE, 0, 2, 0)[:8])
        assert slow.receive_window_bytes >= 16_384
        size = slow.receive_window_bytes - 16_383 if slow.receive_window_bytes > 16_384 else slow.receive_window_bytes
        agent.receive(data(0, 2, FULL[:size]), 0.0)
    assert slow.limit_bytes == 32_768


def test_only_bytes_of_ended_streams_can_exceed_the_ceiling() -> None:
    """The peer ends streams before their bytes are consumed, and opens others: the last is reset with all it has."""
    agent = Session(client=True, max_incoming_streams=2, max_outgoing_streams=0)
    for stream_id in (2, 4):
        events = agent.receive(data(SYN | FIN, stream_id, FULL), 0.0)
        assert [type(event) for event in events] == [StreamOpened, StreamData, StreamEnded]
        agent.streams[stream_id].send_eof()
        output(agent)
    assert (agent.streams, agent.unread_bytes) == ({}, 2 * WINDOW)
    opened, received, reset = agent.receive(frame(DATA, SYN, 6, 1, b"x"), 0.0)
    assert isinstance(opened, StreamOpened)
    assert received == StreamData(opened.stream, b"x")
    assert reset == StreamReset(opened.stream)
    assert output(agent) == frame(WINDOW_UPDATE, RST, 6, 0)
    assert agent.unread_bytes == 2 * WINDOW


def test_the_first_answer_of_a_stream_that_waits_for_credit_is_its_acknowledgement() -> None:
    agent = Session(client=True, max_incoming_streams=2, shared_bytes=0)
    agent.receive(data(SYN, 2, FULL) + data(SYN, 4, FULL), 0.0)
    agent.streams[2].consume(131_072)
    assert output(agent) == frame(WINDOW_UPDATE, ACK, 2, 0) + frame(WINDOW_UPDATE, ACK, 4, 0)


# --- a smaller first window that both ends agreed on ---


def agreed(*, client: bool) -> Session:
    return Session(client=client, max_incoming_streams=1_024 * client, first_window_bytes=65_536)


def test_the_opener_grants_a_full_window_with_its_first_frame_while_few_streams_are_open() -> None:
    server = agreed(client=False)
    server.open_stream().send(b"GET")
    assert output(server) == frame(WINDOW_UPDATE, SYN, 2, 196_608) + data(0, 2, b"GET")
    agent = agreed(client=True)
    opened, received = agent.receive(frame(WINDOW_UPDATE, SYN, 2, 196_608) + data(0, 2, b"GET"), 0.0)
    assert isinstance(opened, StreamOpened)
    assert received == StreamData(opened.stream, b"GET")
    assert (opened.stream.send_window_bytes, opened.stream.receive_window_bytes) == (WINDOW, 65_533)
    assert output(agent) == frame(WINDOW_UPDATE, ACK, 2, 196_608)
    assert opened.stream.receive_window_bytes == WINDOW - 3


def test_streams_begin_with_the_smaller_window_while_many_are_open() -> None:
    server = agreed(client=False)
    windows = []
    for _ in range(1_024):
        stream = server.open_stream()
        output(server)
        windows.append(stream.receive_window_bytes)
    assert windows[:128] == [WINDOW] * 128
    assert windows[127:] == sorted(windows[127:], reverse=True)
    assert windows[256:] == [65_536] * 768
    assert sum(windows) <= 112 * MIB


def test_a_small_first_window_grows_with_what_is_consumed() -> None:
    agent = agreed(client=True)
    for stream_id in range(2, 2 * 512 + 1, 2):
        agent.receive(frame(WINDOW_UPDATE, SYN, stream_id, 0), 0.0)
    output(agent)
    stream = agent.streams[1_024]
    assert stream.receive_window_bytes == 65_536
    refill(agent, stream)
    stream.consume(stream.unread_bytes)
    assert output(agent) == frame(WINDOW_UPDATE, 0, 1_024, 161_823)
    for _ in range(2):
        refill(agent, stream)
        stream.consume(stream.unread_bytes)
        output(agent)
    assert stream.receive_window_bytes == WINDOW  # the only one that is read


def test_a_window_beyond_the_small_first_one_is_a_mistake_of_the_peer() -> None:
    agent = agreed(client=True)
    events = agent.receive(data(SYN, 2, FULL[:65_537]), 0.0)
    assert failure(events).reason == "stream 2: 65537 bytes beyond the window"
