"""Tunnels that come and go."""

import re
import selectors
import socket
import time

from benchmarks.fair.children import Job, name_of
from benchmarks.fair.row import Limits, Stage, row
from benchmarks.fair.wire import dial, tunnel_request, websocket_message
from benchmarks.processes import descriptor_limit
from pico_core.mux.frame import ACK, HEADER, PING, SYN

ENDPOINTS = 20_000
SHORT_ENDPOINTS = 2_000
OPENERS = 4
OPEN_LIMIT_S = 90.0
STALL_S = 2.0
PING_POLL_S = 0.2
PING_FRAME = re.compile(re.escape(HEADER.pack(PING, SYN, 0, 0)[:8]) + b"(....)", re.DOTALL)
"""A ping as it arrives, with its number."""
SPARE_DESCRIPTORS = 60
"""Descriptors that a node has open beside tunnels."""


def register(port: int, endpoint: str) -> tuple[socket.socket, str]:
    """Ask for a tunnel; return the connection and the status of the answer."""
    connection = dial(port)
    try:
        connection.sendall(tunnel_request(endpoint))
        head = connection.recv(1024)
    except BaseException:
        connection.close()
        raise
    return connection, head[9:12].decode() or "closed"


def register_and_leave(job: Job, port: int, prefix: str) -> None:
    """Open and close tunnels, each for an endpoint of its own, as fast as one client can."""
    number = 0
    while not job.stopped():
        number += 1
        try:
            connection, status = register(port, f"{prefix}{number}")
            connection.close()
            job.got.counts[status] += 1
        except OSError as error:
            job.got.counts[name_of(error)] += 1


@row("tunnels opened and closed as fast as one client can: p99 under 100 ms, at most 64 KiB of log a second")
def registrations(stage: Stage) -> None:
    stage.attack(register_and_leave, stage.home.ports["upstream"], "come-and-go-")
    stage.hold()


class Tunnels:
    """Tunnels that are kept open: they answer the node's pings and nothing else."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._selector = selectors.DefaultSelector()

    def open(self, port: int, endpoint: str) -> None:
        """Ask for one more, and count the answer."""
        try:
            connection, status = register(port, endpoint)
        except OSError as error:
            self._job.got.counts[name_of(error)] += 1
            return
        self._job.got.counts[status] += 1
        if status == "101":
            self._selector.register(connection, selectors.EVENT_READ)
        else:
            connection.close()

    def answer_pings(self, timeout_s: float) -> None:
        """Answer those that have come, or wait for the first."""
        for key, _ in self._selector.select(timeout_s):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                data = connection.recv(4_096)
                for asked in PING_FRAME.findall(data):
                    connection.sendall(websocket_message(HEADER.pack(PING, ACK, 0, int.from_bytes(asked, "big"))))
            except OSError:
                data = b""
            if not data:
                self._job.got.counts["ended by the node"] += 1
                self._selector.unregister(connection)
                connection.close()


def hold_tunnels(job: Job, port: int, prefix: str, count: int) -> None:
    """Open many tunnels and keep them."""
    tunnels = Tunnels(job)
    for number in range(count):
        if job.stopped():
            return
        tunnels.open(port, f"{prefix}{number}")
        tunnels.answer_pings(0)
    while not job.stopped():
        tunnels.answer_pings(PING_POLL_S)


@row(
    "20,000 endpoints at one node (short: 2,000; fewer where descriptors are), then more come and go: "
    "refused with 503, the node lives",
    Limits(memory_mib=1_024, log_kib_per_s=1_024),
)
def endpoints(stage: Stage) -> None:
    count = min(SHORT_ENDPOINTS if stage.short else ENDPOINTS, descriptor_limit() - SPARE_DESCRIPTORS)
    open_many(stage, count)
    stage.attack(register_and_leave, stage.home.ports["upstream"], "come-and-go-")
    stage.hold()

    def require_answers() -> None:
        counts = stage.got.counts
        # How many there are within ``OPEN_LIMIT_S`` depends on the machine.
        stage.require("registrations answered", counts["101"] + counts["503"], at_least=min(count, SHORT_ENDPOINTS) / 2)
        others = counts.total() - counts["101"] - counts["503"]
        stage.require("registrations answered with neither 101 nor 503", others, at_most=0)

    stage.afterwards = require_answers


def open_many(stage: Stage, count: int) -> None:
    """Open tunnels until there are so many, or until no more come."""
    for opener in range(OPENERS):
        stage.attack(hold_tunnels, stage.home.ports["upstream"], f"kept-{opener}-", count // OPENERS)
    first = stage.home.open_descriptors()
    give_up_at = time.monotonic() + OPEN_LIMIT_S
    opened, before = first, -1
    while stage.home.alive and time.monotonic() < give_up_at and before < opened < first + count:
        stage.hold(STALL_S)
        opened, before = stage.home.open_descriptors(), opened


@row("4,000 tunnels (short: 1,000) are lost at once, as when a balancer dies: honest requests go on")
def tunnels_lost(stage: Stage) -> None:
    open_many(stage, 1_000 if stage.short else 4_000)
    stage.finish()
    stage.hold()
