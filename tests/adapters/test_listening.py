"""Listeners, datagrams and names."""

import contextlib
import resource
import socket
import sys
import threading
from collections.abc import Iterable, Iterator

import pytest

from pico_core.boundary import (
    Accepted,
    AcceptFailed,
    Command,
    Connect,
    ConnectFailed,
    DatagramReceived,
    Exit,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Received,
    Resolve,
    Resolved,
    SelectSource,
    SendDatagram,
    SourceSelected,
    StopListening,
)
from pico_core.records import AccessLog, Log
from pico_driver.early import EarlyListeners
from pico_driver.sockets import ACCEPT_RETRY_S
from tests.adapters.machines import Echo
from tests.adapters.stage import Stage, drive
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def test_port_zero_reports_the_real_port(stage: Stage) -> None:
    stage.do(Listen("tcp", "127.0.0.1", 0), ListenDatagram("udp", "127.0.0.1", 0))
    tcp = stage.wait(Listening, listener="tcp")
    udp = stage.wait(Listening, listener="udp")
    assert tcp.host == udp.host == "127.0.0.1"
    assert min(tcp.port, udp.port) > 0
    stage.peer(tcp.port)


def test_port_in_use(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        stage.do(Listen("tcp", "127.0.0.1", tcp.getsockname()[1]))
        stage.do(ListenDatagram("udp", "127.0.0.1", udp.getsockname()[1]))
        assert stage.wait(ListenFailed) == ListenFailed("tcp", "address already in use")
        assert stage.wait(ListenFailed) == ListenFailed("udp", "address already in use")


def test_address_that_is_not_ours(stage: Stage) -> None:
    stage.do(Listen("tcp", "192.0.2.1", 0))
    assert stage.wait(ListenFailed) == ListenFailed("tcp", "cannot assign requested address")
    stage.do(Listen("tcp", "no-such-host.invalid", 0))
    assert stage.wait(ListenFailed).reason in NO_SUCH_NAME
    stage.do(Listen("tcp", "", 70_000), ListenDatagram("udp", "", 70_000))
    assert stage.wait(ListenFailed, listener="tcp").reason == "invalid address"
    assert stage.wait(ListenFailed, listener="udp").reason == "invalid address"


def test_listener_on_a_name(stage: Stage) -> None:
    stage.do(Listen("tcp", "localhost", 0))
    stage.peer(stage.wait(Listening, listener="tcp").port)


def test_a_name_to_listen_on_is_not_looked_up_by_the_loop(stage: Stage) -> None:
    """The resolver may wait for a name server. (The loop asks it only whether a host is an address.)"""
    asking: set[threading.Thread] = set()
    over = False

    def note(event: str, arguments: object) -> None:
        if event == "socket.getaddrinfo" and not over:
            asking.add(threading.current_thread())

    sys.addaudithook(note)  # for good
    stage.do(Listen("tcp", "localhost", 0))
    stage.wait(Listening, listener="tcp")
    stage.do(ListenDatagram("udp", "localhost", 0))
    stage.wait(Listening, listener="udp")
    over = True
    assert len(asking) > 1


def test_a_listener_stopped_while_its_name_is_looked_up(stage: Stage) -> None:
    stage.do(Listen("tcp", "localhost", 0), StopListening("tcp"))
    assert stage.wait(ListenFailed) == ListenFailed("tcp", "aborted")
    stage.do(Listen("tcp", "localhost", 0))
    stage.peer(stage.wait(Listening, listener="tcp").port)


def test_what_cannot_be_opened_early_is_left_to_the_machine(reserved: int) -> None:
    with contextlib.closing(EarlyListeners()) as early, socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = taken.getsockname()[1]
        for host, port in (("127.0.0.1", in_use), ("localhost", reserved), ("", 70_000), ("192.0.2.1", 0)):
            early.open(host, port)
            assert early.take(host, port) is None


class Greeted(Echo):
    """Leaves when it has received something."""

    def received(self, event: Received) -> Iterable[Command]:
        return (Log("info", "test", event.data.decode(), {}), Exit(0, ""))


@pytest.fixture
def unwanted() -> Iterator[int]:
    with reserved_port() as port:
        yield port


def test_early_listeners_are_taken_over_and_the_others_closed(runtime: str, reserved: int, unwanted: int) -> None:
    early = EarlyListeners()
    early.open("127.0.0.1", reserved)
    early.open("127.0.0.1", unwanted)
    with socket.create_connection(("127.0.0.1", reserved), PATIENCE_S) as peer:
        peer.sendall(b"I was early")
        records: list[Log | AccessLog] = []
        assert drive(runtime, Greeted(reserved), records.append, early=early) == Exit(0, "")
    assert [record.message for record in records if isinstance(record, Log)] == ["listening", "I was early"]
    assert refused(unwanted)
    assert refused(reserved)


@needs_ipv6
def test_ipv6_loopback(stage: Stage) -> None:
    port = stage.listen("::1")
    assert stage.count(Listening, host="::1") == 1
    peer, number = stage.peer(port, "::1")
    peer.sendall(b"six")
    stage.wait(Received, connection=number, data=b"six")
    stage.do(Connect(2, "::1", port, 5.0))
    stage.wait_until(lambda: len(stage.machine.contract.open) == 3, "both ends")


def test_no_host_means_every_address(stage: Stage) -> None:
    port = stage.listen("")
    _peer, _ = stage.peer(port, "127.0.0.1")
    assert stage.machine.events[-1].host == "127.0.0.1"  # type: ignore[union-attr]  # the Accepted ``peer`` waited for


def test_stopped_listener_keeps_what_it_accepted(stage: Stage, reserved: int) -> None:
    port = stage.listen(port=reserved)
    peer, number = stage.peer(port)
    stage.do(StopListening("tcp"))
    wait_until(lambda: refused(port), "nothing listens at the port")
    peer.sendall(b"alive")
    stage.wait(Received, connection=number, data=b"alive")
    stage.do(Listen("tcp", "127.0.0.1", port))
    stage.wait(Listening, port=port)
    stage.peer(port)


def test_listener_stopped_in_the_turn_it_is_opened(stage: Stage, reserved: int) -> None:
    stage.do(Listen("tcp", "127.0.0.1", reserved), StopListening("tcp"))
    assert stage.wait(Listening, listener="tcp").port == reserved
    wait_until(lambda: refused(reserved), "nothing listens at the port")


@needs_ipv6
def test_no_host_means_every_address_of_ipv6_too(stage: Stage) -> None:
    stage.peer(stage.listen(""), "::1")
    assert stage.machine.events[-1].host == "::1"  # type: ignore[union-attr]  # as above


def test_listener_stopped_in_the_turn_after_it_is_opened(stage: Stage, reserved: int) -> None:
    stage.do(Listen("tcp", "127.0.0.1", reserved))
    stage.do(StopListening("tcp"))
    assert stage.wait(Listening, listener="tcp").port == reserved
    wait_until(lambda: refused(reserved), "nothing listens at the port")


def test_a_listener_is_stopped_and_opened_again_in_one_turn(stage: Stage, reserved: int) -> None:
    first = stage.listen()
    stage.do(StopListening("tcp"), Listen("tcp", "127.0.0.1", reserved))
    assert stage.wait(Listening, listener="tcp").port == reserved
    stage.peer(reserved)
    assert refused(first)


def test_connections_that_wait_when_a_listener_stops_are_accepted(stage: Stage, reserved: int) -> None:
    """Their connection is open as far as they can tell: a reset would fail their first request for nothing."""
    port = stage.listen(port=reserved)
    busy, gate = threading.Event(), threading.Event()

    def wait_at_the_gate() -> None:
        busy.set()
        assert gate.wait(PATIENCE_S)

    stage.do(wait_at_the_gate, StopListening("tcp"))
    assert busy.wait(PATIENCE_S)
    peers = [stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) for _ in range(3)]
    gate.set()
    stage.wait_until(lambda: stage.count(Accepted) == 3, "all three")
    for peer in peers:
        peer.sendall(b"x")
    stage.wait_until(lambda: stage.count(Received) == 3, "their bytes")
    assert refused(port)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file or socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_listener_rests_while_there_is_no_room(stage: Stage) -> None:
    port = stage.listen()
    with socket.socket() as peer:
        peer.settimeout(PATIENCE_S)
        with no_more_files():
            peer.connect(("127.0.0.1", port))
            stage.wait(AcceptFailed, listener="tcp", reason="too many open files")
        stage.wait(Accepted, port=peer.getsockname()[1])
    assert stage.records == []


