"""Start and measure real processes for the end-to-end benchmarks. Linux, for /proc; nginx and wrk from Debian."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

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

    def __init__(self, *command, **options):
        self.popen = subprocess.Popen(command, text=True, **options)

    def cpu_s(self):
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_bytes(self):
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()


class Stack:
    """Floor, nginx, server and agent; ``with Stack(runtime) as stack``."""

    def __init__(self, runtime, *server_flags):
        self.folder = Path(tempfile.mkdtemp(prefix="pico-bench-"))
        self.processes = []
        self.floor = self._start(sys.executable, "-c", FLOOR, stdout=subprocess.PIPE)
        self.floor_port = int(self.floor.popen.stdout.readline())
        self.nginx_port = free_port()
        with (self.folder / "big").open("wb") as file:
            file.truncate(1 << 30)
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder, port=self.nginx_port))
        self._start("nginx", "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "error.log"))
        quiet = "--proxy.access-log.disable=true"
        self.server = self.pico(
            "server", "--runtime", runtime, quiet, "--proxy.bind-addr=127.0.0.1:0", "--upstream.bind-addr=127.0.0.1:0",
            "--admin.bind-addr=127.0.0.1:0", "--cluster.gossip.bind-addr=127.0.0.1:0", *server_flags,
        )  # fmt: skip
        ports = {}
        for line in self.server.popen.stderr:
            record = json.loads(line)
            if record["message"] == "listening":
                ports[record["subsystem"]] = int(record["addr"].rpartition(":")[2])
            elif record["message"] == "ready":
                break
        self.ports = ports
        self.agent = self.start_agent("e1", self.nginx_port, runtime)
        self.url = f"http://127.0.0.1:{ports['proxy']}"

    def start_agent(self, endpoint, port, runtime):
        agent = self.pico(
            "agent", "http", endpoint, f"127.0.0.1:{port}", "--runtime", runtime, "--access-log.disable=true",
            f"--connect.url=http://127.0.0.1:{self.ports['upstream']}",
        )  # fmt: skip
        for line in agent.popen.stderr:
            if json.loads(line)["message"] == "endpoint registered":
                break
        return agent

    def start_sink(self):
        sink = self._start(sys.executable, "-c", SINK, stdout=subprocess.PIPE)
        return int(sink.popen.stdout.readline())

    def pico(self, *arguments):
        output = (self.folder / "access.log").open("w")
        return self._start(sys.executable, "-m", "pico_tunnel", *arguments, stdout=output, stderr=subprocess.PIPE)

    def _start(self, *command, **options):
        process = Process(*command, **options)
        self.processes.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.popen.args[0] == "nginx":
                process.popen.terminate()
                process.popen.wait()
            else:
                process.stop()
        shutil.rmtree(self.folder)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wrk(url, seconds, *, connections=50, headers=()):
    """Run wrk and return requests done; anything but 2xx or a socket error is a failure."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *(f"-H{each}" for each in headers), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"wrk saw errors:\n{output}")
    return int(re.search(r"(\d+) requests in", output)[1])


def wait_for_health(port, timeout_s=20):
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
