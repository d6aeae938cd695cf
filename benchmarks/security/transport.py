"""The cost of TLS to the server: requests, gigabytes, and handshakes beside those of nginx with the same key."""

import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Process, first_number, reserve_port, wrk
from benchmarks.security.site import ENDPOINT, NAME, Certificates, Figure, at_most, spent_s
from benchmarks.site import Stack

PATIENCE_S = 10.0

NGINX_TLS = """
worker_processes 1; daemon off; user root; pid {folder}/tls.pid; error_log {folder}/tls.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:sessions:4m;
    location / {{ return 200 "hello\\n"; }}
  }}
}}
"""


def requests_and_gigabytes(runtime: str, rounds: int) -> list[Figure]:
    """Measure a plain node and one whose proxy port speaks TLS in turns."""
    folder = Path(tempfile.mkdtemp(prefix="pico-security-"))
    try:
        flags = Certificates(folder, "ecdsa").flags("proxy")
        with Stack(runtime) as plain, Stack(runtime, *flags) as secure:
            url = secure.url.replace("http://127.0.0.1", f"https://{NAME}")
            costs = [(_request_s(plain, plain.url), _request_s(secure, url)) for _ in range(rounds + 1)][
                1:
            ]  # the first is to warm up
            gigabytes = [(_gigabyte_s(plain, plain.url), _gigabyte_s(secure, url)) for _ in range(rounds)]
    finally:
        shutil.rmtree(folder)
    return [
        _ratio(f"{runtime}: request over TLS, c=50, of plain CPU", costs, 1.6, 1e6, "us"),
        _ratio(f"{runtime}: gigabyte over TLS, of plain CPU", gigabytes, 2.0, 1.0, "s"),
    ]


def _request_s(stack: Stack, url: str) -> float:
    return spent_s(stack.server.popen.pid, lambda: wrk(url, 1, headers=ENDPOINT))


def _gigabyte_s(stack: Stack, url: str) -> float:
    def fetch() -> int:
        command = ["curl", "-sS", "-f", "-k", "-o", "/dev/null", "-H", ENDPOINT[0], f"{url}/big"]
        subprocess.run(command, check=True)
        return 1

    return spent_s(stack.server.popen.pid, fetch)


def _ratio(name: str, pairs: list[tuple[float, float]], limit: float, scale: float, unit: str) -> Figure:
    """Return the median of the rounds' ratios."""
    first, second = (statistics.median(side) * scale for side in zip(*pairs, strict=True))
    ratio = statistics.median(after / before for before, after in pairs)
    return at_most(name, ratio, limit, "x", f"{first:.3g} -> {second:.3g} {unit}, {len(pairs)} rounds")


def handshakes(runtime: str, rounds: int) -> list[Figure]:
    """Measure handshakes of nginx and of the proxy port, with one key for both, in turns."""
    found = []
    for kind in ("ecdsa", "rsa"):
        folder = Path(tempfile.mkdtemp(prefix="pico-security-"))
        try:
            certificates = Certificates(folder, kind)
            with nginx(folder, certificates) as (worker, port), Stack(runtime, *certificates.flags("proxy")) as stack:
                for version in ("-tls1_3", "-tls1_2"):
                    pairs = [
                        (_handshake_s(worker, port, version),
                         _handshake_s(stack.server.popen.pid, stack.ports["proxy"], version))
                        for _ in range(rounds)
                    ]  # fmt: skip
                    name = f"{runtime}: handshake, {kind}, {version[1:]}, of nginx"
                    found.append(_ratio(name, pairs, 1.3, 1e6, "us"))
        finally:
            shutil.rmtree(folder)
    return found


def _handshake_s(pid: int, port: int, version: str) -> float:
    def shake() -> int:
        command = ["openssl", "s_time", "-connect", f"{NAME}:{port}", "-new", "-time", "1", version]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return first_number(r"(\d+) connections in \d+ real", output)

    return spent_s(pid, shake)


@contextmanager
def nginx(folder: Path, certificates: Certificates) -> Iterator[tuple[int, int]]:
    """Run nginx over TLS; yield the process ID of its worker, and its port."""
    held = reserve_port()
    port: int = held.getsockname()[1]
    config = folder / "tls.conf"
    config.write_text(NGINX_TLS.format(folder=folder, port=port, cert=certificates.cert, key=certificates.key))
    process = Process("nginx", "-c", str(config), "-e", str(folder / "tls.log"))
    try:
        until = time.monotonic() + PATIENCE_S
        while not _answers(port):
            if time.monotonic() > until:
                raise SystemExit("nginx does not listen")
            time.sleep(0.02)
        children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text()
        yield int(children.split()[0]), port
    finally:
        process.popen.terminate()
        process.popen.wait()
        held.close()


def _answers(port: int) -> bool:
    try:
        socket.create_connection((NAME, port), 1.0).close()
    except OSError:
        return False
    return True
