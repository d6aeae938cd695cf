"""The simulation's own TCP, UDP and names: the machines' inputs must be those that a kernel would lead to."""

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Command,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Listen,
    ListenFailed,
    PauseReading,
    Resolve,
    Resolved,
    ResumeReading,
    SelectSource,
    Send,
    SendEof,
    SourceSelected,
    WritingPaused,
    WritingResumed,
)
from tests.sim.network import Faults, Network
from tests.sim.process import Process
from tests.sim.script import Script
from tests.sim.world import World


class Pair:
    """A client and a server on two hosts; the client's connection is number 2, the server's number 1."""

    def __init__(self, seed: int = 1, faults: Faults | None = None) -> None:
        self.world = World(seed)
        self.network = Network(self.world, faults or Faults())
        self.client, self.server = Script(), Script()
        self.client_process = Process(self.network, self.network.new_host(), "client", self.client)
        self.server_process = Process(self.network, self.network.new_host(), "server", self.server)
        self.client_process.start()
        self.server_process.start()
        self.does(self.server_process, Listen("port", "", 80))

    def does(self, process: Process, *commands: Command, wait_s: float = 0.1) -> None:
        machine = process.machine
        assert isinstance(machine, Script)
        machine.commands += commands
        process.call(lambda now: None)
        self.world.run(wait_s)

    def connect(self, port: int = 80, timeout_s: float = 5.0) -> None:
        self.does(self.client_process, Connect(2, self.server_process.host.address, port, timeout_s))


def connected(seed: int = 1, faults: Faults | None = None) -> Pair:
    pair = Pair(seed, faults)
    pair.connect()
    pair.world.run(3.0)
    assert pair.client.heard(Connected)
    assert pair.server.heard(Accepted)
    return pair


def test_bytes_arrive_in_order_whatever_the_network_does() -> None:
    data = bytes(range(256)) * 2000
    for seed in range(10):
        pair = connected(seed, Faults(loss=0.2, tail=0.1, segment_cuts=0.5))
        pair.does(pair.client_process, Send(2, data), SendEof(2), wait_s=60.0)
        assert pair.server.received(1) == data
        assert type(pair.server.told[-1]) is EofReceived


def test_a_half_closed_connection_still_carries_the_other_direction() -> None:
    pair = connected()
    pair.does(pair.client_process, SendEof(2))
    pair.does(pair.server_process, Send(1, (b"an", b"swer")), Close(1))
    assert pair.client.received(2) == b"answer"
    assert pair.server.heard(ConnectionLost) == [ConnectionLost(1, "")]
    pair.does(pair.client_process, Close(2))
    assert pair.client.heard(ConnectionLost) == [ConnectionLost(2, "")]


def test_a_receiver_that_does_not_read_stops_the_sender() -> None:
    pair = connected()
    pair.does(pair.server_process, PauseReading(1))
    pair.does(pair.client_process, Send(2, b"x" * 300_000), wait_s=5.0)
    assert pair.client.heard(WritingPaused)
    assert not pair.server.received(1)
    pair.does(pair.server_process, ResumeReading(1), wait_s=1.0)
    assert len(pair.server.received(1)) == 300_000
    assert pair.client.heard(WritingResumed)


def test_no_process_listens() -> None:
    pair = Pair()
    pair.connect(port=81)
    assert pair.client.heard(ConnectFailed) == [ConnectFailed(2, "connection refused")]


def test_no_process_holds_a_tls_profile() -> None:
    pair = Pair()
    pair.does(pair.server_process, Listen("secure", "", 443, "public"))
    pair.does(pair.client_process, Connect(2, "10.0.0.2", 80, 5.0, "public"))
    assert pair.server.told[-1:] == [ListenFailed("secure", "no TLS profile named 'public'")]
    assert pair.client.told[-1:] == [ConnectFailed(2, "no TLS profile named 'public'")]


def test_a_dial_over_a_cut_path_times_out() -> None:
    pair = Pair()
    pair.network.split(["10.0.0.1"], ["10.0.0.2"])
    pair.connect(timeout_s=3.0)
    assert not pair.client.heard(ConnectFailed)
    pair.world.run(3.0)
    assert pair.client.heard(ConnectFailed) == [ConnectFailed(2, "timed out")]


