"""One asyncio loop in a thread of its own, for programs that have none, or whose own must not wait.

``shared()`` is the one of this process. It starts with its first use, and ends with the interpreter: what is open then
is left as at the end of its block. After a fork the child starts one of its own.
"""

import asyncio
import atexit
import contextvars
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from pico_core.errors import LocalProtocolError
from pico_driver.embedding.errors import ClosedError

Result = TypeVar("Result")

EXIT_GRACE_S = 5.0
"""How long the interpreter waits at its end for what is in flight."""

THREAD_END_S = 5.0
"""How long the interpreter waits for the thread itself; it is a daemon, so one that hangs does not keep the process."""


class Latch:
    """Opens once, and lets those that wait go on. Next: ``wait`` in any thread.

    A wait may end by an interrupt at any place. Futures and events of the standard library lock what the other thread
    needs: an interrupt between their lock and its release would stop the loop for good. Here nobody holds anything.
    """

    def __init__(self) -> None:
        self._waiting: list[queue.SimpleQueue[None]] = []
        self.is_open = False

    def set(self) -> None:
        """Open it."""
        self.is_open = True
        for each in self._waiting:
            each.put(None)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until it is open, at most so long."""
        mine: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting.append(mine)
        if not self.is_open:  # asked behind ``append``: ``set`` sees one or the other
            with suppress(queue.Empty):
                mine.get(timeout=timeout_s)


class Call(Generic[Result]):
    """A coroutine that a task of the loop runs. Next: ``begin`` in the thread, and ``result`` when it is ``over``."""

    def __init__(
        self, work: Callable[..., Awaitable[Result]], arguments: tuple[Any, ...], timeout_s: float | None
    ) -> None:
        self._work = work
        self._arguments = arguments
        self._timeout_s = timeout_s
        self._task: asyncio.Task[Result] | None = None
        self.over = Latch()

    def begin(self) -> None:
        """Start the task (in the thread)."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Nobody waits any more (in the thread)."""
        if self._task is not None:
            self._task.cancel()

    def result(self) -> Result:
        """Return what the coroutine returned. Raises what it raised, and ``ClosedError`` if the loop has ended it."""
        assert self._task is not None, "begun before it was over"
        if self._task.cancelled():
            raise ClosedError("the interpreter is ending")
        return self._task.result()

    def _ended(self, task: asyncio.Task[Result]) -> None:
        if not task.cancelled():
            task.exception()  # asyncio need not log it: who waits is told, and who was interrupted does not care
        self.over.set()

    async def _run(self) -> Result:
        async with asyncio.timeout(self._timeout_s):
            return await self._work(*self._arguments)


class Background:
    """The loop and its thread. Next: ``call`` for one coroutine, ``held`` for a block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.AbstractEventLoop | None = None
        """Set by the thread, before ``_started``."""
        self._started = Latch()
        self._end: asyncio.Event | None = None
        self._closed = False
        self._blocks: dict[Block[Any], None] = {}
        """Those that are open, in the order in which they were entered."""

    def call(self, work: Callable[..., Awaitable[Result]], *arguments: Any, timeout_s: float | None = None) -> Result:
        """Await ``work(*arguments)`` on the loop, and return what it returns.

        Raises what it raises, ``TimeoutError`` after ``timeout_s``, and ``ClosedError`` when the loop ends meanwhile.
        An interrupt of the thread that waits cancels the work.
        """
        loop = self.loop()
        call = Call(work, arguments, timeout_s)
        loop.call_soon_threadsafe(call.begin)
        try:
            call.over.wait(None)
        except BaseException:
            loop.call_soon_threadsafe(call.cancel)
            raise
        return call.result()

    @contextmanager
    def held(self, manager: AbstractAsyncContextManager[Result]) -> Iterator[Result]:
        """Run a block inside an async context manager, which the loop enters and leaves.

        A block that raises cancels it, so that it is cut at once; so does an interrupt while it is entered or left.
        """
        block = Block(self, manager)
        value = block.enter()
        try:
            yield value
        except BaseException:
            block.leave(cut=True)
            raise
        block.leave()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, and start it where it does not run. Raises ``ClosedError`` at the interpreter's end."""
        if self._closed:
            raise ClosedError("the interpreter is ending")
        loop = self._loop or self._start()
        if self._thread is threading.current_thread():
            raise LocalProtocolError("this is the loop of pico_tunnel itself and must not wait; use pico_asyncio here")
        return loop

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # an interrupt came before it was started
                self._thread = threading.Thread(target=self._work, name="pico", daemon=True)
                self._thread.start()
            self._started.wait(None)
            if self._loop is None:
                self._loop = self._running
                atexit.register(self.close)
        assert self._loop is not None, "set by the thread"
        return self._loop

    def close(self) -> None:
        """Leave every open block, the last one first, and end the thread. Waits for a bounded time.

        A second call does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            loop, thread, end = self._loop, self._thread, self._end
        if loop is None or thread is None or end is None:
            return
        give_up_at = time.monotonic() + EXIT_GRACE_S
        for block in reversed(list(self._blocks)):
            block.ask()
            block.wait(max(0.0, give_up_at - time.monotonic()))
        loop.call_soon_threadsafe(end.set)
        thread.join(THREAD_END_S)

    # --- in the thread ---

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=_new_uvloop if find_spec("uvloop") else None) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._end = asyncio.Event()
        self._running = asyncio.get_running_loop()
        self._started.set()
        await self._end.wait()

    def add(self, block: "Block[Any]") -> None:
        """Leave this block at the interpreter's end, unless it is left before."""
        self._blocks[block] = None

    def discard(self, block: "Block[Any]") -> None:
        """Forget a block that is left."""
        self._blocks.pop(block, None)


