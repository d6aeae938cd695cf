"""Load generators in processes of their own, and what each got.

A work is a function ``work(job, ...)`` that runs until ``job.stopped()`` and counts in ``job.got``.
"""

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

ATTACKER_NICENESS = 10
"""What is measured is how a node divides its time, not how the kernel divides that of the machine: where both want the
same core, the node and the honest clients come first."""

PATIENCE_S = 20.0
"""How long a child may take to end after it was told to."""

_fork = multiprocessing.get_context("fork")


@dataclass
class Got:
    """The results of a load generator: answers by status, ends by kind, times in seconds by name, other samples."""

    counts: Counter[str] = field(default_factory=Counter)
    times_s: dict[str, list[float]] = field(default_factory=dict)
    samples: list[Any] = field(default_factory=list)

    def took(self, name: str, time_s: float) -> None:
        self.times_s.setdefault(name, []).append(time_s)

    def add(self, other: "Got") -> None:
        self.counts.update(other.counts)
        self.samples += other.samples
        for name, times in other.times_s.items():
            self.times_s.setdefault(name, []).extend(times)


class Job:
    """The inputs and results of a work."""

    def __init__(self, stopping: Event) -> None:
        self.got = Got()
        self._stopping = stopping

    def stopped(self) -> bool:
        return self._stopping.is_set()

    def wait(self, time_s: float | None = None) -> bool:
        """Wait, to the end of the job if no time is given; return whether it is over."""
        return self._stopping.wait(time_s)


class Child:
    """A work in a process of its own. Next: ``stop``."""

    def __init__(self, work: Callable[..., None], *arguments: object, niceness: int = ATTACKER_NICENESS) -> None:
        self._stopping = _fork.Event()
        self._results, results = _fork.Pipe(duplex=False)
        self._process = _fork.Process(target=_run, args=(work, arguments, niceness, self._stopping, results))
        self._process.start()
        results.close()

    @property
    def done(self) -> bool:
        """Whether it ended by itself."""
        return self._results.poll()

    def ask_to_stop(self) -> None:
        self._stopping.set()

    def stop(self) -> Got:
        """End it and return what it got. A child that does not end in time is killed; that is counted."""
        self.ask_to_stop()
        try:
            got: Got = self._results.recv() if self._results.poll(PATIENCE_S) else Got(Counter({"load stuck": 1}))
        except EOFError:
            got = Got(Counter({"load died": 1}))
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return got


def _run(
    work: Callable[..., None], arguments: tuple[object, ...], niceness: int, stopping: Event, results: Connection
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(niceness)
    job = Job(stopping)
    try:
        work(job, *arguments)
    except OSError as error:
        job.got.counts[name_of(error)] += 1
    sys.stdout.flush()
    results.send(job.got)
    results.close()


def name_of(error: Exception) -> str:
    """Return how an end of a connection is counted."""
    names: dict[type[Exception], str] = {
        ConnectionResetError: "reset",
        BrokenPipeError: "reset",
        ConnectionRefusedError: "connection refused",
        EOFError: "closed",
        TimeoutError: "timeout",
    }
    for kind, name in names.items():
        if isinstance(error, kind):
            return name
    return type(error).__name__
