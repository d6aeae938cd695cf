"""Back-pressure both ways, and several inputs of one turn handled together."""

import concurrent.futures
import contextlib
import itertools
import select
import socket
import threading

import pytest

from pico_core.boundary import (
    Close,
    ConnectionLost,
    Exit,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    WritingPaused,
    WritingResumed,
)
from pico_driver.reads import MANY_PAUSED, SMALL_READ_BYTES
from tests.adapters.machines import Hose
from tests.adapters.stage import Stage, delivered, drive, read_exactly
from tests.waiting import PATIENCE_S, connected, wait_until

MEBIBYTE = 1_048_576


def test_writing_pauses_while_the_peer_does_not_read(stage: Stage) -> None:
    peer, number = stage.pair()
    size = 0
    while not stage.count(WritingPaused):
        assert size < 64 * MEBIBYTE, "nothing stops the machine"
        stage.carry_out(Send(number, bytes(MEBIBYTE)))
        size += MEBIBYTE
    assert stage.count(WritingResumed) == 0
    read_exactly(peer, size)
    assert stage.wait(WritingResumed) == WritingResumed(number)
    assert stage.count(WritingPaused) == stage.count(WritingResumed) == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such bound")
def test_the_kernel_holds_little_for_a_peer_that_does_not_read(stage: Stage) -> None:
    """It takes what fits into the peer's receive buffer and 64 KiB more, and not megabytes before the machine knows."""
    for _, number in (stage.pair(), stage.origin()):
        size = 0
        while not stage.count(WritingPaused, connection=number):
            stage.carry_out(Send(number, bytes(32_768)))
            size += 32_768
        assert size < MEBIBYTE // 2


def test_a_machine_hears_of_a_full_buffer_before_its_next_command_is_carried_out(runtime: str, reserved: int) -> None:
    """It may have megabytes to send in one turn, for streams that each have a window: the rest waits in the machine."""
    hose = Hose(reserved)
    with contextlib.ExitStack() as peers, concurrent.futures.ThreadPoolExecutor(1) as thread:
        driven = thread.submit(drive, runtime, hose, lambda record: 0)
        with contextlib.suppress(ConnectionResetError):  # the machine has left before we saw the connection open
            peers.enter_context(connected(reserved))
        assert driven.result(PATIENCE_S) == Exit(0, "paused")
    assert hose.sent <= 2


def test_reads_are_small_while_many_connections_are_paused(stage: Stage) -> None:
    """Each paused connection leaves what its last read took with the machine: 64 of them 16 MiB, a thousand 31 MiB."""
    paused = [stage.origin()[1] for _ in range(MANY_PAUSED + 1)]
    peer, number = stage.origin()

    def largest() -> int:
        """Fill the kernel while the machine does not read, then return the largest read it took to get it all."""
        begin = len(stage.machine.events)
        stage.carry_out(PauseReading(number))
        sent = send_until_blocked(peer)
        stage.do(ResumeReading(number))
        stage.wait_until(lambda: sum(map(len, pieces(begin))) == sent, "all that was sent")
        return max(map(len, pieces(begin)))

    def pieces(begin: int) -> list[bytes]:
        events = stage.machine.events[begin:]
        return [event.data for event in events if isinstance(event, Received) and event.connection == number]

    assert largest() > SMALL_READ_BYTES
    stage.carry_out(*map(PauseReading, paused))
    assert largest() <= SMALL_READ_BYTES
    stage.carry_out(*map(ResumeReading, paused))
    assert largest() > SMALL_READ_BYTES
    stage.do(*map(PauseReading, paused), *map(Close, paused))
    stage.wait_until(lambda: stage.count(ConnectionLost) == len(paused), "the connections to end")
    assert largest() > SMALL_READ_BYTES, "the dead are not counted"


def test_a_small_read_is_all_that_a_connection_gets_in_a_turn(stage: Stage) -> None:
    """The machine can pause the connection at the end of a turn only; what a loop reads on before waits in memory."""
    stage.carry_out(*(PauseReading(stage.origin()[1]) for _ in range(MANY_PAUSED + 1)))
    peer, number = stage.origin()
    stage.carry_out(PauseReading(number))
    sent = send_until_blocked(peer)
    assert sent > 4 * SMALL_READ_BYTES
    stage.carry_out(ResumeReading(number))
    stage.wait_until(lambda: len(stage.received(number)) == sent, "all that was sent")
    events, drains = stage.machine.events, stage.machine.drains
    turns = [events[begin:end] for begin, end in itertools.pairwise(drains)]
    sizes = [sum(len(event.data) for event in turn if isinstance(event, Received)) for turn in turns]
    assert 0 < max(sizes) <= SMALL_READ_BYTES


