"""The asyncio driver: carries out the commands of a node machine and tells it what happened.

One turn: the loop calls the protocol callbacks of everything that is ready, each leaves its input in a list, and the
first of them schedules one ``end_turn`` behind them. That gives all inputs to the machine, drains ``poll()`` through a
table from command type to method, and looks at ``deadline()``. So the inputs of a turn are polled for once, however
many they are; the kernel's code and ours take turns once and not for every input, which spares both the caches they
share; and no event makes a task, a future, a closure or a timer of its own.
"""

import asyncio
import contextlib
import itertools
import math
import signal
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from pico_asyncio.connection import BufferedConnection, Connection, StreamConnection
from pico_asyncio.opening import Resolver, connect
from pico_core.boundary import (
    Abort,
    Accepted,
    AccessLog,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    DatagramReceived,
    Exit,
    Input,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Log,
    Machine,
    PauseReading,
    Resolve,
    Resolved,
    ResumeReading,
    Send,
    SendDatagram,
    SendEof,
    ShutdownRequested,
    Sink,
    StopListening,
    Tick,
)
from pico_driver import sockets

_SHORTEST_WAIT_S: Final = 0.001
"""A timer is never set shorter: uvloop counts milliseconds, and a deadline in the past must not spin the loop."""

_TURNS_TO_OPEN: Final = 3
"""Turns from ``accept`` to ``connection_made``: one for the task, one for the loop's callback, one to be sure."""

_TURNS_TO_CLOSE: Final = 100
"""Turns until closed transports are lost: one or two, but uvloop forgets those cancelled while they opened."""

_TICK: Final = Tick()
_SHUTDOWN: Final = ShutdownRequested()
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def drive(machine: Machine, sink: Sink, *, signals: bool = False) -> Exit:
    """Run a machine inside the running loop until it says ``Exit``, and return that record.

    The first input is a ``Tick``, so that the machine can ask for its listeners and connections. When this returns,
    raises or is cancelled, everything the machine had open is closed: what was sent got one more chance to leave
    without waiting. The machine is told nothing of that: ``Exit`` is the end of the conversation.
    With ``signals`` (main thread only) SIGTERM and SIGINT become ``ShutdownRequested``.

    Raises whatever the machine or the sink raised: that is a bug, and ends the driver, not just one connection.
    """
    driver = _Driver(asyncio.get_running_loop(), machine, sink)
    try:
        driver.start(signals=signals)
        return await driver.exit
    finally:
        await driver.stop()


def _ignore(event: Input, now: float) -> None:
    """Take the inputs of a machine that is through."""


def _forget(number: int) -> None:
    """Take a command for a connection that is gone."""


