"""Node machines for exercising the drivers: they follow the contract of ``pico_core.boundary`` and check it."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Command,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    DatagramReceived,
    EofReceived,
    Exit,
    FileRead,
    Input,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    LogLinesDropped,
    PauseReading,
    ReadFile,
    Received,
    Resolve,
    Resolved,
    ResumeReading,
    SelectSource,
    Send,
    SendEof,
    ShutdownRequested,
    SignalReceived,
    SourceSelected,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.records import Log, MeasureProcess, ProcessMeasured

Kind = TypeVar("Kind", bound=Input)

CONTROL = "control"
"""The datagram listener through which a test on another thread wakes a ``Recorder`` up."""


class Queued:
    """The part all machines here share: commands wait in a queue, nothing is due."""

    def __init__(self) -> None:
        self.commands: deque[Command] = deque()
        self.due_at: float | None = None

    def poll(self) -> Command | None:
        return self.commands.popleft() if self.commands else None

    def deadline(self) -> float | None:
        return self.due_at


class Contract:
    """Asserts what the driver promises: order, numbers, and one end for every connection (rules 2, 4, 5 and 7)."""

    def __init__(self) -> None:
        self.now = float("-inf")
        self.open: dict[int, bool] = {}  # number -> whether its end of stream has come
        self.ended: list[int] = []
        self.connecting: list[int] = []
        self.resolving: list[int] = []
        self.opening: list[str] = []

    def take(self, event: Input, now: float) -> None:
        assert now >= self.now, "time went back"
        self.now = now
        match event:
            case Accepted(connection=number):
                assert number % 2 == 1
                self._begin(number)
            case Connected(connection=number):
                self.connecting.remove(number)
                self._begin(number)
            case ConnectFailed(connection=number, reason=reason):
                self.connecting.remove(number)
                assert reason
            case Received(connection=number, data=data):
                assert type(data) is bytes
                assert data, "the end of a stream is not empty bytes"
                assert not self.open[number], "bytes after the end of the stream"
            case EofReceived(connection=number):
                assert not self.open[number], "two ends of one stream"
                self.open[number] = True
            case ConnectionLost(connection=number):
                del self.open[number]
                self.ended.append(number)
            case WritingPaused(connection=number) | WritingResumed(connection=number):
                assert number in self.open
            case Resolved(query=query, addresses=addresses, error=error):
                self.resolving.remove(query)
                assert not (addresses and error)
            case SourceSelected(query=query) | FileRead(query=query) | ProcessMeasured(query=query):
                self.resolving.remove(query)
            case Listening(listener=name) | ListenFailed(listener=name):
                self.opening.remove(name)
            case DatagramReceived() | Tick() | ShutdownRequested() | ConfigReloaded():
                pass
            case SignalReceived() | LogLinesDropped():
                pass

    def _begin(self, number: int) -> None:
        assert number not in self.open
        assert number not in self.ended
        self.open[number] = False

    def command(self, command: Command) -> None:
        match command:
            case Connect(connection=number):
                assert number % 2 == 0
                self.connecting.append(number)
            case Resolve(query=query) | SelectSource(query=query) | ReadFile(query=query) | MeasureProcess(query=query):
                self.resolving.append(query)
            case Listen(listener=name) | ListenDatagram(listener=name):
                self.opening.append(name)
            case _:
                pass


class Recorder(Queued):
    """Writes down every input and does what a test on another thread orders it to."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = Contract()
        self.events: list[Input] = []
        self.times: list[float] = []
        self.drains: list[int] = []  # the number of events there were at each drain
        self.changed = threading.Condition()
        self.orders: deque[Command | Callable[[], None]] = deque()
        self.control_port = 0
        self.commands.append(ListenDatagram(CONTROL, "127.0.0.1", 0))

    def handle(self, event: Input, now: float) -> None:
        with self.changed:
            self.contract.take(event, now)
            self.events.append(event)
            self.times.append(now)
            if isinstance(event, Listening) and event.listener == CONTROL:
                self.control_port = event.port
            if isinstance(event, DatagramReceived) and event.listener == CONTROL:
                self._obey()
            self.changed.notify_all()

    def _obey(self) -> None:
        while self.orders:
            order = self.orders.popleft()
            if callable(order):
                order()
            else:
                self.commands.append(order)

    def poll(self) -> Command | None:
        command = super().poll()
        if command is None:
            with self.changed:
                self.drains.append(len(self.events))
                self.changed.notify_all()
        else:
            self.contract.command(command)
        return command


class Server(Queued):
    """Listens on one loopback port, reports it in a ``Log`` record, and leaves when asked to."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self.commands.append(Listen("tcp", "127.0.0.1", port))
        self.reactions: dict[type, Callable[..., Iterable[Command]]] = {
            Listening: lambda event: [Log("info", "test", "listening", {"port": event.port})],
            ShutdownRequested: lambda event: [Exit(3, "asked to")],
            Received: self.received,
            EofReceived: lambda event: [Close(event.connection)],
        }

    def handle(self, event: Input, now: float) -> None:
        reaction = self.reactions.get(type(event))
        if reaction is not None:
            self.commands.extend(reaction(event))

    def received(self, event: Received) -> Iterable[Command]:
        return ()


class Echo(Server):
    """Sends back what it receives, as fast as the peer reads; ends a stream when the peer does."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.reactions |= {
            EofReceived: lambda event: [SendEof(event.connection), Close(event.connection)],
            WritingPaused: lambda event: [PauseReading(event.connection)],
            WritingResumed: lambda event: [ResumeReading(event.connection)],
        }

    def received(self, event: Received) -> Iterable[Command]:
        return (Send(event.connection, event.data),)


class Hose(Server):
    """Sends to its first peer, one MiB after the other, until it hears that the peer does not read."""

    MOST = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.sent = 0
        self._connection = 0
        self.reactions |= {Accepted: self._accepted, WritingPaused: lambda event: [Exit(0, "paused")]}

    def _accepted(self, event: Accepted) -> Iterable[Command]:
        self._connection = event.connection
        return ()

    def handle(self, event: Input, now: float) -> None:
        super().handle(event, now)
        if isinstance(event, WritingPaused):
            self._connection = 0

    def poll(self) -> Command | None:
        command = super().poll()
        if command is None and self._connection and self.sent < self.MOST:
            self.sent += 1
            return Send(self._connection, bytes(1 << 20))
        return command


class Faulty(Server):
    """Breaks when it receives something, in ``handle`` or in ``poll``."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self._broken = False

    def received(self, event: Received) -> Iterable[Command]:
        if self._where == "handle":
            raise ZeroDivisionError
        self._broken = True
        return (Abort(event.connection),)

    def poll(self) -> Command | None:
        if self._broken:
            raise ZeroDivisionError
        return super().poll()
