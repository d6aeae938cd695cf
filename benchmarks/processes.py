"""Start and measure real processes. Linux, for /proc; wrk from Debian."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WRK_EXTRA_S = 30
LISTEN_S = 20.0


class Process:
    """A child process with its CPU time and memory."""

    def __init__(
        self,
        *command: str,
        stdout: int | IO[str] | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = " ".join(command)
        # In a group of its own: Ctrl-C is for the benchmark alone, which ends its processes.
        self.popen = subprocess.Popen(command, text=True, stdout=stdout, stderr=stderr, env=env, process_group=0)

    def read_number(self) -> int:
        """Return the number on the next line of its output, such as its port."""
        assert self.popen.stdout is not None
        return int(self.popen.stdout.readline())

    def read_log(self) -> Iterator[dict[str, Any]]:
        """The records of its log, each as it comes."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            yield json.loads(line)

    def await_log(self, message: str, count: int = 1) -> dict[str, Any]:
        """Read the log up to the last of so many such messages, and return it.

        Raises ``SystemExit`` if the process ends without it.
        """
        for record in self.read_log():
            count -= record["message"] == message
            if not count:
                return record
        raise SystemExit(f"no '{message}' from {self.command}")

    def await_port(self) -> int:
        """Return the port at which a program with one listens. Raises ``SystemExit`` as above."""
        return int(self.await_log("listening")["addr"].rpartition(":")[2])

    def await_ready(self) -> dict[str, int]:
        """Return the ports of a server by their subsystems, when it is ready. Raises ``SystemExit`` as above."""
        ports = {}
        for record in self.read_log():
            if record["message"] == "listening":
                ports[record["subsystem"]] = int(record["addr"].rpartition(":")[2])
            elif record["message"] == "ready":
                return ports
        raise SystemExit(f"not ready: {self.command}")

    def cpu_s(self) -> float:
        """Return what the process and its children have used of the CPU."""
        pid = self.popen.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return _cpu_s(pid) + sum(_cpu_s(int(child)) for child in children)

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return first_number(r"VmRSS:\s+(\d+) kB", status) * 1024

    def stop(self) -> None:
        """End it at once."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def reserve_port() -> socket.socket:
    """Return a socket that keeps its port for one server: nothing else can be given the port while it is open."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # set now, it lets a server that sets it too listen
    return held


def first_number(pattern: str, text: str) -> int:
    """Return the number that the pattern's group finds. Raises ``ValueError`` if the pattern is not in the text."""
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"no {pattern!r} in {text!r}")
    return int(match[1])


def wrk(
    url: str,
    seconds: int,
    *,
    connections: int = 50,
    headers: Sequence[str] = (),
    script: Path | None = None,
    judged: bool = True,
) -> int:
    """Run wrk and return requests done. Raises ``SystemExit`` if ``judged`` and not all were answered with 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *(f"-H{each}" for each in headers)]
    command += ["-s", str(script)] if script else []
    ran = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=seconds + WRK_EXTRA_S)
    output = ran.stdout
    if judged and ("Non-2xx" in output or "Socket errors" in output):
        raise SystemExit(f"wrk saw errors:\n{output}")
    return first_number(r"(\d+) requests in", output)


def await_port(port: int) -> None:
    """Return when something listens there. Raises ``SystemExit`` if nothing does in time."""
    until = time.monotonic() + LISTEN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise SystemExit(f"nothing listens at port {port}") from None
            time.sleep(0.01)
        else:
            return


def descriptor_limit() -> int:
    """Raise this process's limit of open descriptors, which its children inherit, as far as allowed; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")