class _Driver:
    """Owner of the sockets, timers and lookups of one machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, machine: Machine, sink: Sink) -> None:
        self.exit: asyncio.Future[Exit] = loop.create_future()
        self.receive_buffer = memoryview(bytearray(sockets.RECEIVE_BUFFER_BYTES))
        self.turn_bytes = 0
        self._loop = loop
        self._time = loop.time
        self._call_soon = loop.call_soon
        self._machine = machine
        self._sink = sink
        self._handle = machine.handle
        self._connection_type = BufferedConnection if isinstance(loop, asyncio.BaseEventLoop) else StreamConnection
        self._numbers = itertools.count(1, 2)
        self._connections: dict[int, Connection] = {}
        self._connecting: dict[int, asyncio.Task[None]] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._resolver = Resolver(loop)
        self._tasks: set[asyncio.Task[None]] = set()
        self._signals: tuple[signal.Signals, ...] = ()
        self._inputs: list[Input] = []
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = math.inf
        self._perform: dict[type, Callable[[Any], None]] = {
            Listen: partial(self._listen, sockets.open_listener, self._accept),
            ListenDatagram: partial(self._listen, sockets.open_datagram, self._receive_datagrams),
            StopListening: self._stop_listening,
            Connect: self._connect,
            Send: self._send,
            SendEof: self._on_connection(Connection.send_eof),
            Close: self._on_connection(Connection.close, self._give_up),
            Abort: self._on_connection(Connection.reset, self._give_up),
            PauseReading: self._on_connection(Connection.pause_reading),
            ResumeReading: self._on_connection(Connection.resume_reading),
            SendDatagram: self._send_datagram,
            Resolve: self._resolve,
            Log: sink,
            AccessLog: sink,
            Exit: self._leave,
        }

    def start(self, *, signals: bool) -> None:
        """Begin the conversation. Next: await ``exit``, then ``stop``."""
        if signals:
            self._signals = _SIGNALS
        for number in self._signals:
            self._loop.add_signal_handler(number, self.hand_over, _SHUTDOWN)
        self.hand_over(_TICK)

    async def stop(self) -> None:
        """Close everything and wait until it is closed; the machine hears nothing of it."""
        self._handle = _ignore
        self._turn_due = True
        for number in self._signals:
            self._loop.remove_signal_handler(number)
        if self._timer is not None:
            self._timer.cancel()
        for listening in self._listeners.values():
            self._loop.remove_reader(listening)
            listening.close()
        for _ in range(_TURNS_TO_OPEN):  # a socket that was accepted belongs to its task until it is opened
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections.values()):
            connection.close()
        await asyncio.sleep(0)  # uvloop writes at the end of its turn, asyncio has written already
        for connection in list(self._connections.values()):
            if connection.transport.get_write_buffer_size():
                connection.reset()  # the peer shall see that its stream was cut
        for _ in range(_TURNS_TO_CLOSE):
            if not self._connections and not self._tasks:
                break
            await asyncio.sleep(0)

    # --- inputs ---

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""
        self._inputs.append(event)
        if not self._turn_due:
            self._turn_due = True
            self._call_soon(self.end_turn)

    def opened(self, connection: Connection) -> None:
        """Announce a connection under its number, unless nobody wants it any more."""
        host, port = sockets.endpoint(connection.transport.get_extra_info("peername") or ("", 0))
        event: Input
        if connection.listener:
            connection.number = next(self._numbers)
            event = Accepted(connection.number, connection.listener, host, port)
        elif self._connecting.pop(connection.number, None) is not None:
            event = Connected(connection.number, host, port)
        else:
            connection.reset()
            return
        self._connections[connection.number] = connection
        self.hand_over(event)

    def lost(self, connection: Connection, error: Exception | None) -> None:
        """Announce the end of a connection that was announced."""
        if self._connections.pop(connection.number, None) is not None:
            self.hand_over(ConnectionLost(connection.number, sockets.describe(error)))

    # --- the end of a turn ---

    def end_turn(self) -> None:
        """Give the machine its inputs, carry out its commands and set the timer."""
        try:
            self._take_turn()
            self._turn_due = False
            self.turn_bytes = 0
            self._arm()
        except Exception as error:  # noqa: BLE001 - a bug in the machine: without this the loop would only log it
            self._fail(error)

    def _take_turn(self) -> None:
        poll = self._machine.poll
        perform = self._perform
        while self._inputs:  # carrying out commands brings more
            inputs, self._inputs = self._inputs, []
            now = self._time()
            for event in inputs:
                self._handle(event, now)
            while (command := poll()) is not None:
                perform[type(command)](command)

    def _arm(self) -> None:
        """Set the one timer, unless it goes off early enough as it is: a tick too many does no harm."""
        deadline = self._machine.deadline()
        if deadline is None or deadline >= self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = deadline
        self._timer = self._loop.call_at(max(deadline, self._time() + _SHORTEST_WAIT_S), self._tick)

    def _tick(self) -> None:
        self._armed_at = math.inf
        self._timer = None
        self.hand_over(_TICK)

    def _leave(self, command: Exit) -> None:
        self._handle = _ignore
        if not self.exit.done():
            self.exit.set_result(command)

    def _fail(self, error: BaseException) -> None:
        self._handle = _ignore
        if not self.exit.done():
            self.exit.set_exception(error)

    # --- commands ---

    def _send(self, command: Send) -> None:
        connection = self._connections.get(command.connection)
        if connection is None:
            return
        data = command.data
        if not connection.sendable:
            connection.refuse_to_send()
        elif isinstance(data, bytes):
            connection.transport.write(data)
        else:
            connection.send_pieces(data)

    def _on_connection(
        self, method: Callable[[Connection], None], otherwise: Callable[[int], None] = _forget
    ) -> Callable[[Any], None]:
        """Make, once, the function that carries out a command which has nothing but the connection's number."""

        def perform(command: SendEof | Close | Abort | PauseReading | ResumeReading) -> None:
            connection = self._connections.get(command.connection)
            if connection is not None:
                method(connection)
            else:
                otherwise(command.connection)

        return perform

    def _give_up(self, number: int) -> None:
        connecting = self._connecting.pop(number, None)
        if connecting is not None:
            connecting.cancel()
            self._inputs.append(ConnectFailed(number, "aborted"))

    def _listen(
        self,
        bind: Callable[[str, int], socket.socket],
        ready: Callable[[str, socket.socket], None],
        command: Listen | ListenDatagram,
    ) -> None:
        name = command.listener
        try:
            listening = bind(command.host, command.port)
        except sockets.UNUSABLE as error:
            self._inputs.append(ListenFailed(name, sockets.describe(error)))
            return
        self._listeners[name] = listening
        self._loop.add_reader(listening, ready, name, listening)
        self._inputs.append(Listening(name, *sockets.endpoint(listening.getsockname())))

    def _accept(self, name: str, listening: socket.socket) -> None:
        """Accept those who wait, or none for a while when there is no room for them."""
        try:
            for accepted, _, _ in sockets.accept(listening):
                self._begin(self._take(name, accepted))
        except OSError as error:
            self._loop.remove_reader(listening)
            try:
                self._sink(Log("error", "driver", "cannot accept connections", {"reason": sockets.describe(error)}))
            except Exception as failure:  # noqa: BLE001 - the sink's: without this the loop would only log it
                self._fail(failure)
            self._loop.call_later(sockets.ACCEPT_RETRY_S, self._accept_again, name, listening)

    def _accept_again(self, name: str, listening: socket.socket) -> None:
        if self._listeners.get(name) is listening:
            self._loop.add_reader(listening, self._accept, name, listening)

    async def _take(self, name: str, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(partial(self._connection_type, self, name, 0), accepted)
        except OSError:
            accepted.close()  # the peer was gone before the loop had looked at it

    def _receive_datagrams(self, name: str, bound: socket.socket) -> None:
        for data, host, port in sockets.receive_datagrams(bound):
            self.hand_over(DatagramReceived(name, data, host, port))

    def _send_datagram(self, command: SendDatagram) -> None:
        bound = self._listeners.get(command.listener)
        if bound is not None:
            sockets.send_datagram(bound, command.data, command.host, command.port)

    def _stop_listening(self, command: StopListening) -> None:
        listening = self._listeners.pop(command.listener, None)
        if listening is None:
            return
        self._loop.remove_reader(listening)
        if listening.type == socket.SOCK_STREAM:
            with contextlib.suppress(OSError):  # no room for them: they are refused like those who come later
                for accepted, _, _ in sockets.accept(listening, sockets.BACKLOG):
                    self._begin(self._take(command.listener, accepted))
        listening.close()

    def _connect(self, command: Connect) -> None:
        self._connecting[command.connection] = self._begin(self._open(command))

    async def _open(self, command: Connect) -> None:
        number = command.connection
        try:
            async with asyncio.timeout(command.timeout_s) as limit:
                addresses = await self._resolver.lookup(command.host, command.port)
                connected = await connect(addresses)
            factory = partial(self._connection_type, self, "", number)
            await self._loop.create_connection(factory, sock=connected)
        except sockets.UNUSABLE as error:
            reason = sockets.timed_out(command.timeout_s) if limit.expired() else sockets.describe(error)
            if self._connecting.pop(number, None) is not None:
                self.hand_over(ConnectFailed(number, reason))

    def _resolve(self, command: Resolve) -> None:
        self._begin(self._look_up(command))

    async def _look_up(self, command: Resolve) -> None:
        try:
            async with asyncio.timeout(command.timeout_s) as limit:
                addresses = await self._resolver.lookup(command.name, 0)
        except sockets.UNUSABLE as error:
            reason = sockets.timed_out(command.timeout_s) if limit.expired() else sockets.describe(error)
            self.hand_over(Resolved(command.query, (), reason))
        else:
            self.hand_over(Resolved(command.query, sockets.hosts(addresses), ""))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one of the rare things that wait: lookups, outgoing connections, new listeners."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
