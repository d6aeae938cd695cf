"""Honest clients: a few requests a second, each with a time limit, sent at fixed times whatever happened to the others.

They run in one process that is not niced. Each lane is one kind of client; what a request became is a ``Sample``.
"""

import asyncio
import re
import time
from dataclasses import dataclass

from benchmarks.fair.children import Job, name_of

TIME_LIMIT_S = 3.0
"""An honest client gives up after this: the request has failed."""

LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]+)")
RETRY_AFTER = re.compile(rb"(?im)^retry-after:[ \t]*[0-9]")
CLOSE = re.compile(rb"(?im)^connection:[ \t]*close")

UNEXPLAINED = "503 without Retry-After"


@dataclass(frozen=True)
class Lane:
    """Clients of one kind: ``rate`` requests a second to one port."""

    name: str
    port: int
    request: bytes
    rate: float
    kept: bool
    """Whether connections are kept alive, or each request has its own."""


@dataclass(frozen=True)
class Sample:
    """One request: when it began, how long it took, and its status, or why it has none."""

    lane: str
    began_at: float
    took_s: float
    outcome: str


def request_bytes(endpoint: str, target: str = "/", method: str = "GET", fields: str = "") -> bytes:
    """Return the head of a request; ``fields`` are lines, each with its end."""
    return f"{method} {target} HTTP/1.1\r\nHost: fair.test\r\nx-pico-endpoint: {endpoint}\r\n{fields}\r\n".encode()


def run(job: Job, lanes: list[Lane]) -> None:
    """Send the requests of all lanes until the job is over; the samples are what it got."""
    asyncio.run(_run(job, lanes))


async def _run(job: Job, lanes: list[Lane]) -> None:
    async with asyncio.TaskGroup() as group:
        for number, lane in enumerate(lanes):
            group.create_task(_Clients(job, lane, number / len(lanes)).run())


class _Clients:
    def __init__(self, job: Job, lane: Lane, phase: float) -> None:
        self._job = job
        self._lane = lane
        self._phase = phase
        self._idle: list[_Connection] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + self._phase / self._lane.rate
        async with asyncio.TaskGroup() as group:
            while not self._job.stopped():
                await asyncio.sleep(at - loop.time())
                group.create_task(self._request())
                at += 1 / self._lane.rate
        for connection in self._idle:
            connection.close()

    async def _request(self) -> None:
        began_at = time.monotonic()
        try:
            outcome = await asyncio.wait_for(self._outcome(), TIME_LIMIT_S)
        except (OSError, EOFError) as error:
            outcome = name_of(error)
        except (ValueError, asyncio.LimitOverrunError):
            outcome = "not HTTP"
        self._job.got.samples.append(Sample(self._lane.name, began_at, time.monotonic() - began_at, outcome))

    async def _outcome(self) -> str:
        if self._idle:
            # A server may end an idle connection at any time. A client that sees this before the first byte of an
            # answer sends an idempotent request again on a new connection (RFC 9112 section 9.3.1).
            try:
                return await self._exchange(self._idle.pop())
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
            except ConnectionError:
                pass
        connection = _Connection()
        await connection.open(self._lane.port)
        return await self._exchange(connection)

    async def _exchange(self, connection: "_Connection") -> str:
        is_kept = False
        try:
            outcome, may_keep = await connection.exchange(self._lane.request)
            is_kept = may_keep and self._lane.kept
        finally:
            if not is_kept:
                connection.close()
        if is_kept:
            self._idle.append(connection)
        return outcome


class _Connection:
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter | None = None

    async def open(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)

    async def exchange(self, request: bytes) -> tuple[str, bool]:
        """Return the outcome, and whether the connection can carry another request."""
        assert self._writer is not None
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await self._reader.readexactly(int(length[1]) if length else 0)
        status = str(int(head[9:12]))
        if status == "503" and not RETRY_AFTER.search(head):
            status = UNEXPLAINED
        return status, not CLOSE.search(head)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
