"""Plays with a peer that breaks the protocol of a yamux session, or uses it against us."""

import tracemalloc

import pytest

from pico_core.mux.events import SessionFailed, StreamOpened
from tests.core.memory import reachable_bytes
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
    failure,
    frame,
    new_agent,
    output,
)


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


def test_an_idle_session_is_small() -> None:
    agent = new_agent()
    agent.receive(data(SYN | FIN, 2, b"x"), 0.0)
    agent.streams[2].consume(1)
    agent.streams[2].send_eof()
    output(agent)
    assert reachable_bytes(agent) < 1_280
