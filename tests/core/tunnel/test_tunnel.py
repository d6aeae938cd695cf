"""Plays for the tunnel: two ends back to back, and one end against literal bytes."""

import math

from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    PongReceived,
    SessionFailed,
    StreamAccepted,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamWritable,
)
from pico_core.tunnel.tunnel import Tunnel
from tests.core.memory import reachable_bytes
from tests.core.websocket.keys import OneKey, flat
from tests.masks import ZeroMask


def new_pair() -> tuple[Tunnel, Tunnel]:
    return Tunnel(0.0, entropy=None), Tunnel(0.0, entropy=OneKey(), max_incoming_streams=1_024)


def pass_on(sender: Tunnel, receiver: Tunnel, now: float = 0.0) -> list[MuxEvent]:
    events: list[MuxEvent] = []
    while (message := sender.take_output()) is not None:
        events += receiver.receive(flat(message), now)
    return events


def test_a_request_and_its_answer() -> None:
    server, agent = new_pair()
    stream = server.open_stream()
    stream.send(b"question")
    opened, question = pass_on(server, agent)
    assert isinstance(opened, StreamOpened)
    assert question == StreamData(opened.stream, b"question")
    opened.stream.send(b"answer")
    opened.stream.send_eof()
    assert pass_on(agent, server) == [StreamAccepted(stream), StreamData(stream, b"answer"), StreamEnded(stream)]


def test_all_streams_share_one_message() -> None:
    server, agent = new_pair()
    for _ in range(3):
        server.open_stream().send(b"x")
    message = server.take_output()
    assert message == b"\x82\x27" + b"".join(
        bytes.fromhex(f"0000 0001 0000000{stream_id} 00000001") + b"x" for stream_id in (2, 4, 6)
    )
    assert server.take_output() is None
    assert len(agent.receive(message, 0.0)) == 6


def test_the_client_masks() -> None:
    _, agent = new_pair()
    agent.session.ping()
    assert agent.take_output() == bytes.fromhex("828c 01020304 0100 0305 01020304 01020305")
    quiet = Tunnel(0.0, entropy=ZeroMask())
    quiet.session.ping()
    assert quiet.take_output() == bytes.fromhex("828c 00000000 0002 0001 00000000 00000001")


def test_bulk_data_arrives_in_bounded_messages() -> None:
    server, agent = new_pair()
    streams = [server.open_stream() for _ in range(4)]
    for stream in streams:
        stream.send(bytes(262_144))
    sizes = []
    received = 0
    while (message := server.take_output()) is not None:
        sizes.append(len(flat(message)))
        for event in agent.receive(flat(message), 0.0):
            if isinstance(event, StreamData):
                received += len(event.data)
    assert received == 4 * 262_144
    assert max(sizes) < 262_144 + 1_024
    assert len(sizes) == 5


def test_frames_before_a_broken_one_still_count() -> None:
    server, agent = new_pair()
    stream = server.open_stream()
    stream.send(b"x")
    opened, data, failed = agent.receive(flat(server.take_output()) + b"\x81\x01t", 0.0)
    assert isinstance(opened, StreamOpened)
    assert data == StreamData(opened.stream, b"x")
    assert failed == SessionFailed("WebSocket: text message", (opened.stream,))
    assert agent.failed == "WebSocket: text message"
    assert agent.deadline() == math.inf
    assert agent.receive(b"\x82\x00", 0.0) == []
    answers = b""
    while (message := agent.take_output()) is not None:
        answers += flat(message)
    key = b"\x01\x02\x03\x04"
    close = b"\x03\xebtext message"
    assert answers.endswith(b"\x88\x8e" + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(close)))


def test_a_session_that_fails_before_a_broken_frame_fails_once() -> None:
    server, _ = new_pair()
    broken_mux = bytes.fromhex("828c 00000000 0009 0000 00000000 00000000")
    events = server.receive(broken_mux + b"\x81\x80\x00\x00\x00\x00", 0.0)
    assert events == [SessionFailed("unknown version or frame type 0x0009", ())]
    assert server.take_output() == bytes.fromhex("820c 0003 0000 00000000 00000001")
    assert server.take_output() == b"\x88\x26\x03\xeaunknown version or frame type 0x0009"
    assert server.take_output() is None