class Block(Generic[Result]):
    """An async context manager that one task of the loop enters, holds and leaves. Next: ``enter``, then ``leave``."""

    def __init__(self, background: Background, manager: AbstractAsyncContextManager[Result]) -> None:
        self._background = background
        self._loop = background.loop()
        self._process = os.getpid()
        self._manager = manager
        self._task: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()
        self._value: list[Result] = []
        """What the manager gave, once it is entered."""
        self._entered = Latch()
        self._over = Latch()
        """Opens when the task has ended."""

    def enter(self) -> Result:
        """Enter the manager. Raises what it raises, and ``ClosedError`` if the interpreter ends meanwhile."""
        # In a context of its own: an application must not take the variables of the thread that happens to serve it.
        self._loop.call_soon_threadsafe(self._begin, context=contextvars.Context())
        try:
            self._entered.wait(None)
        except BaseException:
            self.leave(cut=True)
            raise
        if not self._value:
            self._raise_error()
            raise ClosedError("the interpreter is ending")
        return self._value[0]

    def leave(self, *, cut: bool = False) -> None:
        """Leave the manager, as by an error of the block if ``cut``. Raises what it raises.

        Does nothing twice, nor after a fork in the child, which has nothing of it.
        """
        if os.getpid() != self._process:
            return
        if cut:
            self._cut()
        else:
            self.ask()
        try:
            self.wait(None)
        except BaseException:
            self._cut()
            self.wait(THREAD_END_S)
            raise
        self._raise_error()

    def ask(self) -> None:
        """Have the task leave the manager. Next: ``wait``."""
        with suppress(RuntimeError):  # the loop was closed: the task has ended
            self._loop.call_soon_threadsafe(self._leaving.set)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until the task has ended, at most so long."""
        self._over.wait(timeout_s)

    def _raise_error(self) -> None:
        """Raise what the task raised, if it did."""
        if self._task is not None and not self._task.cancelled():
            self._task.result()

    def _cut(self) -> None:
        with suppress(RuntimeError):  # see above
            self._loop.call_soon_threadsafe(self._cancel)

    # --- in the thread ---

    def _begin(self) -> None:
        self._background.add(self)
        self._task = self._loop.create_task(self._hold())
        self._task.add_done_callback(self._ended)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _hold(self) -> None:
        async with self._manager as value:
            self._value.append(value)
            self._entered.set()
            await self._leaving.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(self)
        if not task.cancelled():
            task.exception()  # it is told where the block is left: asyncio need not log it
        self._entered.set()
        self._over.set()


def _new_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


_shared = Background()


def shared() -> Background:
    """Return the one of this process."""
    return _shared


def _forget() -> None:
    """Leave the parent's thread, which a fork does not copy, to the parent."""
    global _shared
    atexit.unregister(_shared.close)
    _shared = Background()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
