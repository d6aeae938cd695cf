"""The base of every machine: connections, dialing, lingering, warnings, the end of a turn."""

import gc

import msgspec
import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    DatagramReceived,
    EofReceived,
    Input,
    ListenFailed,
    Listening,
    LogLinesDropped,
    Received,
    Resolved,
    Send,
    ShutdownRequested,
    SignalReceived,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.timers import Timer
from tests.core.machine.channels import User
from tests.play import Nothing, Play


class Recorder(BaseMachine):
    """A node that notes what it hears, and greets."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[int, User] = {}
        self.channels: dict[int, TcpChannel] = {}
        self.started_at: list[float] = []
        self.flushed_at: list[float] = []

    def on_start(self, now: float) -> None:
        self.started_at.append(now)

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        self.keep(channel)
        channel.send(listener.encode())

    def keep(self, channel: TcpChannel) -> None:
        self.channels[channel.id] = channel
        channel.user = self.users[channel.id] = User()

    def flush(self, now: float) -> None:
        self.flushed_at.append(now)
        if len(self.flushed_at) == 2:
            self.channels[1].send(b"flushed")


class Caller:
    """A dialer that notes the outcome."""

    def __init__(self, node: Recorder) -> None:
        self.node = node
        self.outcomes: list[str] = []

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        self.outcomes.append(f"connected to {channel.host}")
        self.node.keep(channel)

    def on_connect_failed(self, reason: str, now: float) -> None:
        self.outcomes.append(reason)


def accepted() -> tuple[Play, Recorder]:
    node = Recorder()
    play = Play(node) >> Tick() >> Accepted(1, "door", "192.0.2.1", 5) << Send(1, b"door")
    return play, node


def test_the_first_input_starts_the_node_once() -> None:
    node = Recorder()
    assert Play(node, 5.0) >> Tick() >> Tick()
    assert node.started_at == [5.0]
    assert node.deadline() is None


def test_wall_time_is_told_by_ticks() -> None:
    class Dated(Recorder):
        def on_start(self, now: float) -> None:
            self.started_at.append(self.wall_s(now))

    node = Dated()
    assert Play(node, 5.0) >> Tick(1_700_000_000.0)
    assert node.started_at == [1_700_000_000.0], "known from the start"
    assert node.wall_s(8.5) == 1_700_000_003.5


def test_a_clock_that_is_set_is_followed_at_the_next_tick() -> None:
    node = Recorder()
    play = Play(node, 5.0) >> Tick(1_700_000_000.0) >> 6.0
    heard: list[float] = []
    node.timers.schedule(6.0, lambda now: heard.append(node.wall_s(now)))
    assert play >> Tick(1_600_000_000.0) >> 7.0 >> Tick()
    assert heard == [1_600_000_000.0]
    assert node.wall_s(7.0) == 1_600_000_001.0, "a tick without the time changes nothing"


def test_wall_time_is_unknown_until_a_tick_tells_it() -> None:
    play, node = accepted()
    assert node.wall_s(3.0) == 0.0
    assert play


def test_a_configuration_that_cannot_be_changed_is_refused_with_a_warning() -> None:
    play, _ = accepted()
    assert play >> ConfigReloaded(msgspec.defstruct("Config", [])())
    (log,) = play.logs
    assert (log.level, log.subsystem) == ("warning", "config")
    assert log.message == "this configuration cannot be changed while running"


def test_signals_that_do_not_stop_a_node_are_told() -> None:
    play = Play(Recorder())
    assert play >> SignalReceived("SIGHUP") >> SignalReceived("SIGUSR1") << Nothing()
    assert [(log.level, log.subsystem, log.message, log.fields) for log in play.logs] == [
        ("info", "config", "nothing to read again: the configuration was read just now", {}),
        ("info", "process", "signal ignored", {"signal": "SIGUSR1"}),
    ]


def test_dropped_log_lines_are_not_answered_with_more() -> None:
    play = Play(Recorder())
    assert play >> LogLinesDropped(3) << Nothing()
    assert play.logs == []


def test_inputs_reach_the_user_of_their_connection() -> None:
    play, node = accepted()
    assert play >> Received(1, b"a") >> WritingPaused(1)
    paused = not node.channels[1].writable
    assert play >> WritingResumed(1) >> EofReceived(1) >> ConnectionLost(1, "")
    assert (paused, node.channels[1].writable) == (True, True)
    assert node.users[1].heard == [b"a", "writable", "eof", "lost"]
    assert play >> Received(1, b"b") << Nothing()
    assert node.users[1].heard == [b"a", "writable", "eof", "lost"]


@pytest.mark.parametrize(
    "event",
    [
        Received(9, b"a"),
        EofReceived(9),
        ConnectionLost(9, ""),
        WritingPaused(9),
        WritingResumed(9),
        Listening("door", "::", 1),
        ListenFailed("door", "in use"),
        DatagramReceived("door", b"a", "::1", 1),
        Resolved(1, (), "no such name"),
        ShutdownRequested(),
    ],
)
def test_inputs_without_a_handler_do_nothing(event: Input) -> None:
    play, _ = accepted()
    assert play >> event


def test_a_connection_that_closes_is_reset_if_its_peer_does_not_take_the_rest() -> None:
    play, node = accepted()
    play >> Accepted(3, "door", "192.0.2.1", 6) << Send(3, b"door")
    play >> Accepted(5, "door", "192.0.2.1", 7) << Send(5, b"door")
    node.channels[1].close()
    assert play << Close(1) >> 4.0 >> Tick()
    node.channels[3].close()
    node.channels[5].close()
    assert play << Close(3) << Close(5) >> ConnectionLost(5, "")
    assert play >> 9.9 << Nothing() >> 10.1 << Abort(1) >> ConnectionLost(1, "") >> 14.1 << Abort(3) >> 60.0


def test_a_connection_lost_before_it_is_closed_is_not_reset() -> None:
    play, node = accepted()
    assert play >> ConnectionLost(1, "reset")
    node.channels[1].close()
    assert play >> 30.0


def test_a_connection_asked_for() -> None:
    play, node = accepted()
    caller = Caller(node)
    assert node.connect("b.example", 80, 5.0, caller) == 2
    assert node.connect("c.example", 81, 5.0, caller) == 4
    assert play << Connect(2, "b.example", 80, 5.0) << Connect(4, "c.example", 81, 5.0)
    assert play >> ConnectFailed(2, "refused") >> Connected(4, "192.0.2.4", 81) >> Received(4, b"a")
    assert caller.outcomes == ["refused", "connected to 192.0.2.4"]
    assert node.users[4].heard == [b"a"]


def test_a_connection_that_is_not_wanted_any_more() -> None:
    play, node = accepted()
    caller = Caller(node)
    for connection in (2, 4):
        node.connect("b.example", 80, 5.0, caller)
        node.cancel_connect(connection)
        assert play << Connect(connection, "b.example", 80, 5.0) << Abort(connection)
    node.cancel_connect(6)
    assert play >> ConnectFailed(2, "aborted") >> Connected(4, "192.0.2.4", 80) << Abort(4) >> ConnectionLost(4, "")
    assert caller.outcomes == []


def test_what_gathers_in_a_turn_is_flushed_once_at_its_end() -> None:
    play, node = accepted()
    node.mark_dirty(node)
    node.mark_dirty(node)
    assert play >> Tick()
    assert node.flushed_at == [0.0]
    node.mark_dirty(node)
    assert play << Send(1, b"flushed")


def test_warnings_of_a_kind_are_limited_and_counted() -> None:
    play, node = accepted()
    for _ in range(25):
        node.warn("test", "something is odd", who="a")
    node.warn("test", "something else is odd")
    assert play
    assert [log.message for log in play.logs].count("something is odd") == 10
    assert play.logs[-1].message == "something else is odd"
    assert play >> 9.0
    node.warn("test", "something is odd", who="b")
    node.timers.schedule(10.0, lambda now: None)
    assert play >> 10.0
    node.warn("test", "something is odd", who="c")
    node.warn("test", "something else is odd")
    assert play
    assert [log.fields for log in play.logs[11:]] == [{"suppressed": 16}, {"who": "c"}, {}]


def test_other_lines_of_a_kind_are_fifty() -> None:
    play, node = accepted()
    for _ in range(51):
        node.log("info", "test", "somebody came")
    assert play
    assert [log.message for log in play.logs].count("somebody came") == 50


def test_logs_carry_their_fields() -> None:
    play, node = accepted()
    node.log("info", "test", "hello", size=1)
    assert play
    (log,) = play.logs
    assert (log.level, log.subsystem, log.message, log.fields) == ("info", "test", "hello", {"size": 1})


def test_connections_that_close_one_after_the_other_share_one_check() -> None:
    node = Recorder()
    play = Play(node)
    play >> Tick()
    before = timers_alive()
    for number in range(1, 2_001, 2):
        play >> Accepted(number, "", "h", 1)
        node.channels[number].close()
        play >> ConnectionLost(number, "")
    assert timers_alive() <= before + 1


def timers_alive() -> int:
    return sum(isinstance(each, Timer) for each in gc.get_objects())
