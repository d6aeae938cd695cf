"""A registered endpoint in the hands of the program: its state, its events, and its streams."""

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from pico_core.program import (
    CallBegins,
    ListenerClosed,
    ListenerLost,
    ListenerRefused,
    ListenerRegistered,
    ListenerUnreachable,
    StreamTaken,
)
from pico_driver.embedding.connection import ProgramConnection
from pico_driver.embedding.errors import ClosedError, RefusedError, UnreachableError
from pico_driver.embedding.hub import Hub
from pico_driver.embedding.runtime import Event, Latch
from pico_driver.embedding.stream import Stream

MAX_EVENTS = 100
"""Events that are kept for a reader; the oldest ones are dropped first."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The endpoint is registered: clients reach it at ``url``, through ``node``; empty where that is not told."""

    url: str
    node: str


@dataclass(frozen=True, slots=True)
class Moved:
    """Another tunnel has taken over, without a gap; ``url`` and ``node`` are as in ``Registered``."""

    url: str
    node: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The endpoint has no tunnel; the client tries again by itself until ``Registered`` comes."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refuses the endpoint for good; the last event. ``status`` is that of its answer."""

    status: int
    reason: str


ListenerEvent: TypeAlias = Registered | Moved | Lost | Refused


class Listener:
    """An endpoint that is registered while its block runs. ``Client`` makes it.

    ``url`` and ``node`` are what the server told last. ``events()`` tells what becomes of the endpoint.
    """

    __slots__ = (
        "__weakref__", "_error", "_events", "_news", "endpoint", "hub", "is_registered", "node", "number", "over",
        "settled", "url",
    )  # fmt: skip

    def __init__(self, hub: Hub, endpoint: str) -> None:
        self.endpoint = endpoint
        self.url = ""
        self.node = ""
        self.is_registered = False
        self.number = hub.add(self)
        self.settled = Latch(hub.runtime)
        self.over = Latch(hub.runtime)
        """Set when the listener is over, whichever side ended it."""
        self.hub = hub
        self._error: Exception | None = None
        self._events: list[ListenerEvent] = []
        self._news: Event | None = None

    def __repr__(self) -> str:
        state = "over" if self.over.is_set() else "registered" if self.is_registered else "not registered"
        return f"<{type(self).__name__} {self.endpoint!r} {self.url or 'without a URL'}, {state}>"

    def events(self) -> "ListenerEvents":
        """Return an iterator of what has become of the endpoint and becomes of it, until the listener is over."""
        return ListenerEvents(self)

    async def next_event(self) -> ListenerEvent | None:
        """Return the next event, or ``None`` when the listener is over. At most 100 wait; the oldest are dropped."""
        while not self._events:
            if self.over.is_set():
                return None
            if self._news is None:
                self._news = self.hub.runtime.event()
            await self._news.wait()
        return self._events.pop(0)

    async def registered(self) -> None:
        """Wait until the endpoint is registered. Raises what says that it cannot be."""
        await self.settled.wait()
        if not self.is_registered and self._error is not None:
            raise self._error

    # --- what the hub reports ---

    def on_listener(
        self, event: ListenerRegistered | ListenerLost | ListenerUnreachable | ListenerRefused | ListenerClosed
    ) -> None:
        """Note what became of the endpoint, and wake the tasks that wait for it."""
        if isinstance(event, ListenerRegistered):
            self.url, self.node = event.url, event.node
            self.is_registered = True
            self._tell((Moved if event.moved else Registered)(event.url, event.node))
        elif isinstance(event, ListenerLost):
            self.is_registered = False
            self._tell(Lost(event.reason))
            return
        elif isinstance(event, ListenerUnreachable):
            self._error = UnreachableError(self.endpoint, event.reason)
        elif isinstance(event, ListenerRefused):
            self._error = RefusedError(self.endpoint, event.status, event.reason)
            self._tell(Refused(event.status, event.reason))
            self._end()
        else:
            self._error = self._error or ClosedError("the listener is closed")
            self._end()
        self.settled.set()

    def on_hub_closed(self) -> None:
        """End: the client has ended."""
        self._error = self._error or ClosedError("the client has ended")
        self._end()
        self.settled.set()

    def on_offer(self) -> ProgramConnection | None:
        """Take no stream: ``StreamListener`` does."""
        return None

    def on_call(self, event: CallBegins) -> None:
        """Take no call: ``AppListener`` does."""

    def _tell(self, event: ListenerEvent) -> None:
        self._events.append(event)
        del self._events[:-MAX_EVENTS]
        self._wake()

    def _end(self) -> None:
        self.is_registered = False
        self.over.set()
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.set()


class ListenerEvents:
    """An async iterator of the events of one listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __aiter__(self) -> "ListenerEvents":
        return self

    async def __anext__(self) -> ListenerEvent:
        event = await self._listener.next_event()
        if event is None:
            raise StopAsyncIteration
        return event


class StreamListener(Listener):
    """A listener whose streams the program takes: ``async for stream in listener``, or ``accept()``.

    A stream that is not taken within the listener's ``timeout_s`` is reset, so that its client sees it.
    """

    __slots__ = ("_offered", "_waiting")

    def __init__(self, hub: Hub, endpoint: str) -> None:
        super().__init__(hub, endpoint)
        self._waiting: deque[Stream] = deque()
        self._offered: Event | None = None

    async def accept(self) -> Stream:
        """Return the next stream. Raises ``RefusedError`` or ``ClosedError`` when the listener is over."""
        while True:
            while self._waiting:
                stream = self._waiting.popleft()
                if not stream.connection.broken:
                    self.hub.announce(StreamTaken(stream.connection.number))
                    await self.hub.runtime.checkpoint()
                    return stream
            if self.over.is_set():
                raise self._error or ClosedError("the listener is closed")
            if self._offered is None:
                self._offered = self.hub.runtime.event()
            await self._offered.wait()

    def __aiter__(self) -> "StreamListener":
        return self

    async def __anext__(self) -> Stream:
        try:
            return await self.accept()
        except ClosedError:
            raise StopAsyncIteration from None

    def on_offer(self) -> ProgramConnection:
        """Keep the stream until the program takes it; the machine bounds how many wait, and for how long."""
        stream = Stream(self.hub, self.endpoint)
        self._waiting.append(stream)
        self._wake()
        return stream.connection

    def _wake(self) -> None:
        super()._wake()
        offered, self._offered = self._offered, None
        if offered is not None:
            offered.set()
