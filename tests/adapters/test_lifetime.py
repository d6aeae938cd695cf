"""Start, timers, Exit, failures of the machine, cancellation."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable

import pytest
import trio
import uvloop

import pico_asyncio
import pico_trio
from pico_core.boundary import (
    Abort,
    Accepted,
    Command,
    Connect,
    Exit,
    Input,
    Listening,
    LogLinesDropped,
    Resolve,
    Send,
    SendEof,
    ShutdownRequested,
    SignalReceived,
    Tick,
)
from pico_core.errors import LocalProtocolError
from pico_core.records import AccessLog, Log
from pico_driver.signals import STOP_SIGNALS
from tests.adapters.machines import Echo, Faulty, Queued, Recorder, Server
from tests.adapters.node import run
from tests.adapters.stage import Stage, drive, read_all, staged
from tests.waiting import PATIENCE_S


def test_every_tick_and_the_first_input_tell_the_wall_time(runtime: str) -> None:
    began_at = time.time()
    with staged(runtime) as stage:
        stage.do(lambda: setattr(stage.machine, "due_at", 0.0))
        stage.wait_until(lambda: stage.count(Tick) > 2, "ticks")
        stage.do(lambda: setattr(stage.machine, "due_at", None))
    assert isinstance(stage.machine.events[0], Tick)
    told = [event.wall_s for event in stage.machine.events if isinstance(event, Tick)]
    instants = [began_at, *told, time.time()]
    assert instants == sorted(instants)


def test_logs_reach_the_sink_in_order(stage: Stage) -> None:
    records: list[Log | AccessLog] = [
        Log("info", "test", "first", {"count": 1}),
        AccessLog((b"line",)),
        Log("warning", "test", "second", {}),
    ]
    stage.do(*records)
    stage.listen()
    assert stage.records == records


class Times(Queued):
    """Keeps the time of every input."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def handle(self, event: Input, now: float) -> None:
        self.times.append(now)
        if len(self.times) == 20:
            self.commands.append(Exit(0, ""))
        else:
            self.due_at = now


def test_time_is_finer_than_a_millisecond(runtime: str) -> None:
    """Latency is measured with it. A clock of whole milliseconds would show no fraction of one in any reading."""
    machine = Times()
    run(runtime, machine, lambda _record: None)
    assert max(abs(time_s * 1000 - round(time_s * 1000)) for time_s in machine.times) > 0.001
    assert machine.times == sorted(machine.times)


class Clock(Queued):
    """Asks for a tick after each of some delays and leaves after the last."""

    def __init__(self, delays_s: list[float]) -> None:
        super().__init__()
        self._delays_s = delays_s
        self.lateness_s: list[float] = []
        self.ticks = 0

    def handle(self, event: Input, now: float) -> None:
        self.ticks += 1
        if self.due_at is not None:
            if now < self.due_at:
                return
            self.lateness_s.append(now - self.due_at)
        if self._delays_s:
            self.due_at = now + self._delays_s.pop(0)
        else:
            self.commands.append(Exit(0, ""))


def test_ticks_come_in_time(runtime: str) -> None:
    clock = Clock([0.0, 0.001, 0.02, 0.1, 0.0105, -1.0])
    assert drive(runtime, clock, ignore) == Exit(0, "")
    assert len(clock.lateness_s) == 6
    assert max(clock.lateness_s[:-1]) < 0.5
    assert clock.ticks < 40, "early ticks are allowed, a busy loop is not"


def test_a_deadline_that_moves_earlier_is_kept(stage: Stage) -> None:
    begun_at = stage.machine.times[-1]

    def move(to: float) -> None:
        stage.machine.due_at = to

    stage.do(lambda: move(begun_at + 300.0))
    stage.do(lambda: move(begun_at + 0.1))
    stage.wait_until(lambda: stage.count(Tick) > 1, "the tick")
    assert stage.machine.times[-1] - begun_at < 5.0
    stage.do(lambda: move(begun_at + 300.0))
    stage.listen()


def test_a_deadline_in_the_past_does_not_spin(stage: Stage) -> None:
    stage.do(lambda: setattr(stage.machine, "due_at", 0.0))
    stage.wait_until(lambda: stage.count(Tick) > 20, "ticks")
    span_s = stage.machine.times[-1] - stage.machine.times[-20]
    assert span_s > 0.005
    stage.do(lambda: setattr(stage.machine, "due_at", None))


