"""Real processes of Pico for tests: start, wait by conditions, look into, end by their process id.

Nothing here sleeps for a guessed time and no port is guessed: a process says in its log where it listens.
"""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

from tests.ports import reserved_port
from tests.waiting import PATIENCE_S

AT_ONCE_S = 5.0
"""What happens at once happens within this, on a machine that has other work as well.

What must not happen instead, such as the end of a timeout, takes longer wherever a test compares with this.
"""

MIB = 1 << 20

LOCAL = "127.0.0.1"

LAST_WORDS = "ended"
"""The message of the record that says why a process has ended."""

Record: TypeAlias = dict[str, Any]


class Lines:
    """The lines that a process writes to one of its streams, as they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.lines: list[str] = []
        self._stream = stream
        self._changed = threading.Condition()
        self._ended = False
        self._taken = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._changed:
                    self.lines.append(line.decode())
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def await_line(self, wanted: Callable[[str], bool], goal: str, since: int, timeout_s: float) -> str:
        """Return the first line from number ``since`` on that is ``wanted``."""
        found: list[str] = []
        read = since

        def look() -> bool:
            nonlocal read
            found.extend(line for line in self.lines[read:] if wanted(line))
            read = len(self.lines)
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout_s)
        assert found, f"{goal}: not within {timeout_s:g} s in:\n{''.join(self.lines)}"
        return found[0]

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        new = self.lines[self._taken :]
        self._taken += len(new)
        return new

    def finish(self) -> None:
        """Wait until everything that was written is here."""
        self._thread.join(PATIENCE_S)


class Process:
    """A running ``pico`` command. Next: ``await_log``, and in the end ``stop``, ``kill`` or ``check``."""

    def __init__(self, *arguments: str, descriptors: int = 0, stdout: str = "") -> None:
        """``descriptors`` is how many the process may have open; 0 leaves the limit as it is.

        ``stdout`` is a file that takes the access log; empty for the pipe that the test reads.
        """
        self.arguments = arguments

        def prepare() -> None:
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors,) * 2)
            if stdout:
                os.dup2(os.open(stdout, os.O_WRONLY), 1)

        self.popen = subprocess.Popen(
            [sys.executable, "-m", "pico_tunnel", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=prepare if descriptors or stdout else None,
        )
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self.stdout = Lines(self.popen.stdout)
        self.stderr = Lines(self.popen.stderr)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    # --- logs ---

    def await_log(
        self,
        message: str,
        *,
        since: int = 0,
        timeout_s: float = PATIENCE_S,
        **fields: object,
    ) -> Record:
        """Return the first log record whose message begins so and which has these fields."""

        def wanted(line: str) -> bool:
            record = json.loads(line) if line.startswith("{") else {}
            return str(record.get("message", "")).startswith(message) and fields.items() <= record.items()

        return dict(json.loads(self.stderr.await_line(wanted, f"'{message}' {fields} in the log", since, timeout_s)))

    def mark(self) -> int:
        """Return a place in the log for ``since``."""
        return len(self.stderr.lines)

    def logged(self, message: str, *, since: int = 0) -> list[Record]:
        """Return the log records so far whose message begins so."""
        records = [json.loads(line) for line in self.stderr.lines[since:] if line.startswith("{")]
        return [record for record in records if record["message"].startswith(message)]

    def await_access(self, **fields: object) -> Record:
        """Return the first access log record with these fields."""

        def wanted(line: str) -> bool:
            return bool(fields.items() <= json.loads(line).items())

        return dict(json.loads(self.stdout.await_line(wanted, f"{fields} in the access log", 0, PATIENCE_S)))

    def accessed(self, **fields: object) -> list[Record]:
        """Return the access log records so far that have these fields."""
        records: list[Record] = [json.loads(line) for line in self.stdout.lines]
        return [record for record in records if fields.items() <= record.items()]

    def port(self, subsystem: str) -> int:
        """Return the port of a listener, once it listens."""
        record = self.await_log("listening", subsystem=subsystem)
        return int(record["addr"].rpartition(":")[2])

    # --- resources ---

    def open_files(self) -> int:
        """Return how many files and sockets the process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def resident_bytes(self) -> int:
        """Return how much memory the process has now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """Return the most memory the process had since ``reset_peak``."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """Return how long the process has used a core since its start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, field: str) -> int:
        match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match[1]) * 1024

    # --- the end ---

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Return the exit code."""
        code = self.popen.wait(timeout_s)
        self.stdout.finish()
        self.stderr.finish()
        return code

    def stop(self) -> None:
        """End the process as an operator does: it must leave with 0, without an error in its log."""
        if self.alive:
            self.signal()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
            raise AssertionError(f"{self.arguments} does not stop:\n{self.errors()}") from None
        self.check()
        assert code == 0, f"{self.arguments} left with {code}:\n{self.errors()}"

    def kill(self) -> None:
        """End the process as the kernel does when memory is short."""
        self.popen.kill()
        self.wait()
        self.check()

    def errors(self) -> str:
        return "".join(self.stderr.lines)

    def last_words(self) -> list[str]:
        """Return why the process ended, as its lines say: records, or text before the form of the log is known."""
        told = [line.removeprefix("pico: ").rstrip("\n") for line in self.stderr.lines if not line.startswith("{")]
        return told + [record["reason"] for record in self.logged(LAST_WORDS) if record["subsystem"] == "process"]

    def check(self) -> None:
        """Check everything written since the last check: no traceback, no internal error, one JSON object a line."""
        for line in (*self.stderr.take(), *self.stdout.take()):
            assert "Traceback" not in line, self.errors()
            assert "internal error" not in line, self.errors()
            if not line.startswith("pico: "):
                record = json.loads(line)
                assert record.get("level") != "error" or record["message"] == LAST_WORDS, line


class Fleet:
    """Starts processes on one runtime and ends them all, newest first."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self._processes: list[Process] = []
        self._reservations = contextlib.ExitStack()

    def start(self, *arguments: str, descriptors: int = 0, stdout: str = "") -> Process:
        process = Process(*arguments, "--runtime", self.runtime, descriptors=descriptors, stdout=stdout)
        self._processes.append(process)
        return process

    def reserve_port(self) -> int:
        """Return a port that belongs to the processes of this fleet until ``close``, also while none listens on it."""
        return self._reservations.enter_context(reserved_port())

    def server(
        self, *flags: str, proxy_port: int = 0, upstream_port: int = 0, descriptors: int = 0, stdout: str = ""
    ) -> "Server":
        return Server(self, flags, proxy_port, upstream_port, descriptors, stdout)

    def agent(self, server: "Server | int", endpoint: str, address: object, *flags: str, kind: str = "http") -> Process:
        """Start an agent, and wait until it is registered if ``server`` is a server and not just a port."""
        port = server if isinstance(server, int) else server.upstream_port
        process = self.start("agent", kind, endpoint, str(address), "--connect.url", f"http://{LOCAL}:{port}", *flags)
        if not isinstance(server, int):
            process.await_log("endpoint registered")
        return process

    def forward(self, server: "Server", endpoint: str, *flags: str) -> tuple[Process, int]:
        """Start a forwarder and return it with its port."""
        url = f"http://{LOCAL}:{server.proxy_port}"
        process = self.start("forward", "tcp", f"{LOCAL}:0", endpoint, "--connect.url", url, *flags)
        return process, process.port("forward")

    def check(self) -> None:
        """Check the log of every process."""
        for process in self._processes:
            process.check()

    def close(self) -> None:
        """Stop the processes that still run; each must leave with 0."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._reservations.close)
            for process in self._processes:
                if process.alive:
                    stack.callback(process.stop)
                else:
                    stack.callback(process.check)


@contextlib.contextmanager
def fleet_of(runtime: str) -> Iterator[Fleet]:
    fleet = Fleet(runtime)
    try:
        yield fleet
    finally:
        fleet.close()


class Server:
    """A server node that is ready, and its ports."""

    def __init__(
        self,
        fleet: Fleet,
        flags: tuple[str, ...],
        proxy_port: int,
        upstream_port: int,
        descriptors: int = 0,
        stdout: str = "",
    ) -> None:
        self.process = fleet.start(
            "server",
            f"--proxy.bind-addr={LOCAL}:{proxy_port}",
            f"--upstream.bind-addr={LOCAL}:{upstream_port}",
            f"--admin.bind-addr={LOCAL}:0",
            # Gossip wants one port on TCP and UDP: one that the kernel chose for TCP may be another's on UDP.
            f"--cluster.gossip.bind-addr={LOCAL}:{fleet.reserve_port()}",
            *(("--drain-delay", "0s") if "--drain-delay" not in flags else ()),
            *flags,
            descriptors=descriptors,
            stdout=stdout,
        )
        self.process.await_log("ready")
        self.proxy_port = self.process.port("proxy")
        self.upstream_port = self.process.port("upstream")
        self.admin_port = self.process.port("admin")
