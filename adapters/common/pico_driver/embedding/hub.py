"""The driver's side of an embedding program: takes the machine's commands to it; knows its listeners and streams."""

from collections.abc import Callable
from typing import Protocol

from pico_core.boundary import Connected, ConnectFailed, Exit, Input, ShutdownRequested
from pico_core.program import (
    CallBegins,
    CallBody,
    CallCancelled,
    CallDropped,
    CallEnded,
    CallMessage,
    CallPaused,
    CallResumed,
    DialFailed,
    DialOpened,
    ListenerClosed,
    ListenerLost,
    ListenerRefused,
    ListenerRegistered,
    ListenerUnreachable,
    NodeServes,
    OpenStream,
)
from pico_driver.attached import HostDriver
from pico_driver.embedding.connection import ProgramConnection
from pico_driver.embedding.errors import ClosedError
from pico_driver.embedding.runtime import Runtime

NOT_RUNNING = "the client is closed"


class ListenerUser(Protocol):
    """The program's side of a listener."""

    def on_listener(
        self, event: ListenerRegistered | ListenerLost | ListenerUnreachable | ListenerRefused | ListenerClosed
    ) -> None:
        """The endpoint is registered, lost, refused or closed, or the server cannot be reached."""

    def on_offer(self) -> ProgramConnection | None:
        """Return the connection of a stream that comes, or ``None`` for a listener without streams."""

    def on_call(self, event: CallBegins) -> None:
        """A request has come: call the application, in a task of its own."""

    def on_hub_closed(self) -> None:
        """The driver has ended."""


class CallUser(Protocol):
    """The program's side of one call of its application."""

    def on_call_event(
        self, event: CallBody | CallPaused | CallResumed | CallDropped | CallMessage | CallCancelled
    ) -> None:
        """The client has sent something, reads or pauses, or is gone, or the call is cancelled."""


class Hub:
    """The program's side of one driver: give it to ``drive``. Next: ``opened``, which is set when the driver runs."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.opened = runtime.event()
        self.closed = runtime.event()
        self.served = runtime.event()
        self.addresses: dict[str, str] = {}
        """Those of the ports of a node or of an inspector, once ``served`` is set."""
        self.outcome: Exit | BaseException | None = None
        self.calls: dict[int, CallUser] = {}
        self._driver: HostDriver | None = None
        self._listeners: dict[int, ListenerUser] = {}
        self._numbers = 0
        self._streams: dict[int, ProgramConnection] = {}
        self._dials: dict[int, Callable[[DialOpened | DialFailed], None]] = {}

    # --- for the driver ---

    def attach(self, driver: HostDriver) -> None:
        """Take the commands of ``driver``. Next: ``detach``."""
        self._driver = driver
        for kind in (ListenerRegistered, ListenerLost, ListenerUnreachable, ListenerRefused, ListenerClosed):
            driver.perform[kind] = self._listener_event
        for event in (CallBody, CallPaused, CallResumed, CallDropped, CallMessage, CallCancelled):
            driver.perform[event] = self._call_event
        driver.perform |= {
            OpenStream: self._offer,
            CallBegins: self._call,
            DialOpened: self._dialed,
            DialFailed: self._dialed,
            NodeServes: self._serves,
        }
        self.opened.set()

    def detach(self, outcome: Exit | BaseException | None) -> None:
        """Tell the program that the driver has ended, and how."""
        self.outcome = outcome
        for number, on_outcome in list(self._dials.items()):
            on_outcome(DialFailed(number, 0, "the client has ended"))
        for connection in list(self._streams.values()):
            connection.break_off("the client has ended")
        self._driver = None
        for call in list(self.calls.values()):
            call.on_call_event(CallCancelled(0))
        for listener in list(self._listeners.values()):
            listener.on_hub_closed()
        self.served.set()
        self.closed.set()

    # --- for the program ---

    @property
    def driver(self) -> HostDriver:
        """The driver. Raises ``ClosedError`` when it has ended."""
        if self._driver is None:
            raise ClosedError(NOT_RUNNING)
        return self._driver

    def add(self, listener: ListenerUser) -> int:
        """Return the number of a new listener. Next: ``announce(OpenListener(...))``, and in the end ``remove``."""
        self._numbers += 1
        self._listeners[self._numbers] = listener
        return self._numbers

    def remove(self, listener: int) -> None:
        """Forget a listener that is over."""
        self._listeners.pop(listener, None)

    def dial(
        self, connection: ProgramConnection, listener: str, on_outcome: Callable[[DialOpened | DialFailed], None]
    ) -> None:
        """Open a connection of the program to the machine, whose outcome ``on_outcome`` is told."""
        driver = self.driver
        driver.accepted(connection, listener, "", 0)
        self._streams[connection.number] = connection
        self._dials[connection.number] = on_outcome
        driver.announce()

    def shut_down(self) -> None:
        """Ask the machine to drain and end. Next: ``closed``."""
        if self._driver is not None:
            self._driver.announce(ShutdownRequested())

    # --- as the driver of the streams ---

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""
        if self._driver is not None:
            self._driver.hand_over(event)

    def announce(self, *events: Input) -> None:
        """Give the machine inputs that came outside of a turn."""
        if self._driver is not None:
            self._driver.announce(*events)

    def lost(self, number: int, error: Exception | None) -> None:
        """Forget a stream and tell the machine."""
        self._streams.pop(number, None)
        self._dials.pop(number, None)
        if self._driver is not None:
            self._driver.lost(number, error)

    # --- commands ---

    def _listener_event(
        self, event: ListenerRegistered | ListenerLost | ListenerUnreachable | ListenerRefused | ListenerClosed
    ) -> None:
        user = self._listeners.get(event.listener)
        if user is not None:
            user.on_listener(event)

    def _offer(self, event: OpenStream) -> None:
        user = self._listeners.get(event.listener)
        connection = None if user is None else user.on_offer()
        if connection is None:
            self.driver.hand_over(ConnectFailed(event.connection, "the program does not listen any more"))
            return
        connection.number = event.connection
        self._streams[event.connection] = connection
        self.driver.join(connection, Connected(event.connection, "", 0))

    def _dialed(self, event: DialOpened | DialFailed) -> None:
        on_outcome = self._dials.pop(event.connection, None)
        if on_outcome is not None:
            on_outcome(event)

    def _call(self, event: CallBegins) -> None:
        user = self._listeners.get(event.listener)
        if user is None:
            self.driver.hand_over(CallEnded(event.call, "the program does not serve it any more"))
        else:
            user.on_call(event)

    def _call_event(
        self, event: CallBody | CallPaused | CallResumed | CallDropped | CallMessage | CallCancelled
    ) -> None:
        call = self.calls.get(event.call)
        if call is not None:
            call.on_call_event(event)

    def _serves(self, event: NodeServes) -> None:
        self.addresses = dict(event.addresses)
        self.served.set()