def test_exit_closes_everything(runtime: str) -> None:
    with staged(runtime) as stage:
        port = stage.listen()
        peers = [stage.peer(port)[0] for _ in range(5)]
        outgoing, _ = stage.origin()
        stage.do(
            Connect(200, "192.0.2.1", 80, 60.0),
            Resolve(1, "no-such-host.invalid", 60.0),
            Exit(4, "enough"),
        )
        assert stage.ended() == Exit(4, "enough")
        for peer in [*peers, outgoing]:
            assert peer.recv(1) == b""
        with socket.socket() as late:
            assert late.connect_ex(("127.0.0.1", port)) != 0
        assert not stage.machine.contract.ended, "the machine hears nothing after Exit"
    gc.collect()


def test_what_is_sent_before_exit_still_leaves(runtime: str) -> None:
    with staged(runtime) as stage:
        peer, number = stage.pair()
        stage.do(Send(number, b"good"), Send(number, b"bye"), Exit(0, ""), Exit(1, "too late"))
        assert stage.ended() == Exit(0, "")
        assert read_all(peer) == b"goodbye"


def test_a_stream_cut_by_exit_is_visibly_cut(runtime: str) -> None:
    with staged(runtime) as stage:
        peer, number = stage.pair()
        stage.do(Send(number, bytes(32_000_000)), SendEof(number), Exit(0, ""))
        stage.ended()
        with pytest.raises(ConnectionResetError):
            read_all(peer)


def test_send_after_end_of_stream_is_a_mistake(runtime: str) -> None:
    with staged(runtime) as stage:
        peer, number = stage.pair()
        stage.do(SendEof(number), Send(number, b"x"))
        assert isinstance(stage.ended(), LocalProtocolError)
        assert peer.recv(1) == b""


@pytest.mark.parametrize("where", ["handle", "poll"])
def test_a_failing_machine_ends_the_driver(runtime: str, where: str) -> None:
    assert isinstance(outcome_with_peer(runtime, Faulty(where)), ZeroDivisionError)


class FaultyClock(Queued):
    """Breaks at the first timer."""

    def handle(self, event: Input, now: float) -> None:
        if self.due_at is not None:
            raise ZeroDivisionError
        self.due_at = now + 0.01


def test_a_machine_that_fails_at_a_timer_ends_the_driver(runtime: str) -> None:
    with pytest.raises(ZeroDivisionError):
        drive(runtime, FaultyClock(), ignore)


def test_a_failing_sink_ends_the_driver(runtime: str) -> None:
    def broken(record: Log | AccessLog) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive(runtime, Echo(), broken)


def outcome_with_peer(runtime: str, machine: Server) -> BaseException | Exit:
    """Run a machine, connect to it, send it something, and return what it comes to."""
    ports: list[int] = []
    listening = threading.Event()
    outcome: list[BaseException | Exit] = []

    def sink(record: Log | AccessLog) -> None:
        assert isinstance(record, Log)
        ports.append(int(record.fields["port"]))
        listening.set()

    def work() -> None:
        try:
            outcome.append(drive(runtime, machine, sink))
        except BaseException as error:  # noqa: BLE001 - it is the result
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert listening.wait(PATIENCE_S)
    with socket.create_connection(("127.0.0.1", ports[0]), PATIENCE_S) as peer:
        peer.sendall(b"x")
        thread.join(PATIENCE_S)
    return outcome[0]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_cancelling_asyncio_closes_everything(new_loop: object) -> None:
    async def main() -> None:
        ports: asyncio.Queue[int] = asyncio.Queue()
        driving = asyncio.create_task(pico_asyncio.drive(Echo(), port_sink(ports.put_nowait)))
        port = await asyncio.wait_for(ports.get(), PATIENCE_S)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), PATIENCE_S) == b"hello"
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    with asyncio.Runner(loop_factory=new_loop) as runner:  # type: ignore[arg-type]  # uvloop's own annotation differs
        runner.run(main())
    gc.collect()


def test_cancelling_trio_closes_everything() -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[int](1)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pico_trio.drive, Echo(), port_sink(send.send_nowait))
                port = await receive.receive()
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
                nursery.cancel_scope.cancel()
            assert await stream.receive_some() == b""
            await stream.aclose()
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream("127.0.0.1", port)

    trio.run(main)
    gc.collect()


