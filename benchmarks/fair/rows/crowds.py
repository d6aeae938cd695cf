"""Many clients that are slow, or that keep what they have."""

import asyncio
import time
from functools import partial

from benchmarks.fair.children import Job, name_of
from benchmarks.fair.honest import request_bytes
from benchmarks.fair.row import KIB, MIB, Limits, Stage, row
from benchmarks.fair.site import Setup
from benchmarks.fair.wire import ARRIVALS_PER_S, UPGRADE, crowd, open_stream, read_status

UPLOADS = 1_030
"""A few more than one tunnel carries."""
BYTE_EVERY_S = 10.0
AGAIN_S = 0.5
"""After this an attacker that was refused tries to get a stream again."""

SLOW_READER_KIB = 96
"""Bytes that a client that does not read may cost a node, and the agent."""

FOREVER_S = 3_600.0


# --- all streams of a tunnel are taken by one address ---


async def hold_request(job: Job, *, port: int, request: bytes, drip: bytes) -> None:
    """Send a request, then a byte now and then; come again when it was answered."""
    while True:
        reader, writer = await open_stream(port)
        try:
            writer.write(request)
            await hold(job, reader, writer, drip)
        except (ConnectionError, EOFError) as error:
            job.got.counts[name_of(error)] += 1
        finally:
            writer.close()
        await asyncio.sleep(AGAIN_S)


async def hold(job: Job, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes) -> None:
    """Send a byte now and then until there is an answer, or for ever if that is an upgrade."""
    status = ""
    while status in ("", "101"):
        try:
            async with asyncio.timeout(BYTE_EVERY_S):
                status = await read_status(reader)
                job.got.counts[status] += 1
        except TimeoutError:
            writer.write(drip)


def hold_requests(job: Job, count: int, port: int, request: bytes, drip: bytes) -> None:
    crowd(job, count, partial(hold_request, port=port, request=request, drip=drip))


def _take_streams(stage: Stage, request: bytes, drip: bytes) -> None:
    stage.attack(hold_requests, UPLOADS, stage.entry.ports["proxy"], request, drip)
    hold_all(stage, UPLOADS)


def hold_all(stage: Stage, count: int) -> None:
    """Let time pass until so many clients have come, and then as long as a load lasts."""
    stage.hold(count / ARRIVALS_PER_S + stage.seconds)


SLOW = Limits(memory_mib=UPLOADS * SLOW_READER_KIB / KIB, retry_after=True)


@row("1,030 uploads of a byte every 10 s from one address: others are served or told 503 with Retry-After", SLOW)
def slow_uploads(stage: Stage) -> None:
    _take_streams(stage, request_bytes("same", "/", "POST", "Content-Length: 1000\r\n") + b"x", b"x")


@row("1,030 WebSockets from one address: others are served or told 503 with Retry-After", SLOW)
def slow_websockets(stage: Stage) -> None:
    _take_streams(stage, request_bytes("same", fields=UPGRADE), b"\x81\x81\x00\x00\x00\x00x")


@row("1,030 answers that take long, for one address: others are served or told 503 with Retry-After", SLOW)
def slow_answers(stage: Stage) -> None:
    _take_streams(stage, request_bytes("same", "/wait/25"), b"")


# --- downloads ---


async def download_slowly(job: Job, *, port: int, size: int, bytes_per_s: float) -> None:
    reader, writer = await open_stream(port, receive_buffer_bytes=65_536)
    try:
        writer.write(request_bytes("same", f"/bytes/{size}"))
        status = await read_status(reader)
        if status != "200":
            job.got.counts[status] += 1
            return
        began_at = time.monotonic()
        received = 0
        while received < size:
            data = await reader.read(16_384)
            if not data:
                job.got.counts["cut"] += 1
                return
            received += len(data)
            await asyncio.sleep(began_at + received / bytes_per_s - time.monotonic())
        job.got.counts["whole"] += 1
    except ConnectionError:
        job.got.counts["cut"] += 1
    finally:
        writer.close()


def download(job: Job, count: int, port: int, size: int, bytes_per_s: float) -> None:
    crowd(job, count, partial(download_slowly, port=port, size=size, bytes_per_s=bytes_per_s))


