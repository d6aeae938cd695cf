"""Start and measure real processes for the end-to-end benchmarks. Linux, for /proc; nginx and wrk from Debian."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

FLOOR = """
import asyncio, sys, uvloop
REPLY = (b"HTTP/1.1 200 OK\\r\\nServer: floor\\r\\nDate: Mon, 23 Nov 2026 02:45:26 GMT\\r\\n"
         b"Content-Type: text/plain\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n")
class Fixed(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(REPLY)
async def main():
    server = await asyncio.get_running_loop().create_server(Fixed, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""

SINK = """
import asyncio
class Sink(asyncio.BufferedProtocol):
    buffer = bytearray(1 << 20)
    def connection_made(self, transport): self.transport, self.left = transport, None
    def get_buffer(self, hint): return self.buffer
    def buffer_updated(self, size):
        if self.left is None:
            head, _, _ = bytes(self.buffer[:size]).partition(b"\\r\\n\\r\\n")
            self.left = int(head.lower().partition(b"content-length:")[2].split()[0]) + len(head) + 4
        self.left -= size
        if not self.left:
            self.left = None
            self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
async def main():
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

NGINX = """
worker_processes 1; daemon off; user root; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 100000000; sendfile on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type text/plain; return 200 "hello\\n"; }}
    location /big {{ alias {folder}/big; }}
  }}
}}
"""


class Process:
    """A child process with its CPU time and memory."""

    def __init__(self, *command: str, stdout: int | IO[str] | None = None, stderr: int | None = None) -> None:
        self.command = " ".join(command)
        self.popen = subprocess.Popen(command, text=True, stdout=stdout, stderr=stderr)

    def read_number(self) -> int:
        """Return the number on the next line of its output, such as its port."""
        assert self.popen.stdout is not None
        return int(self.popen.stdout.readline())

    def read_log(self) -> Iterator[dict[str, Any]]:
        """The records of its log, each as it comes."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            yield json.loads(line)

    def await_log(self, message: str) -> None:
        """Read the log up to this message. Raises ``SystemExit`` if the process ends without it."""
        if not any(record["message"] == message for record in self.read_log()):
            raise SystemExit(f"no '{message}' from {self.command}")

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
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return first_number(r"VmRSS:\s+(\d+) kB", status) * 1024

    def stop(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()


class Stack:
    """Floor, nginx, server and agent; ``with Stack(runtime) as stack``."""

    def __init__(self, runtime: str, *server_flags: str, agent_flags: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pico-bench-"))
        self.processes: list[Process] = []
        self.floor = self._start(sys.executable, "-c", FLOOR, stdout=subprocess.PIPE)
        self.floor_port = self.floor.read_number()
        self._reservation = reserve_port()  # nginx cannot say which port the kernel chose for it
        self.nginx_port: int = self._reservation.getsockname()[1]
        with (self.folder / "big").open("wb") as file:
            file.truncate(1 << 30)
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder, port=self.nginx_port))
        self.nginx = self._start("nginx", "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "error.log"))
        quiet = "--proxy.access-log.disable=true"
        self.server = self.pico(
            "server", "--runtime", runtime, quiet, "--proxy.bind-addr=127.0.0.1:0", "--upstream.bind-addr=127.0.0.1:0",
            "--admin.bind-addr=127.0.0.1:0", "--cluster.gossip.bind-addr=127.0.0.1:0", *server_flags,
        )  # fmt: skip
        self.ports = self.server.await_ready()
        if any(flag.startswith("--workers") for flag in server_flags):
            self.server.await_log("all workers are ready")
        self.agent = self.start_agent("e1", self.nginx_port, runtime, agent_flags)
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"

    def start_agent(self, endpoint: str, port: int, runtime: str, flags: Sequence[str] = ()) -> Process:
        agent = self.pico(
            "agent", "http", endpoint, f"127.0.0.1:{port}", "--runtime", runtime, "--access-log.disable=true",
            f"--connect.url=http://127.0.0.1:{self.ports['upstream']}", *flags,
        )  # fmt: skip
        agent.await_log("endpoint registered")
        return agent

    def start_sink(self) -> int:
        """Start a service that takes uploads, and return its port."""
        return self._start(sys.executable, "-c", SINK, stdout=subprocess.PIPE).read_number()

    def pico(self, *arguments: str) -> Process:
        output = (self.folder / "access.log").open("w")
        return self._start(sys.executable, "-m", "pico_tunnel", *arguments, stdout=output, stderr=subprocess.PIPE)

    def _start(self, *command: str, stdout: int | IO[str] | None = None, stderr: int | None = None) -> Process:
        process = Process(*command, stdout=stdout, stderr=stderr)
        self.processes.append(process)
        return process

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.nginx.popen.terminate()  # SIGTERM: its workers end with it
        self.nginx.popen.wait()
        for process in reversed(self.processes):
            process.stop()
        self._reservation.close()
        shutil.rmtree(self.folder)


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


def wrk(url: str, seconds: int, *, connections: int = 50, headers: Sequence[str] = ()) -> int:
    """Run wrk and return requests done; anything but 2xx or a socket error is a failure."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *(f"-H{each}" for each in headers), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"wrk saw errors:\n{output}")
    return first_number(r"(\d+) requests in", output)


def wait_for_health(port: int, timeout_s: float = 20.0) -> None:
    """Poll /health until it answers 200."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
                if response.status == 200:
                    return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
