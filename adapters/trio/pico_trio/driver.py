"""The trio driver: one task for every socket.

The task waits until the selector that all sockets are registered with is readable (an epoll or kqueue descriptor can
itself be waited for), lets each ready socket do its calls and hand its inputs over, and then takes the turn. No event
makes a task or a cancel scope; lookups, outgoing connections and signals, being rare, have tasks, which take turns of
their own.
"""

import contextlib
import selectors
import signal
import socket
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

import trio

from pico_core.boundary import Exit, Machine, Send
from pico_core.records import Sink
from pico_driver import sockets
from pico_driver.attached import Attached
from pico_driver.driver import Driver, Result, WatchedSocket
from pico_driver.options import DriverOptions
from pico_driver.signals import SIGNALS
from pico_driver.threads import NoThreadError
from pico_trio.connection import Connection
from pico_trio.opening import connect

if TYPE_CHECKING:
    from pico_driver.tls import SecureConnection

_TURNS_AT_ONCE: Final = 16
"""Turns taken while sockets are ready before trio's other tasks get theirs: a wait costs 10 us, a look 1 us."""

_RECEIVED_PER_TURN_BYTES: Final = 1_048_576
"""The bytes that are received before the machine gets them: the rest waits in the kernel, in sockets that are ready."""


def run(
    machine: Machine,
    sink: Sink,
    *,
    hub: Attached | None = None,
    **options: Unpack[DriverOptions],
) -> Exit:
    """Run a machine under ``trio.run`` until it says ``Exit``, and return that record.

    Signals and the other arguments are as in ``drive``. Raises what ``drive`` raises. Next: end the process with
    ``exit.code``.
    """
    return trio.run(partial(drive, machine, sink, signals=True, hub=hub, **options))


async def drive(
    machine: Machine,
    sink: Sink,
    *,
    signals: bool = False,
    hub: Attached | None = None,
    **options: Unpack[DriverOptions],
) -> Exit:
    """Run a machine inside a running trio program until it says ``Exit``, and return that record.

    The arguments and the end are those of ``pico_asyncio.drive``. The first input is a ``Tick``. When this returns,
    raises or is cancelled, everything is closed, and what was sent leaves as far as that needs no waiting. With
    ``signals`` (main thread only) SIGTERM, SIGINT and SIGQUIT become ``ShutdownRequested``, and SIGHUP, SIGUSR1 and
    SIGUSR2 ``SignalReceived``. ``hub`` takes what the machine says to the embedding program, and ``options`` are
    ``DriverOptions``.

    Raises whatever the machine or the sink raised: that is a bug, and ends the driver, not just one connection.
    """
    async with trio.open_nursery() as nursery:
        driver = TrioDriver(nursery, machine, sink, options)
        inbox = options.get("inbox")
        try:
            if signals:
                await nursery.start(driver.watch_signals)
            if inbox is not None:
                driver.open_inbox(inbox, trio.lowlevel.current_trio_token().run_sync_soon)
            if hub is not None:
                hub.attach(driver)
            await driver.serve()
        finally:
            if hub is not None:
                hub.detach(driver.outcome)
            driver.stop()
            nursery.cancel_scope.cancel()
    return driver.result()


