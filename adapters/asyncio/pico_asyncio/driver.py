"""The asyncio driver: protocol callbacks and timers of an asyncio or uvloop loop.

The loop calls the protocol callbacks of everything that is ready. Each leaves its input in a list, and the first of
them schedules one ``end_turn`` behind them.
"""

import asyncio
import selectors
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

from pico_asyncio.connection import BufferedConnection, Connection, StreamConnection
from pico_asyncio.opening import Resolver, connect
from pico_asyncio.signals import LoopSignals
from pico_core.boundary import Exit, Input, Machine, Send
from pico_core.records import Sink
from pico_driver import sockets
from pico_driver.attached import Attached
from pico_driver.connection import refuse_send
from pico_driver.driver import Driver, Result, WatchedSocket
from pico_driver.options import DriverOptions
from pico_driver.signals import SIGNALS

if TYPE_CHECKING:
    from pico_driver.inbox import Inbox
    from pico_driver.tls import SecureConnection

_TURNS_TO_OPEN: Final = 3
"""Turns from ``accept`` to ``connection_made``: one for the task, one for the loop's callback, one to be sure."""

_TURNS_TO_CLOSE: Final = 100
"""Turns until closed transports are lost: one or two, but uvloop never reports those cancelled while they opened."""


async def drive(
    machine: Machine,
    sink: Sink,
    *,
    signals: bool = False,
    hub: Attached | None = None,
    **options: Unpack[DriverOptions],
) -> Exit:
    """Run a machine inside the running loop until it says ``Exit``, and return that record.

    The first input is a ``Tick``, so that the machine can ask for its listeners and connections. When this returns,
    raises or is cancelled, everything the machine had open is closed: what was sent leaves as far as that
    needs no waiting. The machine gets no input about it: ``Exit`` is the last record.
    With ``signals`` (main thread only) SIGTERM, SIGINT and SIGQUIT become ``ShutdownRequested``; SIGHUP,
    SIGUSR1 and SIGUSR2 become ``SignalReceived``. ``hub`` takes what the machine says to the embedding program, such as
    a ``Hub``. ``options`` are those of ``DriverOptions``.

    Raises whatever the machine or the sink raised: that is a bug, and ends the driver, not just one connection.
    """
    driver = AsyncioDriver(asyncio.get_running_loop(), machine, sink, options)
    try:
        if hub is not None:
            hub.attach(driver)
        driver.start(options.get("inbox"), signals=signals)
        await driver.ended.wait()
    finally:
        if hub is not None:
            hub.detach(driver.outcome)
        await driver.stop()
    return driver.result()


class AsyncioDriver(Driver[Connection]):
    """One machine on one loop. Next: ``start``, wait for ``ended``, ``stop``, ``result``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        machine: Machine,
        sink: Sink,
        options: DriverOptions,
    ) -> None:
        # uvloop's own clock counts whole milliseconds.
        super().__init__(machine, sink, time.monotonic, options)
        self.ended = asyncio.Event()
        self._loop = loop
        self._call_soon = loop.call_soon
        self._connection_type = BufferedConnection if isinstance(loop, asyncio.BaseEventLoop) else StreamConnection
        self._resolver = Resolver(loop)
        self._tasks: set[asyncio.Task[None]] = set()
        self._signals: LoopSignals | None = None
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, inbox: "Inbox | None", *, signals: bool) -> None:
        """Begin the conversation. Next: wait for ``ended``, then ``stop``."""
        if signals:
            self._signals = LoopSignals(self._loop, SIGNALS, self._take_signal)
        self.tick()
        self._handshakes.watch_files()
        if inbox is not None:
            self.open_inbox(inbox, self._loop.call_soon_threadsafe)

    async def stop(self) -> None:
        """Close everything and wait until it is closed; the machine gets no input for that."""
        self.close()
        if self._signals is not None:
            self._signals.close()
        if self._timer is not None:
            self._timer.cancel()
        for _ in range(_TURNS_TO_OPEN):  # a socket that was accepted belongs to its task until it is opened
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections.values()):
            connection.close()
        await asyncio.sleep(0)  # uvloop writes at the end of its turn, asyncio has written already
        for connection in list(self._connections.values()):
            if connection.unsent:
                connection.reset()  # so that the peer can tell that its stream was cut
        for _ in range(_TURNS_TO_CLOSE):
            if not self._connections and not self._tasks:
                break
            await asyncio.sleep(0)

    def _take_signal(self, number: signal.Signals) -> None:
        self.hand_over(self.signalled(number))

    # --- turns ---

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""
        self._inputs.append(event)
        if not self._turn_due:
            self._turn_due = True
            self._call_soon(self.end_turn)

    def announce(self, *events: Input) -> None:
        """Keep these inputs for the turn that the loop is in: nothing comes outside of one."""
        for event in events:
            self.hand_over(event)

    def end_turn(self) -> None:
        """Hand the inputs of this turn to the machine now, and carry its commands out."""
        self.take_turn()
        self._turn_due = False
        self.turn_bytes = 0

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(at - self._clock(), self.tick)

    def _wake(self) -> None:
        self.ended.set()

    # --- connections ---

    def _send(self, command: Send) -> None:
        connection = self._connections.get(command.connection)
        if connection is None:
            return
        data = command.data
        if not connection.sendable:
            refuse_send(connection.number, closing=connection.closing)
        elif isinstance(data, bytes):
            connection.write(data)
        else:
            connection.send_pieces(data)

    def take_over(self, listener: str, accepted: socket.socket, host: str, port: int) -> None:
        """Begin to make a connection of an accepted socket. Next: ``opened``."""
        owner = self._handshakes.of_listener(listener) or self
        self.begin(self._make(self._loop.connect_accepted_socket, owner, listener, 0, accepted))

    async def _adopt(self, number: int, connected: socket.socket, secure: "SecureConnection | None") -> None:
        await self._make(self._loop.create_connection, secure or self, "", number, connected)

    async def _make(
        self,
        open_transport: Callable[..., Coroutine[Any, Any, object]],
        owner: "AsyncioDriver | SecureConnection",
        listener: str,
        number: int,
        sock: socket.socket,
    ) -> None:
        try:
            await open_transport(partial(self._connection_type, owner, listener, number), sock=sock)
        except OSError as error:  # the peer was gone before the loop had looked at it
            sock.close()
            if owner is self:
                self.connect_failed(number, error)
            else:
                owner.lost(number, error)

    def opened(self, connection: Connection) -> None:
        """Announce a connection whose transport is there."""
        if connection.listener:
            self.accepted(connection, connection.listener, *connection.address)
        else:
            self.connected(connection, *connection.address)

    # --- waiting ---

    def _watch(self, listener: WatchedSocket) -> None:
        self._loop.add_reader(listener.socket, listener.ready, selectors.EVENT_READ)

    def _unwatch(self, listener: WatchedSocket) -> None:
        self._loop.remove_reader(listener.socket)

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one of the rare things that wait."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.end(error)

    async def _within(self, timeout_s: float, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await work
        except TimeoutError as error:
            raise sockets.timed_out(timeout_s) if limit.expired() else error from None

    async def sleep(self, duration_s: float) -> None:
        """Wait for ``duration_s`` seconds."""
        await asyncio.sleep(duration_s)

    async def _look_up_name(self, host: str, port: int) -> list[sockets.SocketAddress]:
        return await self._resolver.lookup(host, port)

    async def _dial(self, addresses: list[sockets.SocketAddress]) -> socket.socket:
        return await connect(addresses)
