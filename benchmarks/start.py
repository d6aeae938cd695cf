"""Processor time of a server's start: until its ports are open, and until it answers. Linux, for /proc.

``python benchmarks/start.py [ROUNDS]`` prints the medians of each runtime, in CPU seconds since ``exec``.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.ports import reserved_port

RUNTIMES = ("uvloop", "asyncio", "trio")

CONFIG = """
proxy: {{bind_addr: "127.0.0.1:{0}"}}
upstream: {{bind_addr: "127.0.0.1:{1}"}}
admin: {{bind_addr: "127.0.0.1:{2}"}}
cluster: {{gossip: {{bind_addr: "127.0.0.1:{3}"}}}}
drain_delay: 0s
"""


def cpu_s(process: int) -> float:
    """Return the processor time of all threads of a process so far."""
    tasks = os.listdir(f"/proc/{process}/task")
    return sum(int(Path(f"/proc/{process}/task/{task}/schedstat").read_text().split()[0]) for task in tasks) / 1e9


def start(runtime: str, config: str) -> tuple[float, float]:
    """Start a server once; return the processor time until its last port is open, and until it has answered."""
    with ExitStack() as stack:
        ports = [stack.enter_context(reserved_port()) for _ in range(4)]
        Path(config).write_text(CONFIG.format(*ports))
        command = [sys.executable, "-m", "pico_tunnel", "server", "--config.path", config, "--runtime", runtime]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
    """Connect as soon as the port is open."""
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.0005)


def main(rounds: int) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as config:
        for runtime in RUNTIMES:
            open_s, answered_s = zip(*[start(runtime, config.name) for _ in range(rounds)], strict=True)
            print(f"{runtime:8} open {statistics.median(open_s):.3f}  answers {statistics.median(answered_s):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
