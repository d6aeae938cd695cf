"""Processor time of a server's start: until its ports are open, and until it answers. Linux, for /proc.

It is that of each runtime, in CPU seconds since ``exec``; the interpreter alone is in each of them.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.cases import Case, Run, alternate, case
from benchmarks.trees import Tree
from tests.ports import reserved_port

CONFIG = """
proxy: {{bind_addr: "127.0.0.1:{0}"}}
upstream: {{bind_addr: "127.0.0.1:{1}"}}
admin: {{bind_addr: "127.0.0.1:{2}"}}
cluster: {{gossip: {{bind_addr: "127.0.0.1:{3}"}}}}
drain_delay: 0s
"""
OPEN_S = 20.0


def cpu_s(process: int) -> float:
    """Return the processor time of all threads of a process so far."""
    tasks = os.listdir(f"/proc/{process}/task")
    return sum(int(Path(f"/proc/{process}/task/{task}/schedstat").read_text().split()[0]) for task in tasks) / 1e9


def start(runtime: str, config: str, environment: Mapping[str, str]) -> tuple[float, float]:
    """Start a server once; return the processor time until its last port is open, and until it has answered."""
    with ExitStack() as stack:
        ports = [stack.enter_context(reserved_port()) for _ in range(4)]
        Path(config).write_text(CONFIG.format(*ports))
        command = [sys.executable, "-P", "-m", "pico_tunnel", "server", "--config.path", config, "--runtime", runtime]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        try:
            for port in ports[:3]:
                peer = stack.enter_context(connected(port))
            until_open_s = cpu_s(process.pid)
            peer.sendall(b"GET /health HTTP/1.1\r\nhost: pico\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 200"
            return until_open_s, cpu_s(process.pid)
        finally:
            process.terminate()
            process.wait()


def connected(port: int) -> socket.socket:
    """Connect as soon as the port is open. Raises ``SystemExit`` if it is not in time."""
    until = time.monotonic() + OPEN_S
    while time.monotonic() < until:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.0005)
    raise SystemExit("the server does not open its ports")


def round_s(tree: Tree, runtime: str, config: str) -> dict[str, float]:
    """Start a server once, of one tree."""
    open_s, answers_s = start(runtime, config, tree.environment)
    return {
        f"server {runtime}, ports open{tree.suffix}": open_s,
        f"server {runtime}, /health answered{tree.suffix}": answers_s,
    }


def group(run: Run) -> Iterator[Case]:
    """Servers of each runtime, and the program without a command."""
    bare = partial(interpreter_s, run.trees[0].environment)
    with tempfile.NamedTemporaryFile(suffix=".yaml") as config:
        measures: list[Callable[[], dict[str, float]]] = [bare]
        for tree in run.trees:
            measures.append(partial(help_s, tree))
            measures += [partial(round_s, tree, runtime, config.name) for runtime in run.runtimes]
        alternate(1, measures)  # what only a start imports gets its bytecode
        values = alternate(min(run.rounds, 3) if run.short else 2 * run.rounds, measures)
    about = "a configuration file of four addresses; bytecode was made before, as pip does"
    yield case(run, "start", "from exec", "CPU s", values, about, ("python -c pass",))


def help_s(tree: Tree) -> dict[str, float]:
    """Return the processor time of ``pico --help``."""
    return {f"pico --help{tree.suffix}": child_s(tree.environment, "-m", "pico_tunnel", "--help")}


def interpreter_s(environment: Mapping[str, str]) -> dict[str, float]:
    """Return the processor time of the interpreter alone."""
    return {"python -c pass": child_s(environment, "-c", "pass")}


def child_s(environment: Mapping[str, str], *arguments: str) -> float:
    """Return the processor time of an interpreter with these arguments, from its start to its end."""
    before = os.times()
    command = [sys.executable, "-P", *arguments]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system
