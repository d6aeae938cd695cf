"""As many requests as the node can serve, from more clients than it can serve at once."""

import asyncio
import math
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import uvloop

from benchmarks.fair.children import Got, Job, name_of
from benchmarks.fair.honest import RETRY_AFTER, request_bytes
from benchmarks.fair.row import MS, Limits, Stage, row
from benchmarks.fair.site import Setup
from benchmarks.fair.wire import attacker_socket

CONNECT_LIMIT_S = 2.0
"""After this, what is served is counted; clients that are not connected yet go on trying."""

REFUSED_PAUSE_S = 0.1
"""The pause of a client after a 503 without Retry-After."""
MAX_RETRY_AFTER_S = 1.0

CALM_S = 0.5

READ_BYTES = 65_536
SO_TIMESTAMPNS: Final = 35
"""Linux tells with ``recvmsg`` when it got the bytes; Python has no name for the option."""
TIMESPEC: Final = struct.Struct("qq")
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(TIMESPEC.size)

FEW = 100
ROUNDS = 2
"""Few and many clients take turns, and the best round of each counts: other work of the machine can only slow them."""


class Client:
    """Sends a request when the last one was answered.

    How long a refusal took is counted from its ``send`` to the moment at which the kernel got the answer. Two thousand
    clients share one niced process, which reads an answer up to 0.1 s later: that delay is not the node's.
    """

    def __init__(self, job: Job, request: bytes, connection: socket.socket) -> None:
        """``connection`` is connected."""
        self._job = job
        self._request = request
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._head = b""
        self._loop.add_reader(connection, self._read)
        self._send()

    def close(self) -> None:
        """End the connection."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _send(self) -> None:
        if self._socket.fileno() >= 0:
            self._began_at = time.time()
            try:
                self._socket.send(self._request)
            except OSError as error:
                self._lost(name_of(error))

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(name_of(error))
            return
        if not data:
            self._lost("closed")
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(rest) < length:
            return
        self._head = b""
        status = head[9:12].decode()
        self._job.got.counts[status] += 1
        if status == "200":
            self._send()
            return
        self._job.got.took(status, received_at(ancillary) - self._began_at)
        pause_s = MAX_RETRY_AFTER_S if RETRY_AFTER.search(head) else REFUSED_PAUSE_S
        self._loop.call_later(pause_s, self._send)

    def _lost(self, how: str) -> None:
        if not self._job.stopped():
            self._job.got.counts[how] += 1
        self.close()


def received_at(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Return when the kernel got what ``recvmsg`` returned, as ``time.time`` counts."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESPEC.unpack(data[: TIMESPEC.size])
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def saturate(job: Job, connections: int, port: int, request: bytes) -> None:
    """Have ``connections`` clients send one request after the other."""
    uvloop.run(_saturate(job, connections, port, request))


async def _open(job: Job, port: int, request: bytes) -> Client:
    connection = attacker_socket()
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    except BaseException:
        connection.close()
        raise
    return Client(job, request, connection)


async def _saturate(job: Job, connections: int, port: int, request: bytes) -> None:
    opening = [asyncio.ensure_future(_open(job, port, request)) for _ in range(connections)]
    _, late = await asyncio.wait(opening, timeout=CONNECT_LIMIT_S)
    served, began_at, began_s = job.got.counts["200"], time.monotonic(), time.process_time()
    await asyncio.to_thread(job.wait)
    count = max(job.got.counts["200"] - served, 1)
    job.got.times_s["per request"] = [(time.monotonic() - began_at) / count]
    job.got.times_s["CPU per request"] = [(time.process_time() - began_s) / count]
    for each in late:
        each.cancel()
    results = await asyncio.gather(*opening, return_exceptions=True)
    clients = [each for each in results if isinstance(each, Client)]
    if len(clients) < connections:
        job.got.counts["not connected"] += connections - len(clients)
    for client in clients:
        client.close()


@dataclass(frozen=True)
class Goodput:
    """The requests served ``per_s``, and what one took of the CPU, by kind of process."""

    per_s: float
    cpu_us: Mapping[str, float]

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {time_us:.0f}" for kind, time_us in self.cpu_us.items())
        return f"{self.per_s:.0f} a second, {sum(self.cpu_us.values()):.0f} us of CPU each ({parts})"


def goodput(stage: Stage, connections: int) -> tuple[Goodput, Got]:
    """Return how so many clients are served, once they are connected, and what they got."""
    began_s = stage.site.cpu_s()
    stage.attack(saturate, connections, stage.entry.ports["proxy"], request_bytes("same"))
    stage.hold()
    used_s = {kind: total_s - began_s[kind] for kind, total_s in stage.site.cpu_s().items()}
    got = stage.finish()
    stage.hold(CALM_S)
    count = max(got.counts["200"], 1)
    cpu_us = {kind: time_s / count * 1e6 for kind, time_s in used_s.items()}
    cpu_us["clients"] = got.times_s.get("CPU per request", [0.0])[0] * 1e6
    return Goodput(1 / got.times_s.get("per request", [math.inf])[0], cpu_us), got


def compare(stage: Stage, many: int) -> Got:
    """Require that ``many`` clients are served at nearly the rate of 100; return what they got."""
    few, manys, got = [], [], Got()
    for _ in range(ROUNDS):
        few.append(goodput(stage, FEW)[0])
        served, more = goodput(stage, many)
        manys.append(served)
        got.add(more)
    best_few, best_many = (max(rounds, key=lambda each: each.per_s) for rounds in (few, manys))
    stage.notes += [f"c={FEW}: {best_few}", f"c={many}: {best_many}"]
    text = f"requests served at c={many}, of the {best_few.per_s:.0f} a second at c={FEW}"
    stage.require(text, best_many.per_s / max(best_few.per_s, 1.0), at_least=0.8)
    return got


@row("300 requests at once for one agent: at least 0.8 of the requests a second of 100 at once")
def pool(stage: Stage) -> None:
    compare(stage, 300)


SATURATED = "2,000 clients that never pause: at least 80 % of the goodput of 100, refusals are 503 within 100 ms"
SATURATION = Limits(memory_mib=192, retry_after=True)


def _saturation(stage: Stage) -> None:
    got = compare(stage, 2_000)
    answers = [status for status in got.counts if status.isdigit()]
    wrong = sum(got.counts[status] for status in answers if status not in ("200", "503"))
    stage.require("answers that are neither 200 nor 503", wrong, at_most=0)
    refused_s = sorted(got.times_s.get("503", []))
    if refused_s:
        stage.require("p99 of refusals", refused_s[int(len(refused_s) * 0.99)] * 1e3, at_most=100, unit=MS)


@row(f"{SATURATED}, one agent", SATURATION)
def saturation(stage: Stage) -> None:
    _saturation(stage)


@row(f"{SATURATED}, three agents", SATURATION, Setup(agents=3))
def saturation_of_three(stage: Stage) -> None:
    _saturation(stage)
