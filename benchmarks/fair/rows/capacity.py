"""As many requests as the node can serve, from more clients than it can serve at once."""

import asyncio
import math
import time
from typing import cast

import uvloop

from benchmarks.fair.children import Got, Job, name_of
from benchmarks.fair.honest import RETRY_AFTER, request_bytes
from benchmarks.fair.row import MS, Limits, Stage, row
from benchmarks.fair.site import Setup
from benchmarks.fair.wire import ATTACKER

CONNECT_LIMIT_S = 2.0
"""After this, what is served is counted; clients that are not connected yet go on trying."""

REFUSED_PAUSE_S = 0.1
"""The pause of a client after a 503 without Retry-After."""
MAX_RETRY_AFTER_S = 1.0

CALM_S = 0.5

FEW = 100
ROUNDS = 2
"""Few and many clients take turns, and the best round of each counts: other work of the machine can only slow them."""


class Client(asyncio.Protocol):
    """Sends a request when the last one was answered."""

    def __init__(self, job: Job, request: bytes) -> None:
        self._job = job
        self._request = request
        self._head = b""
        self._body_left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        if not self._transport.is_closing():
            self._began_at = time.monotonic()
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
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
        self._job.got.took(status, time.monotonic() - self._began_at)
        pause_s = MAX_RETRY_AFTER_S if RETRY_AFTER.search(head) else REFUSED_PAUSE_S
        asyncio.get_running_loop().call_later(pause_s, self._send)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._job.stopped():
            self._job.got.counts[name_of(error) if error else "closed"] += 1


def saturate(job: Job, connections: int, port: int, request: bytes) -> None:
    """Have ``connections`` clients send one request after the other."""
    uvloop.run(_saturate(job, connections, port, request))


async def _saturate(job: Job, connections: int, port: int, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    opening = [
        asyncio.ensure_future(
            loop.create_connection(lambda: Client(job, request), "127.0.0.1", port, local_addr=(ATTACKER, 0))
        )
        for _ in range(connections)
    ]
    _, late = await asyncio.wait(opening, timeout=CONNECT_LIMIT_S)
    served, began_at = job.got.counts["200"], time.monotonic()
    await asyncio.to_thread(job.wait)
    job.got.times_s["per request"] = [(time.monotonic() - began_at) / max(job.got.counts["200"] - served, 1)]
    for each in late:
        each.cancel()
    results = await asyncio.gather(*opening, return_exceptions=True)
    transports = [each[0] for each in results if not isinstance(each, BaseException)]
    if len(transports) < connections:
        job.got.counts["not connected"] += connections - len(transports)
    for transport in transports:
        transport.close()


def goodput(stage: Stage, connections: int) -> tuple[float, Got]:
    """Return requests served a second, once so many clients are connected, and what they got."""
    stage.attack(saturate, connections, stage.entry.ports["proxy"], request_bytes("same"))
    stage.hold()
    got = stage.finish()
    stage.hold(CALM_S)
    return 1 / got.times_s.get("per request", [math.inf])[0], got


def compare(stage: Stage, many: int) -> Got:
    """Require that ``many`` clients are served at nearly the rate of 100; return what they got."""
    best_few, best_many, got = 0.0, 0.0, Got()
    for _ in range(ROUNDS):
        best_few = max(best_few, goodput(stage, FEW)[0])
        rate, more = goodput(stage, many)
        best_many = max(best_many, rate)
        got.add(more)
    stage.got.counts[f"a second at c={FEW}"] = round(best_few)
    stage.got.counts[f"a second at c={many}"] = round(best_many)
    text = f"requests served at c={many}, of the {best_few:.0f} a second at c={FEW}"
    stage.require(text, best_many / max(best_few, 1.0), at_least=0.8)
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
