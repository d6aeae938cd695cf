"""CPU per request, per gigabyte and at start, of real processes, as ratios to a floor measured in the same run.

The floor is a uvloop protocol that answers every read with a fixed reply. Needs nginx, wrk and curl.

Run: python benchmarks/end_to_end.py [--short] [--runtime uvloop,trio,asyncio]
"""

import argparse
import statistics
import subprocess
import sys
import time

import machines_server
from processes import Process, Stack, free_port, wait_for_health, wrk

HEADER = ("x-pico-endpoint: e1",)
BUDGET = {"uvloop": 3.2, "trio": 5.7}


def requests(runtime, seconds, rounds):
    """Print CPU per request of server and agent beside the floor, in alternating rounds."""
    with Stack(runtime) as stack:
        wrk(stack.url, 1, headers=HEADER)
        floors, servers, agents = [], [], []
        for _ in range(rounds):
            floors.append(cost(stack.floor, lambda: wrk(f"http://127.0.0.1:{stack.floor_port}/", seconds)))
            before = stack.agent.cpu_s()
            done = 0

            def load():
                nonlocal done
                done = wrk(stack.url, seconds, headers=HEADER)
                return done

            servers.append(cost(stack.server, load))
            agents.append((stack.agent.cpu_s() - before) / done * 1e6)
    floor, server, agent = map(statistics.median, (floors, servers, agents))
    core = machines_server.run(seconds / 2, access_log=False)
    core_logged = machines_server.run(seconds / 2, access_log=True)
    core_new = machines_server.run(seconds / 2, access_log=False, new_heads=True)
    budget = BUDGET.get(runtime)
    verdict = f"budget {budget}" if budget else "no budget"
    print(f"{runtime:8} server {server:6.1f} us/request = {server / floor:4.2f} x floor ({verdict})")
    print(f"{'':8} floor  {floor:6.1f} us   agent {agent:6.1f} us = {agent / floor:4.2f} x floor")
    print(f"{'':8} breakdown: machine {core:.1f}, driver and kernel {server - core:.1f}")
    print(f"{'':8} access log adds {core_logged - core:.1f} us in the machine, heads never seen {core_new - core:.1f}")
    return server / floor


def cost(process, load):
    """Return the CPU microseconds ``process`` used per request of ``load``."""
    before = process.cpu_s()
    done = load()
    return (process.cpu_s() - before) / done * 1e6


def throughput(runtime):
    """Print CPU seconds per gigabyte in both directions."""
    with Stack(runtime) as stack:
        uploads = stack.start_agent("up", stack.start_sink(), runtime)
        for name, endpoint, agent, what in (
            ("down", "e1", stack.agent, [f"{stack.url}/big"]),
            ("up", "up", uploads, ["-H", "Expect:", "-T", str(stack.folder / "big"), stack.url]),
        ):
            server_before, agent_before, began = stack.server.cpu_s(), agent.cpu_s(), time.perf_counter()
            command = ["curl", "-sS", "-f", "-o", "/dev/null", "-H", f"x-pico-endpoint: {endpoint}", *what]
            subprocess.run(command, check=True)
            took = time.perf_counter() - began
            server, agent = stack.server.cpu_s() - server_before, agent.cpu_s() - agent_before
            print(
                f"{runtime:8} 1 GiB {name:4} server {server:.2f} CPU s, agent {agent:.2f} CPU s (budget 1.0 per GB), "
                f"{took:.2f} s in all"
            )


HELP_CPU = """
import os, subprocess, sys
subprocess.run([sys.executable, "-m", "pico", "--help"], stdout=subprocess.DEVNULL, check=True)
print(sum(os.times()[2:4]))
"""


def start():
    """Print the CPU time until /health answers, and of ``pico --help``."""
    port = free_port()
    flags = [f"--{name}.bind-addr=127.0.0.1:0" for name in ("proxy", "upstream", "cluster.gossip")]
    command = [sys.executable, "-m", "pico", "server", f"--admin.bind-addr=127.0.0.1:{port}", *flags]
    server = Process(*command, stderr=subprocess.DEVNULL)
    wait_for_health(port)
    print(f"start    /health after {server.cpu_s():.2f} CPU s (budget 0.5)")
    server.stop()
    help_cpu = subprocess.run([sys.executable, "-c", HELP_CPU], capture_output=True, text=True, check=True)
    print(f"start    pico --help {float(help_cpu.stdout):.2f} CPU s (budget 0.25)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="less time per figure, for CI")
    parser.add_argument("--runtime", default="uvloop,asyncio,trio")
    options = parser.parse_args()
    runtimes = options.runtime.split(",")
    start()
    for runtime in runtimes:
        requests(runtime, 2 if options.short else 5, 1 if options.short else 3)
    for runtime in runtimes:
        throughput(runtime)


if __name__ == "__main__":
    main()
