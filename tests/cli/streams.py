"""Streams that the tests of logs write to."""


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