DOWNLOADS = 300
BYTES_PER_S = 200_000


@row(
    "300 downloads of 40 MB at 200 kB/s through one agent (short: 100 of 4 MB): none is cut, memory is bounded",
    Limits(memory_mib=DOWNLOADS * SLOW_READER_KIB / KIB + 16, agent_memory_mib=DOWNLOADS * SLOW_READER_KIB / KIB + 16),
)
def slow_downloads(stage: Stage) -> None:
    count, size = (100, 4_000_000) if stage.short else (DOWNLOADS, 40_000_000)
    stage.attack(download, count, stage.entry.ports["proxy"], size, BYTES_PER_S)
    stage.hold(size / BYTES_PER_S * 1.5, done_is_enough=True)
    counts = stage.finish().counts
    stage.require("downloads that are whole", counts["whole"], at_least=count)


async def request_and_stop(job: Job, *, port: int, size: int) -> None:
    """Ask for much and read nothing."""
    _, writer = await open_stream(port, receive_buffer_bytes=4_096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(request_bytes("same", f"/bytes/{size}"))
    job.got.counts["asked"] += 1
    try:
        await asyncio.sleep(FOREVER_S)
    finally:
        writer.transport.abort()


def request_without_reading(job: Job, count: int, port: int, size: int) -> None:
    crowd(job, count, partial(request_and_stop, port=port, size=size))


NOT_READING = 1_000


@row(
    "1,000 clients ask for 3 MB and do not read: 96 KiB each in node and agent, the tunnel's p50 at most 2 times idle",
    Limits(
        memory_mib=NOT_READING * SLOW_READER_KIB / KIB,
        agent_memory_mib=NOT_READING * SLOW_READER_KIB / KIB,
        same_p50_times=2,
    ),
)
def no_readers(stage: Stage) -> None:
    stage.attack(request_without_reading, NOT_READING, stage.entry.ports["proxy"], 3_000_000)
    hold_all(stage, NOT_READING)


# --- connections and heads ---


async def keep_alive(job: Job, *, port: int, request: bytes) -> None:
    """Do one request and keep the connection; come again when it is ended."""
    while True:
        try:
            reader, writer = await open_stream(port)
        except OSError:
            job.got.counts["not connected"] += 1
            await asyncio.sleep(1.0)
            continue
        try:
            writer.write(request)
            job.got.counts[await read_status(reader)] += 1
            while await reader.read(4_096):
                pass
            job.got.counts["ended by the node"] += 1
        except (ConnectionError, EOFError):
            job.got.counts["reset"] += 1
        finally:
            writer.close()
        await asyncio.sleep(1.0)


def keep_connections(job: Job, count: int, port: int, request: bytes) -> None:
    crowd(job, count, partial(keep_alive, port=port, request=request))


@row(
    "a limit of 256 descriptors and 400 clients that keep their connection: /health answers, honest ones are served",
    setup=Setup(descriptors=256),
)
def descriptors(stage: Stage) -> None:
    stage.attack(keep_connections, 400, stage.entry.ports["proxy"], request_bytes("same"))
    stage.hold()


async def unfinished_head(job: Job, *, port: int, head: bytes) -> None:
    """Send a head without its end, and count how the node takes it."""
    reader, writer = await open_stream(port)
    try:
        for start in range(0, len(head), 65_536):
            writer.write(head[start : start + 65_536])
            await writer.drain()
        job.got.counts["sent"] += 1
        job.got.counts[await read_status(reader)] += 1
    finally:
        writer.close()


def send_unfinished_heads(job: Job, count: int, port: int, head: bytes) -> None:
    crowd(job, count, partial(unfinished_head, port=port, head=head))


@row(
    "300 unfinished heads of 1 MB, of other clients each: a node grows by 64 MiB at most, and gives it back",
    Limits(memory_mib=64, kept_mib=32),
)
def heads(stage: Stage) -> None:
    line = b"x-long: " + b"x" * 60_000 + b"\r\n"
    head = b"GET / HTTP/1.1\r\nHost: fair.test\r\nx-pico-endpoint: same\r\n" + line * ((MIB - 100) // len(line))
    stage.attack(send_unfinished_heads, 300, stage.entry.ports["proxy"], head)
    stage.hold()
