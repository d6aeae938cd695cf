"""Streams that the tests of logs write to."""

import contextlib
import os
from collections.abc import Iterator


class Stream:
    """Takes at most ``chunk`` bytes a call, after the answers in ``script`` are used up."""

    def __init__(self, chunk: int = 1 << 20, script: list[int | OSError | None] | None = None) -> None:
        self.taken = b""
        self.calls = 0
        self._chunk = chunk
        self._script = script or []

    def write(self, data: memoryview, /) -> int | None:
        self.calls += 1
        answer = self._script.pop(0) if self._script else min(len(data), self._chunk)
        if isinstance(answer, OSError):
            raise answer
        self.taken += data[: answer or 0]
        return answer


@contextlib.contextmanager
def stuck_pipe() -> Iterator[tuple[int, int]]:
    """A full pipe: its reading and its writing end. A process that inherits it waits at its first write."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"\n")
    os.set_blocking(writing, True)
    try:
        yield reading, writing
    finally:
        for end in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(end)
