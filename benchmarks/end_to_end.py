"""CPU per request, per gigabyte and at start, of real processes, as ratios to a floor measured in the same run.

The floor is a uvloop protocol that answers every read with a fixed reply. Needs nginx, wrk and curl.

Requests are measured in rounds of a second, floor and server in turn: the script prints medians, and the ratio of the
round in which the server cost least, since other work of the machine can only add to it. The figure of the machine
alone, from the same minute, says how quiet it was.

Run: python benchmarks/end_to_end.py [--short] [--runtime uvloop,trio,asyncio]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

import machines_server
from processes import Process, Stack, wait_for_health, wrk

HEADER = ("x-pico-endpoint: e1",)
BUDGET = {"uvloop": 3.2, "trio": 5.7}


def requests(runtime: str, rounds: int) -> None:
    """Print CPU per request of server and agent beside the floor, in alternating rounds."""
    with Stack(runtime) as stack:
        wrk(stack.url, 1, headers=HEADER)
        measured = []
        for _ in range(rounds):
            (floor,) = costs([stack.floor], f"http://127.0.0.1:{stack.floor_port}/", ())
            measured.append((floor, *costs([stack.server, stack.agent], stack.url, HEADER)))
    floor, server, agent = (statistics.median(figures) for figures in zip(*measured, strict=True))
    quiet_floor, quiet_server, _ = min(measured, key=lambda round_: round_[1])
    runs = (
        partial(machines_server.run, 0.5, access_log=False),
        partial(machines_server.run, 0.5, access_log=True),
        partial(machines_server.run, 0.5, access_log=False, new_heads=True),
    )
    core, core_logged, core_new = (min(run() for _ in range(3)) for run in runs)
    budget = BUDGET.get(runtime)
    verdict = f"budget {budget}" if budget else "no budget"
    print(f"{runtime:8} server {server:6.1f} us/request = {server / floor:4.2f} x floor ({verdict})")
    quiet_ratio = quiet_server / quiet_floor
    print(f"{'':8} quietest {quiet_server:4.1f} us/request = {quiet_ratio:4.2f} x floor, of {rounds} rounds")
    print(f"{'':8} floor  {floor:6.1f} us   agent {agent:6.1f} us = {agent / floor:4.2f} x floor")
    print(f"{'':8} breakdown: machine {core:.1f}, driver and kernel {server - core:.1f}")
    print(f"{'':8} access log adds {core_logged - core:.1f} us in the machine, heads never seen {core_new - core:.1f}")


def costs(processes: Sequence[Process], url: str, headers: Sequence[str]) -> list[float]:
    """Return the CPU microseconds each process used per request, over a second of them."""
    before = [process.cpu_s() for process in processes]
    done = wrk(url, 1, headers=headers)
    return [(process.cpu_s() - was) / done * 1e6 for process, was in zip(processes, before, strict=True)]


def throughput(runtime: str) -> None:
    """Print CPU seconds per gigabyte in both directions."""
    with Stack(runtime) as stack:
        uploads = stack.start_agent("up", stack.start_sink(), runtime)
        for name, endpoint, agent, arguments in (
            ("down", "e1", stack.agent, [f"{stack.url}/big"]),
            ("up", "up", uploads, ["-H", "Expect:", "-T", str(stack.folder / "big"), stack.url]),
        ):
            before, began_at = (stack.server.cpu_s(), agent.cpu_s()), time.perf_counter()
            command = ["curl", "-sS", "-f", "-o", "/dev/null", "-H", f"x-pico-endpoint: {endpoint}", *arguments]
            subprocess.run(command, check=True)
            took_s = time.perf_counter() - began_at
            server_s, agent_s = stack.server.cpu_s() - before[0], agent.cpu_s() - before[1]
            print(
                f"{runtime:8} 1 GiB {name:4} server {server_s:.2f} CPU s, agent {agent_s:.2f} CPU s "
                f"(budget 1.0 per GB), {took_s:.2f} s in all"
            )


HELP_CPU = """
import os, subprocess, sys
subprocess.run([sys.executable, "-m", "pico_tunnel", "--help"], stdout=subprocess.DEVNULL, check=True)
print(sum(os.times()[2:4]))
"""


def start() -> None:
    """Print the CPU time until /health answers, and of ``pico --help``."""
    flags = [f"--{name}.bind-addr=127.0.0.1:0" for name in ("proxy", "upstream", "admin", "cluster.gossip")]
    server = Process(sys.executable, "-m", "pico_tunnel", "server", *flags, stderr=subprocess.PIPE)
    addr = next(record["addr"] for record in server.read_log() if record["subsystem"] == "admin")
    wait_for_health(int(addr.rpartition(":")[2]))
    print(f"start    /health after {server.cpu_s():.2f} CPU s (budget 0.5)")
    server.stop()
    help_cpu = subprocess.run([sys.executable, "-c", HELP_CPU], capture_output=True, text=True, check=True)
    print(f"start    pico --help {float(help_cpu.stdout):.2f} CPU s (budget 0.25)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="less time per figure, for CI")
    parser.add_argument("--runtime", default="uvloop,asyncio,trio")
    options = parser.parse_args()
    runtimes = options.runtime.split(",")
    start()
    for runtime in runtimes:
        requests(runtime, 3 if options.short else 12)
    for runtime in runtimes:
        throughput(runtime)


if __name__ == "__main__":
    main()
