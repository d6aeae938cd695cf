"""The processes under load: one node or two, agents, and the services behind them.

Clients talk to ``entry``, tunnels are at ``home``; with one node the two are the same.
"""

import http.client
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from benchmarks.fair import origin
from benchmarks.processes import Process, first_number

SERVER_ADDRESS_SPACE_BYTES = 6 << 30
"""A node that would take more fails alone, not the machine."""

ROUTE_TIMEOUT_S = 10.0
"""How long two nodes may take until the first forwards to the second."""

RETRY_S = 0.02


@dataclass(frozen=True)
class Setup:
    """The options of the site of a row."""

    agents: int = 1
    """Agents of the endpoint ``same``."""
    tcp_agent: bool = False
    """Whether there is a TCP endpoint ``raw``."""
    descriptors: int | None = None
    """The limit of open descriptors of the entry node."""


class LoggedProcess(Process):
    """A process of Pico whose log goes to a file, so that it can write as much as it wants."""

    def __init__(self, log: Path, *arguments: str, descriptors: int | None = None) -> None:
        self.log = log
        with log.open("w") as file:
            super().__init__(
                sys.executable, "-m", "pico_tunnel", *arguments, stdout=subprocess.DEVNULL, stderr=file.fileno()
            )
        if descriptors is not None:  # the process raises its soft limit to the hard one when it has started
            resource.prlimit(self.popen.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        if arguments[0] == "server":
            limit = (SERVER_ADDRESS_SPACE_BYTES, SERVER_ADDRESS_SPACE_BYTES)
            resource.prlimit(self.popen.pid, resource.RLIMIT_AS, limit)

    def read_log(self) -> Iterator[dict[str, Any]]:
        """The records of its log, each as it comes; ends with the process."""
        with self.log.open() as file:
            for line in self._lines(file):
                yield json.loads(line)

    def _lines(self, file: IO[str]) -> Iterator[str]:
        line = ""
        while True:
            line += file.readline()
            if line.endswith("\n"):
                yield line
                line = ""
            elif self.popen.poll() is not None:
                return
            else:
                time.sleep(RETRY_S)

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def log_bytes(self) -> int:
        return self.log.stat().st_size

    def log_lines_with(self, *texts: str) -> list[str]:
        """Return the lines of its log that contain one of the texts."""
        with self.log.open(errors="replace") as file:
            return [line.strip() for line in file if any(text in line for text in texts)]

    def reset_peak(self) -> None:
        """Forget the most memory it had: ``peak_bytes`` counts from now on."""
        if self.alive:
            Path(f"/proc/{self.popen.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Return the most memory it had; 0 if it has ended."""
        return self._status("VmHWM") if self.alive else 0

    def resident_bytes(self) -> int:
        return self._status("VmRSS") if self.alive else 0

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.popen.pid}/fd").iterdir())) if self.alive else 0

    def _status(self, field: str) -> int:
        return first_number(rf"{field}:\s+(\d+) kB", Path(f"/proc/{self.popen.pid}/status").read_text()) * 1024

    def ran_and_waited_s(self) -> tuple[float, float]:
        """Return for how long its main thread ran, and for how long it was ready to run while others did."""
        if not self.alive:
            return 0.0, 0.0
        ran_ns, waited_ns, _ = map(int, Path(f"/proc/{self.popen.pid}/schedstat").read_text().split())
        return ran_ns / 1e9, waited_ns / 1e9

    def cpu_s(self) -> float:
        return super().cpu_s() if self.alive else 0.0


class Node(LoggedProcess):
    """A server node that is ready, and its ports."""

    def __init__(self, log: Path, runtime: str, *flags: str, descriptors: int | None = None) -> None:
        names = ("proxy", "upstream", "admin", "cluster.gossip")
        addresses = (f"--{name}.bind-addr=127.0.0.1:0" for name in names)
        super().__init__(log, "server", "--runtime", runtime, *addresses, *flags, descriptors=descriptors)
        self.ports = self.await_ready()


class Site:
    """``with Site(...) as site``: everything runs and the routes are known."""

    def __init__(self, runtime: str, nodes: int, setup: Setup) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pico-fair-"))
        self.runtime = runtime
        self.nodes: list[Node] = []
        self.agents: list[LoggedProcess] = []
        self._services: list[Process] = []
        try:
            self._start(nodes, setup)
        except BaseException:
            self.close()
            raise

    def _start(self, nodes: int, setup: Setup) -> None:
        for number in range(nodes):
            join = (f"--cluster.join=127.0.0.1:{self.nodes[0].ports['gossip']}",) if self.nodes else ()
            limit = None if number else setup.descriptors
            self.nodes.append(Node(self.folder / f"node{number}", self.runtime, *join, descriptors=limit))
        self.entry, self.home = self.nodes[0], self.nodes[-1]
        self.bystander_port, same_port = self._service(), self._service()
        self._agent("http", "other", self.bystander_port)
        for _ in range(setup.agents):
            self._agent("http", "same", same_port)
        if setup.tcp_agent:
            self._agent("tcp", "raw", same_port)
        if self.entry is not self.home:
            self._await_route()

    def _service(self) -> int:
        """Start a service and return its port."""
        self._services.append(Process(sys.executable, "-m", origin.__name__, stdout=subprocess.PIPE))
        return self._services[-1].read_number()

    def _agent(self, kind: str, endpoint: str, port: int) -> None:
        agent = LoggedProcess(
            self.folder / f"agent{len(self.agents)}", "agent", kind, endpoint, f"127.0.0.1:{port}", "--runtime",
            self.runtime, f"--connect.url=http://127.0.0.1:{self.home.ports['upstream']}",
        )  # fmt: skip
        self.agents.append(agent)
        agent.await_log("endpoint registered")

    def _await_route(self) -> None:
        until = time.monotonic() + ROUTE_TIMEOUT_S
        for endpoint in ("other", "same"):
            while True:
                client = http.client.HTTPConnection("127.0.0.1", self.entry.ports["proxy"], timeout=5)
                client.request("GET", "/", headers={"x-pico-endpoint": endpoint})
                status = client.getresponse().status
                client.close()
                if status == 200:
                    break
                if time.monotonic() > until:
                    raise SystemExit(f"the entry node does not forward to endpoint {endpoint}: {status}")
                time.sleep(RETRY_S)

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time that its processes have used, by kind."""
        kinds: dict[str, Sequence[Process]] = {
            "nodes": self.nodes,
            "agents": self.agents,
            "services": self._services,
        }
        return {kind: sum(process.cpu_s() for process in processes) for kind, processes in kinds.items()}

    def close(self) -> None:
        for process in (*self.agents, *self.nodes, *self._services):
            process.stop()
        shutil.rmtree(self.folder)

    def __enter__(self) -> "Site":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
