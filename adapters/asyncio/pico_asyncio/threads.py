"""Threads for WSGI applications on an asyncio loop."""

import asyncio
import contextlib
import queue
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from pico_driver.threads import NoThreadError, start_thread

Result = TypeVar("Result")

Job: TypeAlias = "tuple[Callable[[], Any], asyncio.Future[Any]] | None"
"""The next call of a thread, and the future of its result; ``None`` ends the thread."""


class AsyncioThreads:
    """A ``Threads`` of asyncio. Its threads are daemons, so that a call that hangs does not keep the process.

    Python waits for the threads of ``concurrent.futures`` before it ends, and no thread can be cancelled.
    """

    def __init__(self, limit: int) -> None:
        """At most ``limit`` threads run at once; each is started when it is first needed."""
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(limit)
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._closed = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` in a thread, once one is free, and return its result, or raise what it raised.

        After a cancel the thread keeps its place until ``work`` has ended. Raises ``RuntimeError`` after ``close``, and
        in place of ``StopIteration``, which no future takes. Raises ``NoThreadError``.
        """
        await self._slots.acquire()
        if self._closed:
            raise RuntimeError("the threads have ended")
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._busy += 1
        if self._busy > self._threads:
            try:
                start_thread("pico-app", self._work)
            except NoThreadError:
                self._busy -= 1
                self._slots.release()
                raise
            self._threads += 1
        self._jobs.put((work, answer))
        return await answer

    def close(self) -> None:
        """Start no more work; threads end when they have done theirs."""
        if not self._closed:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, answer = job
            result: Any = None
            error: BaseException | None = None
            try:
                if not answer.cancelled():
                    result = work()
            except StopIteration as raised:  # which no future takes
                error = RuntimeError(f"the application raised {raised!r}")
            except BaseException as raised:  # noqa: BLE001 - it is raised where the work was asked for
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nothing waits for the answer
                self._loop.call_soon_threadsafe(self._settle, answer, result, error)
            del job, work, answer, result, error  # while it waits, a thread keeps nothing of a call

    def _settle(self, answer: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
        self._busy -= 1
        self._slots.release()
        if answer.cancelled():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)