class TrioDriver(Driver[Connection]):
    """One machine in one nursery. Next: ``serve``, ``stop``, ``result``."""

    def __init__(
        self,
        nursery: trio.Nursery,
        machine: Machine,
        sink: Sink,
        options: DriverOptions,
    ) -> None:
        super().__init__(machine, sink, trio.current_time, options)
        self.selector = selectors.DefaultSelector()
        self._nursery = nursery
        self._first = 0
        self._lookups = trio.CapacityLimiter(sockets.LOOKUPS_AT_ONCE)
        self._wait = trio.CancelScope()

    # --- turns ---

    async def serve(self) -> None:
        """Hold the conversation until it has an outcome. Next: ``stop``."""
        self._handshakes.watch_files()
        while self.outcome is None:
            with trio.CancelScope() as self._wait:
                self.tick()
                await self._turns()

    async def _turns(self) -> None:
        """Take turns until the conversation has ended, or the timer cancels the scope around this call."""
        selector = self.selector
        while self.outcome is None:
            await trio.lowlevel.wait_readable(selector.fileno())
            for _ in range(_TURNS_AT_ONCE):
                ready = selector.select(0)
                if not ready or self.outcome is not None:
                    break
                self._receive(ready)
                self.take_turn()
                if self.crowded:  # a task of its own has peers to take over
                    break

    def _receive(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Take the bytes that the sockets bring, up to a bound in one turn."""
        first, self._first = min(self._first, len(ready)), 0
        self.turn_bytes = 0
        for number, (key, events) in enumerate(ready[first:] + ready[:first], first + 1):
            key.data.ready(events)
            if self.turn_bytes >= _RECEIVED_PER_TURN_BYTES:
                self._first = number % len(ready)  # the selector names all of them again: begin with those left out
                break

    def _set_timer(self, at: float) -> None:
        self._wait.deadline = at

    def _wake(self) -> None:
        self._wait.cancel()

    async def watch_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell the machine of signals."""
        with trio.open_signal_receiver(*SIGNALS) as received:
            task_status.started()
            async for number in received:
                self.announce(self.signalled(signal.Signals(number)))

    def stop(self) -> None:
        """Close everything; the machine gets no input for that."""
        self.close()
        for connection in list(self._connections.values()):
            if connection.unsent:
                connection.flush()
            if connection.unsent:
                connection.reset()  # so that the peer can tell that its stream was cut
            else:
                connection.close()
        self.selector.close()

    # --- connections ---

    def _send(self, command: Send) -> None:
        connection = self._connections.get(command.connection)
        if connection is not None:
            connection.send(command.data)

    def take_over(self, listener: str, accepted: socket.socket, host: str, port: int) -> None:
        """Make a connection of an accepted socket."""
        secure = self._handshakes.of_listener(listener)
        if secure is None:
            self.accepted(Connection(self, self.selector, 0, accepted), listener, host, port)
        else:
            secure.attach(Connection(secure, self.selector, 0, accepted), host, port)

    async def _adopt(self, number: int, connected: socket.socket, secure: "SecureConnection | None") -> None:
        address = sockets.peer(connected)
        if secure is None:
            self.connected(Connection(self, self.selector, number, connected), *address)
        else:
            secure.attach(Connection(secure, self.selector, number, connected), *address)

    # --- waiting ---

    def _watch(self, listener: WatchedSocket) -> None:
        self.selector.register(listener.socket, selectors.EVENT_READ, listener)

    def _unwatch(self, listener: WatchedSocket) -> None:
        with contextlib.suppress(KeyError):  # while it rests it is not registered
            self.selector.unregister(listener.socket)

    def begin(self, work: Coroutine[Any, Any, None]) -> trio.CancelScope:
        """Start one of the rare things that wait."""
        scope = trio.CancelScope()
        self._nursery.start_soon(self._work, scope, work)
        return scope

    async def _work(self, scope: trio.CancelScope, work: Coroutine[Any, Any, None]) -> None:
        with scope:
            await work

    async def _within(self, timeout_s: float, work: Coroutine[Any, Any, Result]) -> Result:
        with trio.move_on_at(trio.current_time() + timeout_s):
            return await work
        raise sockets.timed_out(timeout_s)

    async def sleep(self, duration_s: float) -> None:
        """Wait for ``duration_s`` seconds."""
        await trio.sleep(duration_s)

    async def _look_up_name(self, host: str, port: int) -> list[sockets.SocketAddress]:
        look_up = partial(trio.to_thread.run_sync, abandon_on_cancel=True, limiter=self._lookups)
        try:
            return await look_up(sockets.lookup, host, port)
        except RuntimeError:  # which is how Python says that the system has no room for a thread
            raise NoThreadError from None

    async def _dial(self, addresses: list[sockets.SocketAddress]) -> socket.socket:
        return await connect(addresses)
