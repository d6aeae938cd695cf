"""One asyncio loop in a thread of its own, for programs that have none, or whose own must not wait.

``shared()`` is the one of this process. It starts with its first use, and ends with the interpreter: what is open then
is left as at the end of its block. After a fork the child starts one of its own.
"""

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
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


class Background:
    """The loop and its thread. Next: ``call`` for one coroutine, ``held`` for a block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
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

        async def limited() -> Result:
            async with asyncio.timeout(timeout_s):
                return await work(*arguments)

        future = asyncio.run_coroutine_threadsafe(limited(), loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClosedError("the interpreter is ending") from None
        except BaseException:
            future.cancel()
            raise

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
        with self._lock:
            if self._closed:
                raise ClosedError("the interpreter is ending")
            if self._loop is None:
                started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
                self._thread = threading.Thread(target=self._work, args=(started,), name="pico", daemon=True)
                self._thread.start()
                self._loop = started.result()
                atexit.register(self.close)
            if self._thread is threading.current_thread():
                raise LocalProtocolError(
                    "this is the loop of pico_tunnel itself and must not wait; use pico_asyncio here"
                )
            return self._loop

    def close(self) -> None:
        """Leave every open block, the last one first, and end the thread. Waits for a bounded time."""
        with self._lock:
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

    def _work(self, started: "concurrent.futures.Future[asyncio.AbstractEventLoop]") -> None:
        with asyncio.Runner(loop_factory=_new_uvloop if find_spec("uvloop") else None) as runner:
            runner.run(self._run(started))

    async def _run(self, started: "concurrent.futures.Future[asyncio.AbstractEventLoop]") -> None:
        self._end = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
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
        self._entered: concurrent.futures.Future[Result] = concurrent.futures.Future()
        self._over: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when the task has ended, with the error that it raised, if it did."""

    def enter(self) -> Result:
        """Enter the manager. Raises what it raises, and ``ClosedError`` if the interpreter ends meanwhile."""
        # In a context of its own: an application must not take the variables of the thread that happens to serve it.
        self._loop.call_soon_threadsafe(self._begin, context=contextvars.Context())
        either: tuple[concurrent.futures.Future[Any], ...] = (self._entered, self._over)
        try:
            concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)
        except BaseException:
            self.leave(cut=True)
            raise
        if not self._entered.done():
            self._over.result()
            raise ClosedError("the interpreter is ending")
        return self._entered.result()

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
        self._over.result()

    def ask(self) -> None:
        """Have the task leave the manager. Next: ``wait``."""
        with suppress(RuntimeError):  # the loop was closed: the task has ended
            self._loop.call_soon_threadsafe(self._leaving.set)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until the task has ended, at most so long."""
        concurrent.futures.wait((self._over,), timeout_s)

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
            self._entered.set_result(value)
            await self._leaving.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(self)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._over.set_exception(error)
        else:
            self._over.set_result(None)


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
