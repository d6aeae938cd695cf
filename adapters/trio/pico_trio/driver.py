"""The trio driver: carries out the commands of a node machine and tells it what happened.

One task serves every socket. It waits until the selector that all of them are registered with is readable (an epoll
or kqueue descriptor can itself be waited for), then lets each ready socket do its calls and hand its inputs to the
machine, and then drains ``poll()`` once through a table from command type to method. No event makes a task or a
cancel scope; lookups, outgoing connections and signals, being rare, have tasks, which end their own small turns.
"""

import contextlib
import itertools
import math
import selectors
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from pico_core.boundary import (
    Abort,
    Accepted,
    AccessLog,
    Close,
    Connect,
    Connected,
    ConnectFailed,
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
from pico_trio.connection import Connection
from pico_trio.listener import DatagramSocket, Listener
from pico_trio.opening import Resolver, connect, peer

_TURNS_AT_ONCE: Final = 16
"""Turns taken while sockets are ready before trio's other tasks get theirs: a wait costs 10 us, a look 1 us."""

_MAX_TURN_BYTES: Final = 1_048_576
"""What is received before the machine gets it: the rest of the sockets that are ready waits in the kernel."""

_SHORTEST_WAIT_S: Final = 0.001
"""A timer is never set shorter: a deadline in the past must not spin."""

_TICK: Final = Tick()
_SHUTDOWN: Final = ShutdownRequested()


def run(machine: Machine, sink: Sink) -> Exit:
    """Run a machine under ``trio.run`` until it says ``Exit``, and return that record.

    SIGTERM and SIGINT become ``ShutdownRequested``. Raises what ``drive`` raises. Next: end the process with
    ``exit.code``.
    """
    return trio.run(partial(drive, machine, sink, signals=True))


async def drive(machine: Machine, sink: Sink, *, signals: bool = False) -> Exit:
    """Run a machine inside a running trio program until it says ``Exit``, and return that record.

    The first input is a ``Tick``, so that the machine can ask for its listeners and connections. When this returns,
    raises or is cancelled, everything the machine had open is closed: what was sent got one more chance to leave
    without waiting. The machine is told nothing of that: ``Exit`` is the end of the conversation.
    With ``signals`` (main thread only) SIGTERM and SIGINT become ``ShutdownRequested``.

    Raises whatever the machine or the sink raised: that is a bug, and ends the driver, not just one connection.
    """
    async with trio.open_nursery() as nursery:
        driver = _Driver(nursery, machine, sink)
        try:
            if signals:
                await nursery.start(driver.watch_signals)
            outcome = await driver.serve()
        finally:
            driver.stop()
            nursery.cancel_scope.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _ignore(event: Input, now: float) -> None:
    """Take the inputs of a machine that is through."""


def _forget(number: int) -> None:
    """Take a command for a connection that is gone."""


class _Driver:
    """Owner of the sockets, timers and lookups of one machine."""

    def __init__(self, nursery: trio.Nursery, machine: Machine, sink: Sink) -> None:
        self.receive_buffer = memoryview(bytearray(sockets.RECEIVE_BUFFER_BYTES))
        self.turn_bytes = 0
        self._first = 0
        self.selector = selectors.DefaultSelector()
        self._nursery = nursery
        self._machine = machine
        self._handle = machine.handle
        self._sink = sink
        self._now = trio.current_time()
        self._numbers = itertools.count(1, 2)
        self._connections: dict[int, Connection] = {}
        self._connecting: dict[int, trio.CancelScope] = {}
        self._listeners: dict[str, Listener | DatagramSocket] = {}
        self._resolver = Resolver()
        self._outcome: Exit | Exception | None = None
        self._inputs: list[Input] = []
        self._wait = trio.CancelScope()
        self._armed_at = math.inf
        self._perform: dict[type, Callable[[Any], None]] = {
            Listen: partial(self._listen, sockets.open_listener, Listener),
            ListenDatagram: partial(self._listen, sockets.open_datagram, DatagramSocket),
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
            Exit: self._end,
        }

    # --- the turns ---

    async def serve(self) -> Exit | Exception:
        """Hold the conversation and return what ended it: ``Exit``, or what the machine raised. Next: ``stop``."""
        while self._outcome is None:
            self._armed_at = math.inf
            with trio.CancelScope() as self._wait:
                self._small_turn(_TICK)
                await self._turns()
        return self._outcome

    async def _turns(self) -> None:
        """Take turns until it is all over, or the scope around this is cancelled because the timer went off."""
        selector = self.selector
        while self._outcome is None:
            await trio.lowlevel.wait_readable(selector.fileno())
            for _ in range(_TURNS_AT_ONCE):
                ready = selector.select(0)
                if not ready or self._outcome is not None:
                    break
                self._turn(ready)

    def _turn(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Take what the sockets bring, give the machine its inputs, carry out its commands and set the timer."""
        self._now = trio.current_time()
        try:
            self._receive(ready)
            self._take_turn()
            self._arm()
        except Exception as error:  # noqa: BLE001 - a bug in the machine: kept, so that it leaves drive() as it is
            self._end(error)

    def _small_turn(self, event: Input) -> None:
        """Hand over one input that no socket brought, and do what comes of it."""
        self.hand_over(event)
        self._turn([])

    def _receive(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        first, self._first = min(self._first, len(ready)), 0
        self.turn_bytes = 0
        for number, (key, events) in enumerate(ready[first:] + ready[:first], first + 1):
            key.data.ready(events)
            if self.turn_bytes >= _MAX_TURN_BYTES:
                self._first = number % len(ready)  # the selector names all of them again: begin with those left out
                break

    def _take_turn(self) -> None:
        poll = self._machine.poll
        perform = self._perform
        while self._inputs:  # carrying out commands brings more
            inputs, self._inputs = self._inputs, []
            for event in inputs:
                self._handle(event, self._now)
            while (command := poll()) is not None:
                perform[type(command)](command)

    def _arm(self) -> None:
        """Set the one timer, unless it goes off early enough as it is: a tick too many does no harm."""
        deadline = self._machine.deadline()
        if deadline is not None and deadline < self._armed_at:
            self._armed_at = deadline
            self._wait.deadline = max(deadline, self._now + _SHORTEST_WAIT_S)

    def _end(self, outcome: Exit | Exception) -> None:
        """Let ``serve`` return this, unless it is returning something already."""
        self._outcome = self._outcome or outcome
        self._handle = _ignore
        self._wait.cancel()

    def stop(self) -> None:
        """Close everything; the machine hears nothing of it."""
        self._handle = _ignore
        for listener in self._listeners.values():
            listener.socket.close()
        for connection in list(self._connections.values()):
            if connection.unsent:
                connection.flush()
            if connection.unsent:
                connection.reset()  # the peer shall see that its stream was cut
            else:
                connection.close()
        self.selector.close()

    async def watch_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell the machine of the signals that ask it to end."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for _ in received:
                self._small_turn(_SHUTDOWN)

    # --- inputs ---

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""
        self._inputs.append(event)

    def accepted(self, listener: str, connected: socket.socket, host: str, port: int) -> None:
        """Announce, under a new number, a connection that somebody made to us."""
        number = next(self._numbers)
        self._connections[number] = Connection(self, number, connected)
        self.hand_over(Accepted(number, listener, host, port))

    def lost(self, number: int) -> None:
        """Forget a connection."""
        del self._connections[number]

    def rest(self, listener: Listener, error: OSError) -> None:
        """Stop accepting for a while, since trying again at once would fail again at once."""
        self._sink(Log("error", "driver", "cannot accept connections", {"reason": sockets.describe(error)}))
        self.selector.unregister(listener.socket)
        self._nursery.start_soon(self._go_on, listener)

    async def _go_on(self, listener: Listener) -> None:
        await trio.sleep(sockets.ACCEPT_RETRY_S)
        if listener in self._listeners.values():
            self.selector.register(listener.socket, selectors.EVENT_READ, listener)

    # --- commands ---

    def _send(self, command: Send) -> None:
        connection = self._connections.get(command.connection)
        if connection is not None:
            connection.send(command.data)

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
        listener_type: type[Listener] | type[DatagramSocket],
        command: Listen | ListenDatagram,
    ) -> None:
        name = command.listener
        try:
            listening = bind(command.host, command.port)
        except sockets.UNUSABLE as error:
            self._inputs.append(ListenFailed(name, sockets.describe(error)))
            return
        self._listeners[name] = listener_type(self, name, listening)
        self.selector.register(listening, selectors.EVENT_READ, self._listeners[name])
        self._inputs.append(Listening(name, *sockets.endpoint(listening.getsockname())))

    def _send_datagram(self, command: SendDatagram) -> None:
        listener = self._listeners.get(command.listener)
        if listener is not None:
            sockets.send_datagram(listener.socket, command.data, command.host, command.port)

    def _stop_listening(self, command: StopListening) -> None:
        listener = self._listeners.pop(command.listener, None)
        if listener is not None:
            with contextlib.suppress(KeyError):  # while it rests it is not registered
                self.selector.unregister(listener.socket)
            listener.close()

    def _connect(self, command: Connect) -> None:
        scope = self._connecting[command.connection] = trio.CancelScope()
        self._nursery.start_soon(self._open, command, scope)

    async def _open(self, command: Connect, scope: trio.CancelScope) -> None:
        number = command.connection
        connected: socket.socket | None = None
        reason = sockets.timed_out(command.timeout_s)
        scope.deadline = trio.current_time() + command.timeout_s
        with scope:
            try:
                addresses = await self._resolver.lookup(command.host, command.port)
                connected = await connect(addresses)
            except sockets.UNUSABLE as error:
                reason = sockets.describe(error)
        wanted = self._connecting.pop(number, None) is not None
        if connected is None:
            if wanted:
                self._small_turn(ConnectFailed(number, reason))
        elif wanted:
            self._connections[number] = Connection(self, number, connected)
            self._small_turn(Connected(number, *peer(connected)))
        else:
            connected.close()

    def _resolve(self, command: Resolve) -> None:
        self._nursery.start_soon(self._look_up, command)

    async def _look_up(self, command: Resolve) -> None:
        hosts: tuple[str, ...] = ()
        reason = sockets.timed_out(command.timeout_s)
        with trio.move_on_after(command.timeout_s):
            try:
                hosts = sockets.hosts(await self._resolver.lookup(command.name, 0))
                reason = ""
            except sockets.UNUSABLE as error:
                reason = sockets.describe(error)
        self._small_turn(Resolved(command.query, hosts, reason))
