"""The cost of a gossip key: microseconds for a packet, to seal, to open, and for a whole round with and without a key.

The limit is 60 us for sealing and opening one packet with all parsing. Each figure is the best of several short runs.
"""

import random
import time
from collections.abc import Callable
from statistics import median

from pico_core.boundary import SendDatagram
from pico_core.gossip.counters import Counters
from pico_core.gossip.engine import Gossip
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.packets import PacketSeal
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import decode_datagram

KEY = bytes(range(32))
HERE, THERE = ("10.0.0.1", 8003), ("10.0.0.2", 8003)
RUNS, REPEATS = 7, 300


def best_us(work: Callable[[int], object]) -> float:
    best_s = float("inf")
    for run in range(RUNS):
        start = time.perf_counter()
        for number in range(REPEATS):
            work(run * REPEATS + number)
        best_s = min(best_s, (time.perf_counter() - start) / REPEATS)
    return best_s * 1e6


def seals() -> tuple[PacketSeal, PacketSeal]:
    """Return two seals that know each other's session."""
    outputs: list[object] = []
    here, there = (PacketSeal(Keyring([KEY]), random.Random(seed), Counters(), outputs.append) for seed in (1, 2))
    there.open(here.seal(b"x", THERE), HERE)
    hello = outputs.pop()
    assert isinstance(hello, SendDatagram)
    here.open(hello.data, THERE)
    return here, there


def packet(nodes: int) -> bytes:
    entries = (
        writing.digest_entry(f"pico-{n}-x7k2m9q", f"10.0.0.{n}:8003", 1000 + n, left=False) for n in range(nodes)
    )
    return writing.digest_head("pico-0-x7k2m9q", "10.0.0.1:8003", request=True) + b"".join(entries)


def packets() -> dict[str, float]:
    """Return microseconds for a packet of a digest, and for one that is forged."""
    found: dict[str, float] = {}
    for nodes in (3, 20):
        data = packet(nodes)
        here, there = seals()
        seal_us = best_us(lambda _: here.seal(data, THERE))  # noqa: B023 - used at once
        sealed = [here.seal(data, THERE) for _ in range(RUNS * REPEATS)]
        open_us = best_us(lambda number: there.open(sealed[number], HERE))  # noqa: B023
        read_us = best_us(lambda _: decode_datagram(data))  # noqa: B023
        about = f"digest of {nodes} nodes, {len(data)} bytes"
        found |= {f"{about}: seal": seal_us, f"{about}: open": open_us, f"{about}: read": read_us}
    forged = bytearray(sealed[0])
    forged[-1] ^= 1
    forged[6:18] = bytes(12)
    _, there = seals()
    found["a forged packet of an unknown session"] = best_us(lambda _: there.open(bytes(forged), HERE))
    return found


def rounds() -> dict[str, float]:
    """Return what a request of a cluster of 3 costs where nothing is new: read it, and answer it with two packets."""
    found: dict[str, float] = {}
    for keys in ((), (KEY,)):
        nodes = [Gossip(name, entropy=random.Random(name), seeds=seeds, keys=keys) for name, seeds in NODES]
        addresses = {gossip.id: f"10.0.0.{number}" for number, gossip in enumerate(nodes, 1)}
        for gossip in nodes:
            gossip.start(f"{addresses[gossip.id]}:8003", 0.0)
        by_host = {addresses[gossip.id]: gossip for gossip in nodes}
        times_s: list[float] = []
        now = 0.0
        for turn in range(1, 1500):
            now = turn * 0.1
            for gossip in nodes:
                gossip.tick(now)
            for _ in range(4):
                for gossip in nodes:
                    while (output := gossip.poll()) is not None:
                        if isinstance(output, SendDatagram) and output.host in by_host:
                            start = time.perf_counter()
                            by_host[output.host].receive_datagram(output.data, addresses[gossip.id], 8003, now)
                            times_s.append(time.perf_counter() - start)
                        elif type(output).__name__ == "StreamRequest":
                            exchange(output, gossip, by_host, addresses, now)
        kind = "with a key" if keys else "without a key"
        found[f"a packet of a quiet cluster of 3, {kind}"] = median(times_s) * 1e6
    return found


NODES = (("a", ()), ("b", ("10.0.0.1",)), ("c", ("10.0.0.1",)))


def exchange(
    request: object, gossip: Gossip, by_host: dict[str, Gossip], addresses: dict[str, str], now: float
) -> None:
    """Carry out a stream at once."""
    from pico_core.gossip.events import SendStreamData, StreamRequest

    assert isinstance(request, StreamRequest)
    stream = by_host[request.host].accept_stream(addresses[gossip.id], now)
    assert stream is not None
    waiting = [request.data]
    while waiting:
        stream.gather(waiting.pop())
        while stream.is_busy:
            gossip.stream_received(request.number, stream.work(now), now)
        while gossip.is_stream_busy(request.number):
            gossip.stream_work(request.number, now)
        outputs = []
        while (output := gossip.poll()) is not None:
            if isinstance(output, SendStreamData):
                waiting.append(output.data)
            else:
                outputs.append(output)


def figures(_seconds: float) -> dict[str, float]:
    """Return microseconds. The work is counted, not timed."""
    return packets() | rounds()
