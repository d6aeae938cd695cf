"""The cost of a cluster: CPU of an idle node among ten, and of one more hop. Real processes on loopback; needs wrk.

The extra hop compares one node with itself, in alternating rounds of the same run: once the agent is connected to it,
once to another node, to which it then forwards.

Run: python benchmarks/cluster.py [--short] [--runtime uvloop,trio]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable

from processes import FLOOR, Process, wrk

NODES = 10
IDLE_BUDGET_PERCENT = 1.5
HOP_BUDGET = 1.6


class Node:
    """A server node and its ports."""

    def __init__(self, runtime: str, *flags: str) -> None:
        ports = ("proxy", "upstream", "admin", "cluster.gossip")
        self.process = pico(
            "server", "--runtime", runtime, "--proxy.access-log.disable",
            *(f"--{port}.bind-addr=127.0.0.1:0" for port in ports), *flags,
        )  # fmt: skip
        self.ports = self.process.await_ready()


def pico(*arguments: str) -> Process:
    return Process(sys.executable, "-m", "pico_tunnel", *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def start_agent(runtime: str, node: Node, endpoint: str, port: int) -> Process:
    agent = pico(
        "agent", "http", endpoint, str(port), "--runtime", runtime, "--access-log.disable",
        f"--connect.url=http://127.0.0.1:{node.ports['upstream']}",
    )  # fmt: skip
    agent.await_log("endpoint registered")
    return agent


def start_cluster(runtime: str, count: int) -> list[Node]:
    """Return nodes that all join the first one."""
    nodes = [Node(runtime)]
    while len(nodes) < count:
        nodes.append(Node(runtime, f"--cluster.join=127.0.0.1:{nodes[0].ports['gossip']}"))
    return nodes


def stop(processes: Iterable[Process]) -> None:
    for process in processes:
        process.stop()


def idle(runtime: str, seconds: int) -> None:
    """Print the CPU of each of ten idle nodes."""
    nodes = start_cluster(runtime, NODES)
    try:
        time.sleep(3)  # joining is not idling
        before = [node.process.cpu_s() for node in nodes]
        began_at = time.perf_counter()
        time.sleep(seconds)
        took_s = time.perf_counter() - began_at
        shares = [100 * (node.process.cpu_s() - used) / took_s for node, used in zip(nodes, before, strict=True)]
        memory = max(node.process.resident_bytes() for node in nodes) / (1 << 20)
    finally:
        stop(node.process for node in nodes)
    print(
        f"{runtime:8} idle among {NODES}: {statistics.mean(shares):.2f} % of a core on average, {max(shares):.2f} % at "
        f"most (budget {IDLE_BUDGET_PERCENT}), {memory:.0f} MiB at most"
    )


def hop(runtime: str, seconds: int, rounds: int) -> None:
    """Print the CPU per request of an entry node that forwards, as a multiple of one that has the tunnel itself."""
    floor = Process(sys.executable, "-c", FLOOR, stdout=subprocess.PIPE)
    port = floor.read_number()
    entry, other = nodes = start_cluster(runtime, 2)
    agents = [start_agent(runtime, entry, "here", port), start_agent(runtime, other, "there", port)]
    url = f"http://127.0.0.1:{entry.ports['proxy']}"
    costs: dict[str, list[float]] = {"here": [], "there": []}
    try:
        time.sleep(1)  # the route spreads
        for endpoint in costs:
            wrk(url, 1, headers=(f"x-pico-endpoint: {endpoint}",))
        for _ in range(rounds):
            for endpoint, seen in costs.items():
                before = entry.process.cpu_s()
                done = wrk(url, seconds, headers=(f"x-pico-endpoint: {endpoint}",))
                seen.append((entry.process.cpu_s() - before) / done * 1e6)
    finally:
        stop([floor, *agents, *(node.process for node in nodes)])
    here, there = (statistics.median(seen) for seen in costs.values())
    print(
        f"{runtime:8} entry node: {here:.1f} us/request with the tunnel, {there:.1f} when forwarding: "
        f"{there / here:.2f} times (budget {HOP_BUDGET})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="less time per figure, for CI")
    parser.add_argument("--runtime", default="uvloop,trio")
    options = parser.parse_args()
    runtimes = options.runtime.split(",")
    for runtime in runtimes:
        idle(runtime, 10 if options.short else 30)
    for runtime in runtimes:
        hop(runtime, 2 if options.short else 5, 1 if options.short else 3)


if __name__ == "__main__":
    main()