def test_a_listener_that_rests_can_be_stopped(stage: Stage) -> None:
    port = stage.listen()
    with socket.socket() as peer:
        peer.settimeout(PATIENCE_S)
        with no_more_files():
            peer.connect(("127.0.0.1", port))
            stage.wait(AcceptFailed)
            stage.do(StopListening("tcp"))
            assert stage.wait(DatagramReceived).listener == "control"
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
    begun_at = stage.machine.times[-1]
    stage.do(lambda: setattr(stage.machine, "due_at", begun_at + ACCEPT_RETRY_S + 0.05))
    stage.wait_until(lambda: stage.machine.times[-1] > begun_at + ACCEPT_RETRY_S, "the end of the rest")
    stage.do(lambda: setattr(stage.machine, "due_at", None))
    assert stage.count(Accepted) == 0


def refused(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_datagrams_both_ways(stage: Stage) -> None:
    stage.do(ListenDatagram("udp", "127.0.0.1", 0))
    port = stage.wait(Listening, listener="udp").port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE_S)
        peer.bind(("127.0.0.1", 0))
        own = peer.getsockname()[1]
        for data in (b"x", b"", bytes(9_000)):
            peer.sendto(data, ("127.0.0.1", port))
            assert stage.wait(DatagramReceived, listener="udp") == DatagramReceived("udp", data, "127.0.0.1", own)
            stage.do(SendDatagram("udp", data, "127.0.0.1", own))
            assert peer.recvfrom(65_535) == (data, ("127.0.0.1", port))