def port_sink(put: object) -> pico_asyncio.Sink:
    def sink(record: Log | AccessLog) -> None:
        assert isinstance(record, Log)
        put(record.fields["port"])  # type: ignore[operator]  # a queue's put

    return sink


def ignore(record: Log | AccessLog) -> None:
    pass


class Signalled(Server):
    """Sends its own process a signal once it listens."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number
        self.reactions[Listening] = self._listening

    def _listening(self, event: Listening) -> Iterable[Command]:
        os.kill(os.getpid(), self._number)
        return ()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_run_takes_signals_and_gives_them_back(runtime: str, number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    assert run(runtime, Signalled(number), ignore) == Exit(3, "asked to")
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_are_told_by_name(runtime: str, number: signal.Signals) -> None:
    machine = Signalled(number)
    machine.reactions[SignalReceived] = lambda event: [Exit(0, event.name)]
    assert run(runtime, machine, ignore) == Exit(0, number.name)


def test_the_machine_is_told_how_many_lines_the_sink_has_dropped(runtime: str) -> None:
    totals: list[int] = []
    answers = iter([None, 0, 5, 5, 7])

    class Talkative(Server):
        """Says five things, and one more when it hears of the last number."""

        def __init__(self) -> None:
            super().__init__()
            self.commands.extend([Log("info", "test", "hello", {})] * 3 + [AccessLog((b"line",))])
            self.reactions = {LogLinesDropped: self._dropped}

        def _dropped(self, event: LogLinesDropped) -> Iterable[Command]:
            totals.append(event.total)
            return (Log("info", "test", "again", {}),) if event.total == 5 else (Exit(0, ""),)

    assert drive(runtime, Talkative(), lambda _record: next(answers)) == Exit(0, "")
    assert totals == [5, 7]


def test_what_a_loop_writes_to_its_logger_is_logged(new_asyncio: str) -> None:
    """``logging`` itself would write it to standard error, and wait until that is read."""
    records: list[Log | AccessLog] = []

    def sink(record: Log | AccessLog) -> None:
        records.append(record)
        if len(records) == 1:
            logging.getLogger("asyncio").warning("socket.%s() raised exception.", "send")
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(new_asyncio, Server(), sink) == Exit(3, "asked to")
    assert records[1:] == [Log("warning", "driver", "socket.send() raised exception.", {})]
    assert logging.getLogger("asyncio").propagate


def test_what_the_loop_complains_of_is_logged(new_asyncio: str) -> None:
    """A callback that is not ours fails on the loop we run."""
    records: list[Log | AccessLog] = []
    machine = Queued()
    machine.commands.append(Log("info", "test", "listening", {}))

    def sink(record: Log | AccessLog) -> None:
        records.append(record)
        if len(records) == 1:
            asyncio.get_running_loop().call_soon(fail)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    def fail() -> None:
        raise RuntimeError("not ours")

    machine.handle = lambda event, now: (  # type: ignore[attr-defined]  # the smallest machine there is
        machine.commands.append(Exit(0, "")) if isinstance(event, ShutdownRequested) else None
    )
    assert run(new_asyncio, machine, sink) == Exit(0, "")  # type: ignore[arg-type]  # it has a handle now
    assert isinstance(records[1], Log)
    assert records[1].fields == {"reason": "not ours"}


@pytest.fixture(params=["asyncio", "uvloop"])
def new_asyncio(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_machine_can_leave_at_once(runtime: str) -> None:
    machine = Recorder()
    machine.commands.append(Exit(7, "never mind"))
    assert drive(runtime, machine, ignore) == Exit(7, "never mind")
    assert ShutdownRequested() not in machine.events


def test_exit_while_peers_keep_connecting(runtime: str) -> None:
    """Whatever the loop had accepted but not announced is closed too: a forgotten socket would be a ResourceWarning."""
    over = threading.Event()
    with staged(runtime) as stage:
        port = stage.listen()

        def hammer() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S) as peer:
                    peer.sendall(b"x")

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            stage.wait_until(lambda: stage.count(Accepted) > 20, "peers")
            stage.do(Connect(2, "127.0.0.1", port, 5.0), Abort(2), Connect(4, "localhost", port, 5.0), Exit(0, ""))
            assert stage.ended() == Exit(0, "")
        finally:
            over.set()
            for thread in threads:
                thread.join()
    gc.collect()