def test_bytes_wait_for_a_cut_path_to_heal() -> None:
    pair = connected()
    pair.network.split(["10.0.0.1"], ["10.0.0.2"])
    pair.does(pair.client_process, Send(2, b"late"), wait_s=20.0)
    assert not pair.server.received(1)
    pair.network.heal()
    pair.world.run(30.0)
    assert pair.server.received(1) == b"late"


def test_a_killed_process_ends_its_connections() -> None:
    pair = connected()
    pair.server_process.kill()
    pair.world.run(0.1)
    assert pair.client.heard(EofReceived)
    pair.does(pair.client_process, Send(2, b"anybody there?"))
    assert pair.client.heard(ConnectionLost) == [ConnectionLost(2, "connection reset by peer")]


def test_a_connection_to_a_dark_host_lasts_until_the_kernel_closes_it() -> None:
    pair = connected()
    pair.server_process.power_off()
    pair.does(pair.client_process, Send(2, b"anybody there?"), wait_s=600.0)
    assert not pair.client.heard(ConnectionLost)
    pair.world.run(600.0)
    assert pair.client.heard(ConnectionLost) == [ConnectionLost(2, "timed out")]


def test_closing_with_bytes_unread_resets_the_peer() -> None:
    pair = connected()
    pair.does(pair.server_process, PauseReading(1))
    pair.does(pair.client_process, Send(2, b"request"))
    pair.does(pair.server_process, Close(1))
    assert pair.client.heard(ConnectionLost) == [ConnectionLost(2, "connection reset by peer")]


def test_abort_ends_a_connection_being_opened() -> None:
    pair = Pair()
    pair.does(pair.client_process, Connect(2, "10.0.0.2", 80, 5.0), Abort(2))
    assert pair.client.heard(ConnectFailed) == [ConnectFailed(2, "aborted")]
    assert not pair.client.heard(Connected)


def test_an_abort_before_the_process_learned_that_the_connection_is_open() -> None:
    pair = Pair()
    pair.does(pair.client_process, Connect(2, "10.0.0.2", 80, 5.0), wait_s=0.0)
    while 2 in pair.client_process.dialing:
        pair.world.run(0.000_01)
    pair.does(pair.client_process, Abort(2))
    assert pair.client.told[-2:] == [Connected(2, "10.0.0.2", 80), ConnectionLost(2, "")]


def test_a_paused_process_finds_everything_later() -> None:
    pair = connected()
    pair.server_process.pause(10.0)
    pair.does(pair.client_process, Send(2, b"hello"), wait_s=9.0)
    assert not pair.server.received(1)
    pair.world.run(2.0)
    assert pair.server.received(1) == b"hello"


def test_a_host_knows_where_its_packets_come_from_once_it_has_a_route() -> None:
    pair = Pair()
    pair.network.faults.no_route = 1.0
    pair.does(pair.client_process, SelectSource(1, "10.0.0.9"))
    pair.network.faults.no_route = 0.0
    pair.does(pair.client_process, SelectSource(2, "10.0.0.9"))
    answers = [event for event in pair.client.told if isinstance(event, SourceSelected)]
    assert answers == [SourceSelected(1, ""), SourceSelected(2, pair.client_process.host.address)]


def test_answers_about_names_are_old_incomplete_or_fail() -> None:
    pair = Pair()
    names = pair.network.names
    names.set("nodes", ["10.0.0.1"])
    pair.world.run(10.0)
    names.set("nodes", ["10.0.0.1", "10.0.0.2"])
    names.faults.lag_s = 5.0
    pair.does(pair.client_process, Resolve(1, "nodes", 2.0))
    names.faults.lag_s = 0.0
    names.faults.only_self = 1.0
    pair.does(pair.client_process, Resolve(2, "nodes", 2.0))
    names.faults.only_self = 0.0
    pair.does(pair.client_process, Resolve(3, "nodes", 2.0), Resolve(4, "nobody", 2.0))
    names.faults.failure = 1.0
    pair.does(pair.client_process, Resolve(5, "nodes", 2.0))
    answers = {event.query: event for event in pair.client.told if isinstance(event, Resolved)}
    assert answers[1].addresses == ("10.0.0.1",)
    assert answers[2].addresses == ("10.0.0.1",)
    assert answers[3].addresses == ("10.0.0.1", "10.0.0.2")
    assert (answers[4].addresses, answers[4].error) == ((), ""), "unknown is an answer"
    assert answers[5].error == "temporary failure in name resolution"