def test_answers_the_last_of_several_websocket_pings() -> None:
    server, _ = new_pair()
    assert server.receive(b"\x89\x81\x00\x00\x00\x00a\x89\x81\x00\x00\x00\x00b\x8a\x80\x00\x00\x00\x00", 0.0) == []
    server.pause_output()
    assert server.take_output() is None
    assert server.resume_output() == []
    assert server.take_output() == b"\x8a\x01b"
    assert server.take_output() is None


def test_a_pong_is_output_and_goes_before_the_data_that_waits() -> None:
    server, _ = new_pair()
    has_output = [server.has_output]
    server.open_stream().send(bytes(1_000_000))
    server.receive(b"\x89\x81\x00\x00\x00\x00a", 0.0)
    server.pause_output()
    has_output.append(server.has_output)
    server.resume_output()
    has_output.append(server.has_output)
    assert has_output == [False, False, True]
    assert server.take_output() == b"\x8a\x01a"
    while (message := server.take_output()) is not None:
        assert flat(message)[:1] == b"\x82"
    server.receive(b"\x89\x81\x00\x00\x00\x00b", 0.0)
    has_output = [server.has_output]
    assert server.take_output() == b"\x8a\x01b"
    assert [*has_output, server.has_output] == [True, False]


def test_the_peer_closes_the_websocket() -> None:
    for close, reason, answer in (
        (b"\x88\x85\x00\x00\x00\x00\x03\xe9bye", "closed by the peer: 1001 bye", b"\x88\x02\x03\xe9"),
        (b"\x88\x80\x00\x00\x00\x00", "closed by the peer: 1005", b"\x88\x00"),
    ):
        server, _ = new_pair()
        stream = server.open_stream()
        assert server.receive(close, 0.0) == [SessionFailed(reason, (stream,))]
        assert server.take_output() == answer
        assert server.take_output() is None


def test_what_was_queued_before_the_peers_close_goes_no_more() -> None:
    server, _ = new_pair()
    stream = server.open_stream()
    stream.send(b"x")
    server.pause_output()
    assert server.receive(b"\x88\x80\x00\x00\x00\x00", 0.0) == [SessionFailed("closed by the peer: 1005", (stream,))]
    assert server.take_output() == b"\x88\x00"
    assert server.take_output() is None
    assert server.receive(b"\x82\x80\x00\x00\x00\x00", 0.0) == []


def test_going_away_lets_streams_finish() -> None:
    server, agent = new_pair()
    stream = server.open_stream()
    stream.send(b"x")
    pass_on(server, agent)
    agent.go_away()
    assert pass_on(agent, server) == [GoAwayReceived(0), StreamAccepted(stream)]
    assert not server.session.can_open_stream
    agent.session.streams[2].send(b"y")
    assert pass_on(agent, server) == [StreamData(stream, b"y")]


def test_streams_can_be_opened_after_the_go_away_of_a_peer_that_takes_them() -> None:
    server, agent = new_pair()
    server.session.opens_after_go_away = True
    agent.go_away()
    pass_on(agent, server)
    assert server.session.can_open_stream
    server.open_stream().send(b"x")
    opened, data = pass_on(server, agent)
    assert isinstance(opened, StreamOpened)
    assert isinstance(data, StreamData)


def test_resuming_tells_which_streams_can_write_again() -> None:
    server, agent = new_pair()
    stream = server.open_stream()
    server.pause_output()
    stream.send(b"x")
    assert not stream.writable
    assert server.take_output() is None
    assert server.resume_output() == [StreamWritable(stream)]
    assert len(pass_on(server, agent)) == 2


