"""The gossip port, reached by something that is not a node."""

import socket

from benchmarks.fair.children import Job
from benchmarks.fair.row import Limits, Stage, row
from benchmarks.fair.wire import ATTACKER, dial

JOIN = b"\x03\x00\x82\xa7node_id\xa8attacker\xa4addr\xad127.0.0.66:99\x90"
"""The start of a join request: its sender, and no states. A digest follows."""

STREAM_BYTES = 16 << 20
DATAGRAM_BYTES = 65_000
DATAGRAMS_PER_S = 200.0

BOUNDS = Limits(memory_mib=16, cpu_percent=5)


def big_join() -> bytes:
    """Return a join request of 16 MiB whose digest has as many entries as possible: empty maps of one byte."""
    count = STREAM_BYTES - len(JOIN) - 5
    return JOIN + b"\xdd" + count.to_bytes(4, "big") + b"\x80" * count


def join(job: Job, port: int, *, again: bool) -> None:
    """Send a big join and wait until the node ends the connection; ``again`` goes on for as long as the job does."""
    message = memoryview(big_join())
    while not job.stopped():
        try:
            with dial(port) as connection:
                connection.settimeout(0.2)
                _send(job, connection, message)
                while not job.stopped():
                    try:
                        data = connection.recv(1 << 16)
                    except TimeoutError:
                        continue
                    job.got.counts["KiB of answers"] += len(data) >> 10
                    if not data:
                        job.got.counts["closed"] += 1
                        break
        except OSError:
            job.got.counts["reset"] += 1
        if not again:
            return
        job.wait(0.01)


def _send(job: Job, connection: socket.socket, message: memoryview) -> None:
    sent = 0
    while sent < len(message) and not job.stopped():
        try:
            sent += connection.send(message[sent : sent + (1 << 18)])
        except TimeoutError:
            continue
    job.got.counts["KiB sent"] += sent >> 10


def _join(job: Job, port: int) -> None:
    join(job, port, again=False)


def _join_again(job: Job, port: int) -> None:
    join(job, port, again=True)


@row("one gossip join of 16 MiB of small values: 16 MiB of memory and 5 % of a core at most", BOUNDS)
def gossip_join(stage: Stage) -> None:
    stage.attack(_join, stage.entry.ports["gossip"])
    stage.hold()


@row("20 gossip joins of 16 MiB at once, again and again: 16 MiB of memory and 5 % of a core at most", BOUNDS)
def gossip_joins(stage: Stage) -> None:
    stage.attack(_join_again, stage.entry.ports["gossip"], times=20)
    stage.hold()


def send_datagrams(job: Job, port: int, datagram: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((ATTACKER, 0))
        while not job.wait(1 / DATAGRAMS_PER_S):
            sender.sendto(datagram, ("127.0.0.1", port))
            job.got.counts["datagrams sent"] += 1


@row("200 gossip datagrams of 65 kB a second: 16 MiB of memory and 5 % of a core at most", BOUNDS)
def gossip_datagrams(stage: Stage) -> None:
    digest = b"\x01\x00\x83\xa7node_id\xa8attacker\xa4addr\xad127.0.0.66:99\xa7request\xc3"
    stage.attack(send_datagrams, stage.entry.ports["gossip"], digest + b"\x80" * (DATAGRAM_BYTES - len(digest)))
    stage.hold()
