"""The methods that a loop fills in for the SDK."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from pico_driver.handshakes import Cancellable

Result = TypeVar("Result")


class Event(Protocol):
    """A flag that tasks wait for, and that is set once: ``asyncio.Event`` or ``trio.Event``."""

    def set(self) -> object:
        """Let all tasks go on that wait."""

    def is_set(self) -> bool:
        """Return whether the flag is set."""

    async def wait(self) -> object:
        """Wait until the flag is set."""


class Threads(Protocol):
    """A bounded pool of threads."""

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` in a thread. After a cancel the thread runs on, and its result is dropped."""

    def close(self) -> None:
        """Start no more work."""


class Latch:
    """An ``Event`` that takes little memory while no task waits for it: each endpoint has several."""

    __slots__ = ("_is_set", "_runtime", "_waited_for")

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._is_set = False
        self._waited_for: Event | None = None

    def set(self) -> None:
        """Let all tasks go on that wait."""
        self._is_set = True
        waited_for, self._waited_for = self._waited_for, None
        if waited_for is not None:
            waited_for.set()

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    async def wait(self) -> None:
        """Wait until the flag is set."""
        if not self._is_set:
            if self._waited_for is None:
                self._waited_for = self._runtime.event()
            await self._waited_for.wait()


class Runtime(Protocol):
    """Tasks and events of one loop."""

    def is_running_here(self) -> bool:
        """Return whether the caller runs in this loop."""

    def event(self) -> Event:
        """Return an event of this loop that is not set."""

    async def wait(self, event: Latch, timeout_s: float) -> bool:
        """Wait until an event is set, at most so long; return whether it is."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> Cancellable:
        """Run ``work`` in a task of its own, which the client ends with itself. It must not raise."""

    async def checkpoint(self) -> None:
        """Let the driver take its turn, and others theirs."""

    def threads(self, limit: int) -> Threads:
        """Return a pool of at most ``limit`` threads."""

    def call(self, work: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
        """Await ``work(*arguments)`` on the loop, from one of its ``threads``, which waits for the result."""