def test_writing_pauses_again_after_it_resumed(stage: Stage) -> None:
    peer, number = stage.origin()
    for _ in range(3):
        stage.do(Send(number, bytes(32 * MEBIBYTE)))
        stage.wait(WritingPaused, connection=number)
        read_exactly(peer, 32 * MEBIBYTE)
        stage.wait(WritingResumed, connection=number)


def test_little_data_never_pauses_writing(stage: Stage) -> None:
    peer, number = stage.pair()
    for _ in range(10):
        stage.do(Send(number, bytes(60_000)))
        read_exactly(peer, 60_000)
    assert stage.count(WritingPaused) == 0


def test_pause_comes_before_the_loss_when_both_happen_at_once(stage: Stage) -> None:
    peer, number = stage.pair()
    stage.do(Send(number, bytes(32 * MEBIBYTE)), Close(number))
    stage.wait(WritingPaused)
    read_exactly(peer, 32 * MEBIBYTE)
    stage.wait(ConnectionLost)


def test_paused_reading_stops_the_peer(stage: Stage) -> None:
    peer, number = stage.pair()
    stage.carry_out(PauseReading(number), PauseReading(number))
    sent = send_until_blocked(peer)
    assert sent < 64 * MEBIBYTE
    assert len(stage.received(number)) == 0
    stage.do(ResumeReading(number), ResumeReading(number))
    stage.wait_until(lambda: len(stage.received(number)) == sent, "the rest")


def test_paused_reading_leaves_other_connections_alone(stage: Stage) -> None:
    slow, slow_number = stage.pair()
    stage.carry_out(PauseReading(slow_number))
    send_until_blocked(slow)
    quick, quick_number = stage.pair()
    quick.sendall(b"quick")
    stage.wait(Received, connection=quick_number, data=b"quick")


def test_sending_goes_on_while_reading_is_paused(stage: Stage) -> None:
    peer, number = stage.pair()
    stage.do(PauseReading(number), Send(number, bytes(8 * MEBIBYTE)))
    read_exactly(peer, 8 * MEBIBYTE)


def send_until_blocked(peer: socket.socket) -> int:
    """Send until the kernel has taken nothing for a fifth of a second."""
    peer.setblocking(False)
    sent = 0
    while select.select([], [peer], [], 0.2)[1]:
        sent += peer.send(bytes(65_536))
        assert sent < 256 * MEBIBYTE
    peer.settimeout(PATIENCE_S)
    return sent


def test_a_turn_takes_only_so_much_and_leaves_no_connection_out(stage: Stage) -> None:
    """Twelve peers have more to give than one turn may take: no turn takes too much, and none waits for the others."""
    port = stage.listen()
    pairs = [stage.peer(port) for _ in range(12)]
    stage.carry_out(*(PauseReading(number) for _, number in pairs))
    sent = [send_until_blocked(peer) for peer, _ in pairs]
    assert min(sent) > MEBIBYTE
    stage.do(*(ResumeReading(number) for _, number in pairs))
    stage.wait_until(lambda: [len(stage.received(number)) for _, number in pairs] == sent, "all that was sent")
    turn_bytes = []
    reads: dict[int, int] = {}
    most_before_all = 0
    began = 0
    for drain in stage.machine.drains:
        received = [event for event in stage.machine.events[began:drain] if isinstance(event, Received)]
        turn_bytes.append(sum(len(event.data) for event in received))
        began = drain
        for event in received:
            reads[event.connection] = reads.get(event.connection, 0) + 1
            if len(reads) < len(pairs):
                most_before_all = max(reads.values())
    assert most_before_all <= 64
    assert max(turn_bytes) < 2 * MEBIBYTE


def test_inputs_of_one_turn_are_polled_for_once(stage: Stage) -> None:
    """Five peers send while the machine is busy: their bytes come in one turn, and one drain follows."""
    port = stage.listen()
    peers = [stage.peer(port)[0] for _ in range(5)]
    busy, gate = threading.Event(), threading.Event()

    def wait_at_the_gate() -> None:
        busy.set()
        assert gate.wait(PATIENCE_S)

    stage.do(wait_at_the_gate)
    assert busy.wait(PATIENCE_S)
    for peer in peers:
        peer.sendall(b"now")
    wait_until(lambda: all(map(delivered, peers)), "the kernel has what all five sent")
    gate.set()
    stage.wait_until(lambda: stage.count(Received) == 5, "all five")
    stage.wait_until(lambda: stage.machine.drains[-1] == len(stage.machine.events), "the drain")
    first = next(i for i, event in enumerate(stage.machine.events) if isinstance(event, Received))
    assert next(drain for drain in stage.machine.drains if drain > first + 1) == first + 5
