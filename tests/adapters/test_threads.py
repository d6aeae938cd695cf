"""A system without room for one more thread, or for one more descriptor, during a lookup: the machine runs on."""

import asyncio
import contextlib
import errno
import os
import resource
import threading
from collections.abc import Iterator

import pytest
from trio._core import _thread_cache

from pico_asyncio.threads import AsyncioThreads
from pico_core.boundary import Connect, ConnectFailed, Resolve, Resolved
from pico_driver.sockets import LOOKUPS_AT_ONCE, is_unknown_name, lookup
from pico_driver.threads import NoThreadError
from tests.adapters.stage import Stage

REASON = "no thread can be started"


@contextlib.contextmanager
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Starting a thread fails, as at the bound on tasks of a container."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(_thread_cache, "THREAD_CACHE", _thread_cache.ThreadCache())  # without idle threads
        patched.setattr(threading.Thread, "start", refuse)
        yield


def test_a_lookup_without_a_thread_fails_and_takes_no_place(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    last = LOOKUPS_AT_ONCE + 2
    with no_threads(monkeypatch):
        for query in range(1, last):
            stage.do(Resolve(query, "localhost", 5.0))
            assert stage.wait(Resolved, query=query) == Resolved(query, (), REASON)
        stage.do(Connect(2, "localhost", 80, 5.0))
        assert stage.wait(ConnectFailed, connection=2).reason == REASON
    stage.do(Resolve(last, "localhost", 5.0))
    assert stage.wait(Resolved, query=last).addresses


def test_work_without_a_thread_fails_and_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> str:
        threads = AsyncioThreads(1)
        with no_threads(monkeypatch):
            for _ in range(2):
                with pytest.raises(NoThreadError):
                    await threads.run(lambda: "never")
        done = await threads.run(lambda: "done")
        threads.close()
        return done

    assert asyncio.run(scenario()) == "done"


def test_a_lookup_without_a_descriptor_is_not_an_answer_about_the_name() -> None:
    """A resolver that can open neither a file nor a socket says that the name is unknown."""
    with contextlib.suppress(OSError):
        lookup("no-such-name.invalid", 80)  # loads what a first lookup loads
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    filling: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                filling.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError) as caught:
            lookup("no-such-name.invalid", 80)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in filling:
            os.close(each)
    assert caught.value.errno == errno.EMFILE
    assert not is_unknown_name(caught.value)