def test_many_datagrams_at_once(stage: Stage) -> None:
    stage.do(ListenDatagram("udp", "127.0.0.1", 0))
    port = stage.wait(Listening, listener="udp").port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for index in range(150):
            peer.sendto(b"%d" % index, ("127.0.0.1", port))
        stage.wait_until(lambda: stage.count(DatagramReceived, listener="udp") == 150, "all of them")


def test_datagrams_through_a_socket_on_every_address(stage: Stage) -> None:
    stage.do(ListenDatagram("udp", "", 0))
    port = stage.wait(Listening, listener="udp").port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE_S)
        peer.bind(("127.0.0.1", 0))
        peer.sendto(b"x", ("127.0.0.1", port))
        assert stage.wait(DatagramReceived, listener="udp").host == "127.0.0.1"
        stage.do(SendDatagram("udp", b"y", "127.0.0.1", peer.getsockname()[1]))
        assert peer.recv(10) == b"y"


def test_datagrams_that_cannot_be_sent_are_lost(stage: Stage) -> None:
    stage.do(ListenDatagram("udp", "127.0.0.1", 0))
    stage.wait(Listening, listener="udp")
    stage.do(
        SendDatagram("udp", bytes(70_000), "127.0.0.1", 9),
        SendDatagram("udp", b"x", "a-name.invalid", 9),
        SendDatagram("udp", b"x", "nul\0", 9),
        SendDatagram("udp", b"x", "127.0.0.1", 99_999),
        SendDatagram("udp", b"x", "::1", 9),
        SendDatagram("udp", b"x", "127.0.0.1", 9),
        SendDatagram("none", b"x", "127.0.0.1", 9),
        StopListening("udp"),
        SendDatagram("udp", b"x", "127.0.0.1", 9),
    )
    stage.listen()


def test_resolve_a_name(stage: Stage) -> None:
    stage.do(Resolve(1, "localhost", 5.0))
    resolved = stage.wait(Resolved)
    assert set(resolved.addresses) <= {"127.0.0.1", "::1"}
    assert resolved == Resolved(1, resolved.addresses, "")


def test_resolve_an_address(stage: Stage) -> None:
    stage.do(Resolve(1, "192.0.2.7", 5.0), Resolve(2, "2001:db8::7", 5.0))
    assert stage.wait(Resolved, query=1) == Resolved(1, ("192.0.2.7",), "")
    stage.wait_until(lambda: stage.count(Resolved, query=2, addresses=("2001:db8::7",)) == 1, "the second")


def test_the_source_towards_an_address(stage: Stage) -> None:
    stage.do(SelectSource(1, "127.0.0.1"), SelectSource(2, "::ffff:127.0.0.1"))
    assert stage.wait(SourceSelected) == SourceSelected(1, "127.0.0.1")
    assert stage.wait(SourceSelected) == SourceSelected(2, "127.0.0.1")


@needs_ipv6
def test_the_source_towards_an_ipv6_address(stage: Stage) -> None:
    stage.do(SelectSource(1, "::1"))
    assert stage.wait(SourceSelected) == SourceSelected(1, "::1")


@pytest.mark.parametrize("address", ["localhost", "nul\0", "", "255.255.255.255", "fe80::1", "10.0.0.300"])
def test_no_source_towards_what_no_route_leads_to(stage: Stage, address: str) -> None:
    stage.do(SelectSource(1, address))
    assert stage.wait(SourceSelected) == SourceSelected(1, "")


NO_SUCH_NAME = (
    "name or service not known",
    "temporary failure in name resolution",
    "no address associated with hostname",
)
"""The errors of the resolver for a name that does not exist, with and without a name server."""


def test_resolve_nonsense(stage: Stage) -> None:
    stage.do(Resolve(1, "no-such-host.invalid", 60.0))
    unknown = stage.wait(Resolved, query=1)
    assert unknown.addresses == ()
    assert unknown.error in ("", "temporary failure in name resolution"), "unknown is an answer, not an error"
    stage.do(Resolve(2, "a..b", 5.0), Resolve(3, "nul\0", 5.0), Resolve(4, "x" * 300, 5.0))
    stage.wait_until(lambda: stage.count(Resolved, addresses=()) == 4, "the other answers")


def test_resolve_times_out(stage: Stage) -> None:
    stage.do(Resolve(1, "localhost", 0.0))
    assert stage.wait(Resolved) == Resolved(1, (), "timed out after 0 s")


def test_connect_to_a_name(stage: Stage) -> None:
    port = stage.listen("")
    stage.do(Connect(2, "localhost", port, 5.0))
    stage.wait_until(lambda: len(stage.machine.contract.open) == 2, "both ends")
    stage.do(Connect(4, "no-such-host.invalid", 80, 60.0))
    assert stage.wait(ConnectFailed, connection=4).reason in NO_SUCH_NAME
    stage.do(Connect(6, "localhost", port, 0.0))
    assert stage.wait(ConnectFailed, connection=6).reason == "timed out after 0 s"
