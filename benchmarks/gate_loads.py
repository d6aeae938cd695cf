"""The loads of ``gate``: machines with the same inputs each time, a fixed number of turns. Run by ``gate`` alone.

A clock that counts its own calls takes the place of the real one, so that a load ends after as many turns everywhere.
"""

import gc
import itertools
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

from benchmarks import machines_agent, machines_nodes, machines_server

CALLS = 60
"""Of the clock in a load: 12 turns of 50 requests, and 6 where two machines take turns."""

WARM_CALLS = 20

LOADS: dict[str, Callable[..., object]] = {
    "server, equal heads": partial(machines_server.run, access_log=False),
    "server, access log": partial(machines_server.run, access_log=True),
    "server, heads of a browser": partial(machines_server.run, access_log=False, browser=True),
    "server, heads of a browser, all new": partial(machines_server.run, access_log=False, browser=True, new_heads=True),
    "agent, equal heads": machines_agent.run,
    "agent, heads of a browser, all new": partial(machines_agent.run, browser=True, new_heads=True),
    "two nodes, equal heads": machines_nodes.run,
}


def run(load: Callable[..., object], calls: int) -> None:
    """Run a load. What the one before left is collected first, so that it does not count here."""
    gc.collect()
    load(calls, clock=itertools.count().__next__)


def count() -> None:
    """Run each load between two marks that the tool sees: calls of a function of libc that nothing else calls."""
    for load in LOADS.values():
        run(load, WARM_CALLS)
        gc.collect()
        os.getloadavg()
        run(load, CALLS)
        os.getloadavg()


def measure() -> None:
    """Print a JSON object: by load the peak of memory in bytes, the blocks that are left of it, and its wall time."""
    figures = {}
    for name, load in LOADS.items():
        run(load, WARM_CALLS)
        began = time.perf_counter()
        run(load, CALLS)
        took_s = time.perf_counter() - began
        gc.collect()
        blocks = sys.getallocatedblocks()
        run(load, CALLS)
        gc.collect()
        left = sys.getallocatedblocks() - blocks
        tracemalloc.start()
        run(load, CALLS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        figures[name] = {"peak_bytes": peak, "left_blocks": left, "wall_s": took_s}
    print(json.dumps(figures))


if __name__ == "__main__":
    {"count": count, "measure": measure}[sys.argv[1]]()