def test_a_lost_connection() -> None:
    server, _ = new_pair()
    stream = server.open_stream()
    assert server.fail("reset") == [SessionFailed("reset", (stream,))]
    assert server.fail("reset") == []
    assert server.deadline() == math.inf
    assert server.tick(100.0) == []


def test_a_turn_with_nothing_to_say_gives_no_message() -> None:
    server, agent = new_pair()
    stream = server.open_stream()
    stream.send(bytes(131_072))
    pass_on(server, agent)
    pass_on(agent, server)
    received = agent.session.streams[2]
    received.consume(131_072)
    stream.send_eof()
    assert pass_on(server, agent) == [StreamEnded(received)]
    assert agent.session.has_output
    assert agent.take_output() is None


# --- liveness ---


def test_pings_every_ten_seconds_while_the_peer_answers() -> None:
    server, agent = new_pair()
    assert server.deadline() == 10.0
    assert server.tick(9.9) == []
    assert server.take_output() is None
    for number, at in ((1, 10.0), (2, 20.0), (3, 30.0)):
        assert server.deadline() == at
        assert server.tick(at) == []
        assert pass_on(server, agent, at) == []
        assert pass_on(agent, server, at) == [PongReceived(number)]


def test_a_probe_tells_how_long_a_peer_is_silent() -> None:
    server = Tunnel(0.0, entropy=None)
    assert [server.probe() for _ in range(3)] == [0, 1, 2]
    assert server.take_output() is not None, "one ping"
    assert server.take_output() is None
    server.receive(b"", 1.0)
    assert server.probe() == 0
    assert server.tick(10.0) == [], "a tick has a note of its own"
    assert server.probe() == 1


def test_one_end_of_an_idle_tunnel_asks_for_both() -> None:
    server, agent = new_pair()
    asked = 0
    for half_seconds in range(201):
        for end, other, at in ((server, agent, 0.0), (agent, server, 0.1)):
            now = half_seconds / 2 + at
            assert end.tick(now) == []
            if end.has_output:
                asked += 1
                pass_on(end, other, now)
                assert len(pass_on(other, end, now)) == 1, "a pong"
    assert asked == 10


def test_a_peer_that_dies_after_its_ping_is_noticed_within_two_intervals() -> None:
    server, agent = new_pair()
    for pinged_at, due_at in ((7.0, 10.0), (16.0, 16.5)):
        assert server.deadline() == due_at
        agent.session.ping()
        pass_on(agent, server, pinged_at)
        pass_on(server, agent, pinged_at)
        assert server.tick(due_at) == []
        assert server.take_output() is None
        assert server.deadline() == pinged_at + 9.5
    late = 25.5 + 0.4
    assert server.tick(late) == []
    assert server.take_output() is not None, "a ping"
    assert server.tick(late + 9.9) == []
    assert isinstance(server.tick(late + 10.0)[0], SessionFailed)
    assert late + 10.0 < 16.0 + 20.0


def test_a_peer_silent_after_a_ping_is_dead() -> None:
    server, _ = new_pair()
    stream = server.open_stream()
    assert server.tick(10.0) == []
    assert server.tick(19.9) == []
    assert server.tick(20.0) == [SessionFailed("silent for 10 s after a ping", (stream,))]


def test_any_byte_is_a_sign_of_life() -> None:
    server, _ = new_pair()
    assert server.tick(10.0) == []
    assert server.receive(b"\x82", 19.0) == []
    assert server.tick(20.0) == []
    assert server.deadline() == 30.0
    assert isinstance(server.tick(30.0)[0], SessionFailed)


def test_a_tick_that_comes_too_late_says_nothing_about_the_peer() -> None:
    server, _ = new_pair()
    assert server.tick(10.0) == []
    assert server.tick(25.0) == []
    assert server.deadline() == 35.0
    assert isinstance(server.tick(35.0)[0], SessionFailed)


def test_an_idle_tunnel_is_small() -> None:
    server, agent = new_pair()
    server.session.ping()
    pass_on(server, agent)
    pass_on(agent, server)
    assert reachable_bytes(server) < 1_184
