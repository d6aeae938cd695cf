"""Floods of the gossip port of a real server: memory, CPU and the time that clients wait stay within bounds."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.harness import LOCAL, MIB, Fleet
from tests.e2e.origin import Origin
from tests.e2e.wire import dial, request
from tests.waiting import PATIENCE_S

FLOOD_S = 3.0
LONGEST_WAIT_S = 1.0
"""For a request during a flood, whose senders share the interpreter of the test; it was seconds before."""
HEAD = b"\x03\x00\x82\xa7node_id\xa1x\xa4addr\xae127.0.0.9:8003"
TINY_VALUES = HEAD + b"\x91\x83\xa2id\xa1x\xa4addr\xa0\xa7entries\xdd\x00\xff\xff\xff" + b"\x80" * (16 * MIB - 100)
UNFINISHED = HEAD + b"\x91\x84\xa2id\xa1x\xa4addr\xa0\xa4more\xdb\x7f\xff\xff\xff" + bytes(16 * MIB - 100)


def send_stream(port: int, data: bytes) -> None:
    """Send a stream as far as the server takes it, and wait until it ends the connection or the flood is over."""
    with dial(port) as wire, contextlib.suppress(OSError):
        wire.socket.settimeout(FLOOD_S)
        wire.send(data)
        wire.receive()


def at_rate(per_s: float) -> Iterator[None]:
    """Yield ``per_s`` times a second for ``FLOOD_S``: the rate is the load, and nothing is waited for."""
    began_at, pause = time.monotonic(), threading.Event()
    for turn in range(int(FLOOD_S * per_s)):
        pause.wait(began_at + turn / per_s - time.monotonic())
        yield


def send_datagrams(port: int, data: bytes, per_s: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in at_rate(per_s):
            sender.sendto(data, (LOCAL, port))


def one_join(port: int) -> None:
    send_stream(port, TINY_VALUES)


def many_streams(port: int) -> None:
    threads = [threading.Thread(target=send_stream, args=(port, UNFINISHED)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)


def large_datagrams(port: int) -> None:
    send_datagrams(port, b"\x01\x00" + HEAD[2:] + b"\x80" * 65_000, 200)


def garbage_datagrams(port: int) -> None:
    send_datagrams(port, b"\x02\x00" + b"\x80" * 1398, 2_000)


@pytest.mark.parametrize(
    ("attack", "grows_mib", "core_share"),
    [
        (one_join, 16, 0.15),
        (many_streams, 48, 0.3),
        (large_datagrams, 16, 0.15),
        (garbage_datagrams, 16, 0.4),  # 2,000 a second: receiving them is what costs
    ],
)
def test_a_flood_costs_little(
    fleet: Fleet, origin: Origin, attack: Callable[[int], None], grows_mib: int, core_share: float
) -> None:
    """``core_share`` is that of the whole process, and includes the requests of the test."""
    server = fleet.server()
    fleet.agent(server, "origin", origin.port)
    process = server.process
    process.reset_peak()
    memory_bytes, cpu_s, began_at = process.resident_bytes(), process.cpu_s(), time.monotonic()
    flood = threading.Thread(target=attack, args=(process.port("gossip"),))
    flood.start()
    longest_s = 0.0
    for _ in at_rate(10):
        asked_at = time.monotonic()
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        longest_s = max(longest_s, time.monotonic() - asked_at)
    flood.join(PATIENCE_S)
    took_s = time.monotonic() - began_at
    used_share = (process.cpu_s() - cpu_s) / took_s
    grown_mib = (process.peak_bytes() - memory_bytes) / MIB
    print(f"{attack.__name__}: {grown_mib:.1f} MiB, {used_share:.1%} of a core, a request took {longest_s:.3f} s")
    assert grown_mib < grows_mib
    assert used_share < core_share
    assert longest_s < LONGEST_WAIT_S
