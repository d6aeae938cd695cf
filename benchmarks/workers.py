"""CPU per request of two workers beside that of one process, in alternating rounds of the same run.

The figure is the CPU of all processes of the server. The budget holds where the agent has tunnels on both workers, so
that no request goes from one to the other; ``--connections 1`` shows what those cost. Two workers have twice the
clients of one, so that each has as many as that: the more there are, the less each costs, whatever the process.

Run: python benchmarks/workers.py [rounds] [--runtime uvloop] [--connections 2]
"""

import argparse
import json
import statistics
import urllib.request
from pathlib import Path

from processes import TICKS_PER_S, Process, Stack, wrk

BUDGET = 1.1
CLIENTS = 50
HEADER = ("x-pico-endpoint: e1",)


def family_cpu_s(process: Process) -> float:
    """Return how much CPU a process and its children have used."""
    pids = [process.popen.pid]
    children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
    total = 0.0
    for pid in (*pids, *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return total


def cost(stack: Stack, clients: int) -> tuple[float, int]:
    """Return CPU microseconds per request, and requests a second."""
    before = family_cpu_s(stack.server)
    done = wrk(stack.url, 2, connections=clients, headers=HEADER)
    return (family_cpu_s(stack.server) - before) / done * 1e6, done // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=8)
    parser.add_argument("--runtime", default="uvloop")
    parser.add_argument("--connections", default="2")
    options = parser.parse_args()
    with (
        Stack(options.runtime) as one,
        Stack(
            options.runtime, "--drain-delay=0s", "--workers=2", agent_flags=(f"--connections={options.connections}",)
        ) as two,
    ):
        for stack in (one, two):
            wrk(stack.url, 1, headers=HEADER)
        with urllib.request.urlopen(f"http://127.0.0.1:{two.ports['admin']}/status/endpoints") as answer:
            print("tunnels by worker:", json.load(answer)["rows"][0]["tunnels"])
        rounds = [(*cost(one, CLIENTS), *cost(two, 2 * CLIENTS)) for _ in range(options.rounds)]
    one_us, one_rps, two_us, two_rps = (statistics.median(figures) for figures in zip(*rounds, strict=True))
    ratio = statistics.median(round_[2] / round_[0] for round_ in rounds)
    print(f"{options.runtime:8} 1 worker  {one_us:6.1f} us/request, {one_rps:.0f} requests/s")
    print(f"{'':8} 2 workers {two_us:6.1f} us/request, {two_rps:.0f} requests/s")
    print(f"{'':8} ratio {ratio:.2f} (budget {BUDGET}), of {options.rounds} rounds")


if __name__ == "__main__":
    main()
