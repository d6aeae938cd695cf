"""A mux stream as a channel: calls become frames, and what was ended stays silent; and the output of a tunnel."""

import random

from pico_core.boundary import Send
from pico_core.machine.parts import Flushable
from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    SessionFailed,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from pico_core.mux.stream import MuxStream
from pico_core.pieces import Piece
from pico_core.tunnel.channel import StreamChannel, dispatch, finish_tunnel, flush_tunnel
from pico_core.tunnel.tunnel import Tunnel
from tests.core.machine.channels import User, no_turns, tcp
from tests.core.websocket.keys import flat


class Pair:
    """A stream of a server's tunnel as a channel, and the agent's end of it."""

    def __init__(self) -> None:
        self.server = Tunnel(0.0, entropy=None)
        self.agent = Tunnel(0.0, entropy=random.Random(1), max_incoming_streams=8)
        self.turns = 0
        self.channel = StreamChannel(self.server.open_stream(), self, self, no_turns())
        self.user = self.channel.user = User()
        (opened,) = self.to_agent()
        assert isinstance(opened, StreamOpened)
        self.far: MuxStream = opened.stream
        self.session_events: list[MuxEvent] = []
        self.from_agent()

    def mark_dirty(self, part: Flushable) -> None:
        self.turns += 1

    def flush(self, now: float) -> None:
        """Nothing is sent by itself here."""

    def to_agent(self) -> list[MuxEvent]:
        events: list[MuxEvent] = []
        while (message := self.server.take_output()) is not None:
            events += self.agent.receive(flat(message), 0.0)
        return events

    def from_agent(self) -> None:
        while (message := self.agent.take_output()) is not None:
            events = self.server.receive(flat(message), 0.0)
            dispatch(events, lambda event, now: self.session_events.append(event), 1.0)


def test_a_stream_is_a_channel_in_both_directions() -> None:
    pair = Pair()
    pair.far.send(b"a")
    pair.far.send_eof()
    pair.from_agent()
    assert pair.user.heard == [b"a", "eof"]
    pair.channel.send(b"b")
    pair.channel.send_eof()
    assert pair.to_agent() == [StreamData(pair.far, b"b"), StreamEnded(pair.far)]
    assert pair.turns == 2


def test_pausing_withholds_the_window() -> None:
    pair = Pair()
    pair.channel.pause_reading()
    pair.far.send(bytes(200_000))
    pair.from_agent()
    pair.to_agent()
    assert pair.far.send_window_bytes == INITIAL_WINDOW_BYTES - 200_000
    pair.channel.resume_reading()
    pair.channel.resume_reading()
    pair.to_agent()
    assert pair.far.send_window_bytes == INITIAL_WINDOW_BYTES


class Keeper(User):
    """Keeps the pieces as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Piece] = []

    def on_data(self, data: Piece, now: float) -> None:
        self.kept.append(data)


def test_a_small_part_of_a_message_that_waits_does_not_keep_all_of_it_alive() -> None:
    pair = Pair()
    other = pair.server.open_stream()
    (other_far,) = [event.stream for event in pair.to_agent() if isinstance(event, StreamOpened)]
    StreamChannel(other, pair, pair, no_turns())
    keeper = pair.channel.user = Keeper()
    for reading in (True, False):
        if not reading:
            pair.channel.pause_reading()
        pair.far.send(bytes(50_000))
        other_far.send(bytes(60_000))
        pair.from_agent()
    assert [type(piece) for piece in keeper.kept] == [memoryview, bytes]


def test_a_closed_channel_answers_data_with_a_reset() -> None:
    pair = Pair()
    pair.channel.close()
    pair.channel.close()
    pair.channel.send(b"a")
    pair.channel.send_eof()
    assert pair.to_agent() == [StreamEnded(pair.far)]
    pair.far.send(b"late")
    pair.from_agent()
    assert pair.to_agent() == [StreamReset(pair.far)]
    assert pair.user.heard == []


def test_an_aborted_channel_is_silent() -> None:
    pair = Pair()
    pair.channel.abort()
    pair.channel.send(b"a")
    assert pair.to_agent() == [StreamReset(pair.far)]
    assert pair.user.heard == []


def test_a_reset_is_a_loss() -> None:
    pair = Pair()
    pair.far.reset()
    pair.from_agent()
    assert pair.user.heard == ["lost"]
    pair.channel.send(b"a")
    assert pair.to_agent() == []


def test_a_full_window_is_not_writable_until_credit_comes() -> None:
    pair = Pair()
    writable = [pair.channel.writable]
    pair.channel.send(bytes(INITIAL_WINDOW_BYTES + 1))
    writable.append(pair.channel.writable)
    assert pair.to_agent()
    pair.far.consume(INITIAL_WINDOW_BYTES)
    pair.from_agent()
    writable.append(pair.channel.writable)
    assert writable == [True, False, True]
    assert pair.user.heard == ["writable"]


def test_what_concerns_the_session_goes_to_its_owner() -> None:
    pair = Pair()
    pair.agent.go_away()
    pair.from_agent()
    assert pair.session_events == [GoAwayReceived(0)]
    stream = pair.server.session.streams[2]
    events = pair.server.fail("lost")
    dispatch(events, lambda event, now: pair.session_events.append(event), 2.0)
    assert pair.user.heard == ["lost"]
    assert pair.session_events == [GoAwayReceived(0), SessionFailed("lost", (stream,))]


def test_one_message_at_a_time_and_none_to_a_full_connection() -> None:
    pair = Pair()
    tcp_channel, commands, _ = tcp()
    pair.channel.send(b"a")
    pair.server.receive(b"\x89\x80\x00\x00\x00\x00", 0.0)
    tcp_channel.writable = False
    assert not flush_tunnel(pair.server, tcp_channel)
    assert commands == []
    pair.server.resume_output()
    tcp_channel.writable = True
    assert flush_tunnel(pair.server, tcp_channel)
    assert not flush_tunnel(pair.server, tcp_channel), "the last one is known to be the last"
    pong, data = commands
    assert pong == Send(7, b"\x8a\x00")
    assert data == Send(7, b"\x82\x0d" + bytes.fromhex("0000 0000 00000002 00000001") + b"a")


def test_a_tunnel_that_ends_sends_all_that_it_still_has() -> None:
    pair = Pair()
    tcp_channel, commands, _ = tcp()
    pair.channel.send(b"a")
    pair.server.go_away()
    finish_tunnel(pair.server, tcp_channel)
    (command,) = commands
    assert isinstance(command, Send)
    assert pair.agent.receive(flat(command.data), 0.0) == [StreamData(pair.far, b"a"), GoAwayReceived(0)]


def test_a_tunnel_that_failed_sends_its_reason_last() -> None:
    pair = Pair()
    tcp_channel, commands, _ = tcp()
    pair.server.receive(b"\x82\x80\x01\x02\x03\x04\x81\x80\x01\x02\x03\x04", 0.0)
    finish_tunnel(pair.server, tcp_channel)
    assert commands == [Send(7, b"\x88\x0e\x03\xebtext message")]
