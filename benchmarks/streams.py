"""CPU per message of long-lived streams: server-sent events, WebSocket and plain TCP, beside other proxies."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import uvloop

from benchmarks.cases import Case, Run, alternate, case
from benchmarks.services import EVENT_PAUSE_S, MESSAGE_BYTES
from benchmarks.site import ENDPOINT, Site, Subject, nodes, subjects
from benchmarks.traffic import request

READY_S = 30.0
"""For every client to get a first message."""

HANDSHAKE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
MESSAGES = {
    "events": b"",
    "echo": bytes(MESSAGE_BYTES),
    "websocket": bytes((0x82, 0xFE)) + (MESSAGE_BYTES - 8).to_bytes(2, "big") + bytes(MESSAGE_BYTES - 4),
}
"""The answer of a client to each message. The mask of the WebSocket's frame is 0, so its data are plain."""
HEADS = {
    "events": request("/events", ("Accept: text/event-stream",)).encode(),
    "echo": b"",
    "websocket": request("/socket", HANDSHAKE).encode(),
}


class Client(asyncio.Protocol):
    """A client of one kind; it counts the messages that it got."""

    def __init__(self, kind: str) -> None:
        self.head, self.message = HEADS[kind], MESSAGES[kind]
        self.begun = not self.head
        self.received = 0
        self.count = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.head or self.message)

    def data_received(self, data: bytes) -> None:
        if not self.message:
            self.count += data.count(b"\n\n")
        elif self.begun:
            self.received += len(data)
            count, self.received = divmod(self.received, MESSAGE_BYTES)
            self.count += count
            if count:
                self.transport.write(self.message * count)
        elif data.endswith(b"\r\n\r\n"):
            self.begun = True
            self.transport.write(self.message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


async def message_us(subject: Subject, kind: str, clients: int, seconds: int) -> dict[str, float]:
    """Return CPU microseconds per message of each process. Raises ``SystemExit`` if a client does not get any."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Client(kind), "127.0.0.1", subject.port) for _ in range(clients)]
    protocols = [protocol for _, protocol in made]
    until = loop.time() + READY_S
    while any(not each.count for each in protocols):
        if loop.time() > until or any(each.ended for each in protocols):
            raise SystemExit(f"{kind}: a client gets no message through {next(iter(subject.processes))}")
        await asyncio.sleep(0.05)
    before = {name: process.cpu_s() for name, process in subject.processes.items()}
    count = sum(each.count for each in protocols)
    await asyncio.sleep(seconds)
    done = sum(each.count for each in protocols) - count
    after = {name: process.cpu_s() for name, process in subject.processes.items()}
    for transport, _ in made:
        transport.close()
    if any(each.ended for each in protocols) or not done:
        raise SystemExit(f"{kind}: a stream through {next(iter(subject.processes))} ended")
    return {name: (after[name] - before[name]) / done * 1e6 for name in after}


def turns(run: Run, measured: Sequence[Subject], kind: str) -> dict[str, list[float]]:
    """Let all subjects take turns with one kind of stream."""
    return alternate(
        run.rounds, [partial(_once, subject, kind, run.clients, run.seconds) for subject in measured]
    )  # fmt: skip


def _once(subject: Subject, kind: str, clients: int, seconds: int) -> dict[str, float]:
    return uvloop.run(message_us(subject, kind, clients, seconds))


def streams(run: Run) -> Iterator[Case]:
    """Each kind of stream in turn."""
    unit = "CPU us a message"
    about = f"{run.clients} streams at once, {run.seconds} s each, messages of {MESSAGE_BYTES} bytes"
    with Site() as site:
        service = site.start_service("events")
        measured = [*site.references(service, fixed=False), *subjects(run, site, service)]
        paced = f"{about}, {1 / EVENT_PAUSE_S:.0f} a second each at most"
        yield case(run, "streams", "server-sent events", unit, turns(run, measured, "events"), paced)
    with Site() as site:
        service = site.start_service("websocket")
        measured = [*site.references(service, fixed=False), *subjects(run, site, service)]
        answered = f"{about}, each answered before the next"
        yield case(run, "streams", "WebSocket", unit, turns(run, measured, "websocket"), answered)
    with Site() as site:
        values = turns(run, tcp_subjects(run, site), "echo")
        yield case(run, "streams", "TCP", unit, values, answered)


def tcp_subjects(run: Run, site: Site) -> list[Subject]:
    """Start haproxy for plain connections, and a node with its agent and ``pico forward`` for each runtime and tree."""
    echo = site.python("benchmarks.services", "echo", stdout=subprocess.PIPE)
    service = echo.read_number()
    found = [Subject(service, {"fixed reply": echo})]
    if shutil.which("haproxy"):
        process, port = site.start_haproxy(service, tcp=True)
        found.append(Subject(port, {"haproxy": process}))
    for name, node in nodes(run, site).items():
        agent = node.start_agent(ENDPOINT, service, kind="tcp")
        url = f"--connect.url=http://127.0.0.1:{node.ports['proxy']}"
        forward = node.pico("forward", "tcp", "127.0.0.1:0", ENDPOINT, url)
        port = forward.await_port()
        processes = {f"server {name}": node.server, f"agent {name}": agent, f"forward {name}": forward}
        found.append(Subject(port, processes))
    return found
