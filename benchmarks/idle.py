"""Memory of idle tunnels and of idle connections of clients, and the CPU of a node with many tunnels."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from benchmarks.cases import Case, Run, Samples, case
from benchmarks.processes import Process
from benchmarks.site import MeasuredNode, Site, Subject, connect, nodes, subjects
from benchmarks.traffic import request

TUNNELS, SHORT_TUNNELS = 4_000, 300
CONNECTIONS, SHORT_CONNECTIONS = 2_000, 500
IDLE_S, SHORT_IDLE_S = 30.0, 5.0
SETTLE_S = 2.0


def grown_kib(process: Process, count: int, open_all: Callable[[], object]) -> float:
    """Return by how many KiB each of ``count`` things made a process grow."""
    before = process.resident_bytes()
    open_all()
    time.sleep(SETTLE_S)
    return (process.resident_bytes() - before) / count / 1024


def open_tunnels(node: MeasuredNode, count: int) -> Process:
    """Start an agent with a tunnel for each of so many endpoints, and return it when all are registered."""
    config = node.site.folder / f"listeners-{node.ports['upstream']}.yaml"  # JSON is YAML too
    listeners = [{"endpoint_id": f"e{number}", "addr": str(node.site.service_port)} for number in range(count)]
    config.write_text(json.dumps({"listeners": listeners}))
    url = f"--connect.url=http://127.0.0.1:{node.ports['upstream']}"
    agent = node.pico("agent", "start", "--config.path", str(config), url)
    agent.await_log("endpoint registered", count)
    return agent


def open_connections(subject: Subject, count: int, held: ExitStack) -> None:
    """Open connections that each have had one response. Raises ``SystemExit`` if one gets another than 200."""
    for _ in range(count):
        client: socket.socket = held.enter_context(connect(subject.port))
        client.sendall(request().encode())
        if not client.recv(65_536).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{next(iter(subject.processes))} does not answer an idle client with 200")


def idle(run: Run) -> Iterator[Case]:
    """Tunnels first, then connections."""
    tunnels = SHORT_TUNNELS if run.short else TUNNELS
    connections = SHORT_CONNECTIONS if run.short else CONNECTIONS
    idle_s = SHORT_IDLE_S if run.short else IDLE_S
    memory: Samples = {}
    shares: Samples = {}
    for runtime in run.runtimes:
        for tree in run.trees:
            one = Run(trees=(tree,), runtimes=(runtime,))
            with Site() as site:
                ((name, node),) = nodes(one, site).items()
                agents: list[Process] = []
                memory[f"server {name}"] = [
                    grown_kib(node.server, tunnels, lambda: agents.append(open_tunnels(node, tunnels)))  # noqa: B023 - at once
                ]
                processes = {f"server {name}": node.server, f"agent {name}": agents[0]}
                before = {each: process.cpu_s() for each, process in processes.items()}
                began = time.monotonic()
                time.sleep(idle_s)
                took_s = time.monotonic() - began
                for each, process in processes.items():
                    shares[each] = [100 * (process.cpu_s() - before[each]) / took_s]
    yield case(run, "idle", "memory of a tunnel", "KiB", memory, f"{tunnels:,} tunnels of one agent")
    yield case(run, "idle", "CPU of idle tunnels", "% of a core", shares, f"{tunnels:,} tunnels for {idle_s:g} s")
    with Site() as site, ExitStack() as held:
        grown: Samples = {}
        for subject in (*site.references(), *subjects(run, site, site.service_port)):
            open_connections(subject, 10, held)
            name, process = next(iter(subject.processes.items()))
            grown[name] = [
                grown_kib(process, connections, lambda: open_connections(subject, connections, held))  # noqa: B023 - at once
            ]
        about = f"{connections:,} connections after one response each"
        yield case(run, "idle", "memory of a client's connection", "KiB", grown, about)
