"""Lines to a stream that may not take them: a pipe that is not read, a stopped terminal, a slow disk.

A write to such a stream waits, so a thread does it, which may wait for as long as it has to. What the thread has not
written yet is bounded: lines above the bound are dropped and counted, until all that waits is written. Then one line
says how many are missing, in their place. The descriptor is not made non-blocking: the streams of a process are often
shared with other processes, and the flag would be theirs too.
"""

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable
from enum import Enum
from queue import SimpleQueue
from typing import Final, Protocol, TextIO, TypeAlias

from pico_driver.threads import NoThreadError, start_thread

MAX_WAITING_BYTES: Final = 1 << 20
"""Of lines that wait for one stream: some 5,000, a second of a busy node's access log."""

GATHER_S: Final = 0.01
"""How long lines gather after a write, so that the thread seldom takes the interpreter from the loop."""

LAST_WRITES_S: Final = 1.0
"""How long the end of a process waits until its streams have taken the last lines."""


class RawStream(Protocol):
    """An unbuffered binary stream: ``write`` returns how much it took, ``None`` when it would block."""

    def write(self, data: memoryview, /) -> int | None:
        """Write what fits. Raises ``OSError``."""


Batch: TypeAlias = tuple[bytes, int]
"""Lines, each ending in a newline, and how many they are."""


class _Mark(Enum):
    """The marks in the queue between the lines."""

    GAP = "lines are missing here"
    END = "no line follows"


class OutputWriter:
    """The lines of one stream, written in their order by a thread. Without a stream they are dropped uncounted.

    ``describe_gap`` makes the line that stands for a number of dropped ones. Next: ``write``, and in the end ``close``.
    """

    def __init__(
        self, stream: RawStream | None, max_waiting_bytes: int = MAX_WAITING_BYTES, at_once_bytes: int = 0
    ) -> None:
        """With ``at_once_bytes``, lines that are longer together are written in several calls, each of whole lines."""
        self._at_once_bytes = at_once_bytes
        self.describe_gap: Callable[[int], bytes] = lambda _lines: b""
        self._stream = stream
        self._max_waiting_bytes = max_waiting_bytes
        self._queue: SimpleQueue[Batch | _Mark] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        # Each number is changed by one of the two threads only, so that none of them needs a lock.
        self._put_bytes = 0
        self._refused = 0
        self._full = False
        self._done_bytes = 0
        self._failed = 0
        self._refused_and_told = 0
        self._missing = 0
        self._in_line = False

    @property
    def dropped(self) -> int:
        """How many lines were dropped: because too many waited, or because the stream failed."""
        return self._refused + self._failed

    def write(self, batch: bytes, lines: int) -> None:
        """Have ``lines`` lines written, each ending in a newline; returns at once."""
        if self._stream is None:
            return
        waiting_bytes = self._put_bytes - self._done_bytes
        if self._full:
            self._refused += lines
        elif waiting_bytes and waiting_bytes + len(batch) > self._max_waiting_bytes:
            self._full = True
            self._refused += lines
            self._queue.put(_Mark.GAP)
        else:
            self._put_bytes += len(batch)
            self._queue.put((batch, lines))
        if self._thread is None:
            with contextlib.suppress(NoThreadError):  # the next line tries again
                self._thread = start_thread("pico-log", self._work)

    def close(self, give_up_at: float) -> None:
        """Wait until everything is written, at most until ``give_up_at`` on the monotonic clock."""
        if self._thread is not None:
            self._closing.set()
            self._queue.put(_Mark.END)
            self._thread.join(max(give_up_at - time.monotonic(), 0.0))

    # --- the thread ---

    def _work(self) -> None:
        mark = None
        while mark is not _Mark.END:
            batches, mark = self._gather()
            self._pass_on(batches)
            if mark is _Mark.GAP:
                self._tell_gap()
            self._closing.wait(GATHER_S)

    def _gather(self) -> tuple[list[Batch], _Mark | None]:
        """Wait for lines, and return all that there are up to a mark."""
        batches: list[Batch] = []
        while True:
            item = self._queue.get()
            if isinstance(item, _Mark):
                return batches, item
            batches.append(item)
            if self._queue.empty():
                return batches, None

    def _pass_on(self, batches: list[Batch]) -> None:
        lines = b"".join([batch for batch, _ in batches])
        missing = self.describe_gap(self._missing) if self._missing else b""
        if self._write(missing + lines):
            self._missing = 0
        else:
            count = sum([count for _, count in batches])
            self._failed += count
            self._missing += count
        self._done_bytes += len(lines)

    def _tell_gap(self) -> None:
        """Say how many lines are missing here. Lines from now on are written behind that."""
        self._full = False
        refused = self._refused
        self._missing += refused - self._refused_and_told
        self._refused_and_told = refused
        self._pass_on([])

    def _write(self, data: bytes) -> bool:
        """Write lines, and say whether all were taken. A line that was cut off by an error before is ended first."""
        assert self._stream is not None, "there is no thread without a stream"
        rest = memoryview(b"\n" + data if self._in_line else data)
        try:
            while rest:
                taken = self._stream.write(self._piece(rest))
                if not taken:
                    return False
                self._in_line = rest[taken - 1] != ord("\n")
                rest = rest[taken:]
        except OSError:
            return False
        return True

    def _piece(self, rest: memoryview) -> memoryview:
        """Return the first bytes of ``rest`` that one call may write: whole lines where there is a limit."""
        if not 0 < self._at_once_bytes < len(rest):
            return rest
        lines = bytes(rest[: self._at_once_bytes]).rfind(b"\n") + 1
        return rest[: lines or self._at_once_bytes]


def standard_output(stream: TextIO | None, at_once_bytes: int = 0) -> OutputWriter:
    """Return the output for a standard stream of this process.

    It writes to the descriptor itself: a buffer would keep what failed and fail again when the process ends. ``None``
    means that the process was started with this stream closed: its descriptor may belong to another file by now.
    """
    if stream is None:
        return OutputWriter(None)
    try:
        return OutputWriter(io.FileIO(stream.fileno(), "w", closefd=False), at_once_bytes=at_once_bytes)
    except io.UnsupportedOperation:
        return OutputWriter(_TextStream(stream))


def are_the_same(one: TextIO | None, other: TextIO | None) -> bool:
    """Say whether two standard streams lead to the same place, as after ``2>&1``: one thread must write to both then.

    The lines of two threads would be mixed up: a pipe takes no more than 4 KiB in one piece.
    """
    if one is None or other is None:
        return False
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except io.UnsupportedOperation:
        return False


class _TextStream:
    """A standard stream without a descriptor: a program that runs the command within itself took its place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: memoryview, /) -> int:
        self._stream.write(bytes(data).decode())
        return len(data)
