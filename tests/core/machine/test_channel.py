"""Channels: calls become commands or frames, and what was ended stays silent."""

import random

from pico_core.boundary import Abort, Close, Command, PauseReading, ResumeReading, Send, SendEof
from pico_core.machine.channel import DISCARD, TcpChannel
from pico_core.mux.events import GoAwayReceived, MuxEvent, StreamOpened
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from pico_core.mux.stream import Stream
from pico_core.pieces import Piece
from pico_core.tunnel.channel import StreamChannel, dispatch, finish_tunnel, flush_tunnel
from pico_core.tunnel.tunnel import Tunnel
from tests.play import joined


class User:
    """Notes what a channel reports."""

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def on_data(self, data: Piece, now: float) -> None:
        self.heard.append(bytes(data))

    def on_eof(self, now: float) -> None:
        self.heard.append("eof")

    def on_lost(self, now: float) -> None:
        self.heard.append("lost")

    def on_writable(self, now: float) -> None:
        self.heard.append("writable")


# --- TCP ---


def tcp() -> tuple[TcpChannel, list[Command], list[int]]:
    commands: list[Command] = []
    closing: list[int] = []
    return TcpChannel(7, "192.0.2.1", commands.append, closing.append), commands, closing


def test_calls_become_commands() -> None:
    channel, commands, closing = tcp()
    channel.send(b"a")
    channel.pause_reading()
    channel.pause_reading()
    channel.resume_reading()
    channel.resume_reading()
    channel.send_eof()
    channel.close()
    assert commands == [Send(7, b"a"), PauseReading(7), ResumeReading(7), SendEof(7), Close(7)]
    assert closing == [7]
    assert channel.user is DISCARD


def test_nothing_follows_close_but_a_reset() -> None:
    channel, commands, closing = tcp()
    channel.close()
    channel.close()
    channel.send(b"a")
    channel.send_eof()
    channel.pause_reading()
    channel.resume_reading()
    channel.abort()
    channel.abort()
    assert commands == [Close(7), Abort(7)]
    assert closing == [7]


def test_nothing_follows_a_loss() -> None:
    channel, commands, closing = tcp()
    user = channel.user = User()
    channel.lost(1.0)
    channel.send(b"a")
    channel.close()
    channel.abort()
    assert (commands, closing, user.heard) == ([], [], ["lost"])


def test_nobody_listens_to_what_was_discarded() -> None:
    DISCARD.on_data(b"a", 0.0)
    DISCARD.on_eof(0.0)
    DISCARD.on_lost(0.0)
    DISCARD.on_writable(0.0)


# --- streams ---


class Pair:
    """A stream of a server's tunnel as a channel, and the agent's end of it."""

    def __init__(self) -> None:
        self.server = Tunnel(0.0, entropy=None)
        self.agent = Tunnel(0.0, entropy=random.Random(1), max_incoming_streams=8)
        self.turns = 0
        self.channel = StreamChannel(self.server.open_stream(), self._on_output)
        self.user = self.channel.user = User()
        (opened,) = self.to_agent()
        assert isinstance(opened, StreamOpened)
        self.far: Stream = opened.stream
        self.session_events: list[MuxEvent] = []
        self.from_agent()

    def _on_output(self) -> None:
        self.turns += 1

    def to_agent(self) -> list[MuxEvent]:
        events: list[MuxEvent] = []
        while (message := self.server.take_output()) is not None:
            events += self.agent.receive(joined(message), 0.0)
        return events

    def from_agent(self) -> None:
        while (message := self.agent.take_output()) is not None:
            events = self.server.receive(joined(message), 0.0)
            dispatch(events, lambda event, now: self.session_events.append(event), 1.0)


def test_a_stream_is_a_channel_in_both_directions() -> None:
    pair = Pair()
    pair.far.send(b"a")
    pair.far.send_eof()
    pair.from_agent()
    assert pair.user.heard == [b"a", "eof"]
    pair.channel.send(b"b")
    pair.channel.send_eof()
    assert [type(event).__name__ for event in pair.to_agent()] == ["StreamData", "StreamEnded"]
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


def test_a_closed_channel_answers_data_with_a_reset() -> None:
    pair = Pair()
    pair.channel.close()
    pair.channel.close()
    pair.channel.send(b"a")
    pair.channel.send_eof()
    assert [type(event).__name__ for event in pair.to_agent()] == ["StreamEnded"]
    pair.far.send(b"late")
    pair.from_agent()
    assert [type(event).__name__ for event in pair.to_agent()] == ["StreamReset"]
    assert pair.user.heard == []


def test_an_aborted_channel_is_silent() -> None:
    pair = Pair()
    pair.channel.abort()
    pair.channel.send(b"a")
    assert [type(event).__name__ for event in pair.to_agent()] == ["StreamReset"]
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
    pair.agent.fail("gone")
    events = pair.server.fail("lost")
    dispatch(events, lambda event, now: pair.session_events.append(event), 2.0)
    assert pair.user.heard == ["lost"]
    assert len(pair.session_events) == 2


def test_one_message_at_a_time_and_none_to_a_full_connection() -> None:
    pair = Pair()
    tcp_channel, commands, _ = tcp()
    dirty: list[int] = []
    pair.channel.send(b"a")
    tcp_channel.writable = False
    flush_tunnel(pair.server, tcp_channel, lambda: dirty.append(1))
    assert (commands, dirty) == ([], [])
    pair.server.resume_output()
    tcp_channel.writable = True
    flush_tunnel(pair.server, tcp_channel, lambda: dirty.append(1))
    flush_tunnel(pair.server, tcp_channel, lambda: dirty.append(1))
    assert (len(commands), dirty) == (1, [1])


def test_a_tunnel_that_ends_says_all_it_has_to_say() -> None:
    pair = Pair()
    tcp_channel, commands, _ = tcp()
    pair.channel.send(b"a")
    pair.server.close()
    finish_tunnel(pair.server, tcp_channel)
    assert len(commands) == 2
    for command in commands:
        assert isinstance(command, Send)
        pair.agent.receive(joined(command.data), 0.0)
    assert pair.agent.failed == "closed by the peer: 1000"
