"""Load balancers before a cluster: one in a few lines, and HAProxy."""

import contextlib
import csv
import itertools
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.harness import Place, ask, connect
from tests.e2e.harness import LOCAL
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until

CHECK_INTERVAL_S = 0.5


class Balancer:
    """A TCP load balancer in a few lines: asks ``/ready`` twice a second, takes turns among the nodes that were."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._ready = list(places)
        self.turned_away = 0
        """Connections that were closed because no node was ready."""
        self._turns = itertools.count()
        self._stopping = threading.Event()
        self._listeners = [socket.create_server((LOCAL, 0), backlog=256) for _ in range(2)]
        self.proxy, self.upstream = (listener.getsockname() for listener in self._listeners)
        self._threads = [threading.Thread(target=self._check, daemon=True)]
        for listener, port in zip(self._listeners, ("proxy", "upstream"), strict=True):
            self._threads.append(threading.Thread(target=self._accept, args=(listener, port), daemon=True))
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Balancer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for listener in self._listeners:
            listener.close()

    def _check(self) -> None:
        while not self._stopping.wait(CHECK_INTERVAL_S):
            self._ready = [place for place in self._places if ask(place.admin, "/ready") == 200]

    def _accept(self, listener: socket.socket, port: str) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, port), daemon=True).start()

    def _serve(self, client: socket.socket, port: str) -> None:
        with client:
            server = self._choose(port)
            if server is not None:
                with server:
                    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                    back.start()
                    _pump(client, server)
                    back.join()

    def _choose(self, port: str) -> socket.socket | None:
        """Connect to the next ready node, or the one after it."""
        ready = self._ready
        for _ in range(len(ready)):
            with contextlib.suppress(OSError):
                return connect(getattr(ready[next(self._turns) % len(ready)], port))
        self.turned_away += 1
        return None


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction to its end, and pass the end on."""
    source.settimeout(None)
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for each, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            each.shutdown(how)


HAPROXY = """
global
  maxconn 2000
  log stdout format raw daemon
  stats socket {control} level admin
defaults
  mode http
  log global
  option httplog
  timeout connect 2s
  timeout client 65s
  timeout server 65s
  timeout tunnel 1h
  retries 3
  option redispatch 1
{chosen_by}
frontend proxy
  bind {host}:{proxy}
  default_backend proxy
frontend upstream
  bind {host}:{upstream}
  default_backend upstream
backend proxy
  balance roundrobin
{proxy_servers}
backend upstream
  balance roundrobin
{upstream_servers}
"""

CHECKED = f"""
  option httpchk GET /ready
  option log-health-checks
  timeout check 2s
  default-server check inter {CHECK_INTERVAL_S * 1e3:.0f}ms fall 3 rise 1
"""
"""A single check that fails may be one that a machine with other work answers late."""

TOLD = """
  default-server disabled
"""

FAILED = re.compile(r" 5\d\d \d+ - - (?P<state>\S\S)")


class Haproxy:
    """HAProxy before both ports, in HTTP mode. It checks ``/ready``, or, if it ``is_told``, knows nothing but that."""

    def __init__(
        self,
        places: Sequence[Place],
        folder: Path,
        host: str = LOCAL,
        prefix: Sequence[str] = (),
        *,
        is_told: bool = False,
    ) -> None:
        self._reservations = contextlib.ExitStack()
        ports = [self._reservations.enter_context(reserved_port()) for _ in range(2)]
        self.proxy, self.upstream = ((host, port) for port in ports)
        self._hosts = [place.host for place in places]
        self._control = folder / "haproxy"
        self._told = threading.Lock()
        self._times_told = itertools.count()
        self._newest = -1
        self._timers: list[threading.Timer] = []
        servers = {
            port: "\n".join(
                f"  server s{number} {place.host}:{getattr(place, port)} port {place.admin_port}"
                for number, place in enumerate(places)
            )
            for port in ("proxy_port", "upstream_port")
        }
        path = folder / "haproxy.cfg"
        path.write_text(
            HAPROXY.format(
                host=host,
                control=self._control,
                chosen_by=TOLD if is_told else CHECKED,
                **dict(zip(("proxy", "upstream"), ports, strict=True)),
                proxy_servers=servers["proxy_port"],
                upstream_servers=servers["upstream_port"],
            )
        )
        self._log = folder / "haproxy.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen([*prefix, "haproxy", "-db", "-f", str(path)], stdout=log, stderr=log)
        wait_until(self._listens, "haproxy")

    def __enter__(self) -> "Haproxy":
        return self

    def __exit__(self, *exception: object) -> None:
        """Also print what it answered itself, or could not pass on: pytest shows it with a failure."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        self._popen.kill()
        self._popen.wait()
        self._reservations.close()
        for line in self.failed()[:20]:
            print(line)

    def tell(self, hosts: Sequence[str], delay_s: float = 0.0) -> None:
        """Use the servers at these addresses from then on, and no other; connections that are open stay so."""
        timer = threading.Timer(delay_s, self._use, (next(self._times_told), hosts))
        self._timers.append(timer)
        timer.start()

    def _use(self, number: int, hosts: Sequence[str]) -> None:
        with self._told:
            if number < self._newest:
                return
            self._newest = number
            for server, host in enumerate(self._hosts):
                for backend in ("proxy", "upstream"):
                    state = "ready" if host in hosts else "maint"
                    answer = self._command(f"set server {backend}/s{server} state {state}")
                    assert not answer.strip(), answer

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._command("show version"))
        return False

    def _command(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE_S)
            control.connect(str(self._control))
            control.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: control.recv(65_536), b"")).decode()

    def _servers(self) -> list[dict[str, str]]:
        """Return the rows of the servers, in both backends."""
        rows = csv.DictReader(self._command("show stat").removeprefix("# ").splitlines())
        return [row for row in rows if row["svname"].startswith("s")]

    def ready_servers(self) -> int:
        """Return how many servers of the proxy port it uses; -1 while not all were checked."""
        servers = [row for row in self._servers() if row["pxname"] == "proxy"]
        if any(row["check_status"] == "INI" for row in servers):
            return -1
        return sum(row["status"].startswith(("UP", "no check")) for row in servers)

    def is_checking_all(self) -> bool:
        """Whether it waits for an answer to a check of each server: a star precedes the outcome of the one before."""
        return all(row["check_status"].startswith("* ") for row in self._servers())

    def await_servers(self, count: int) -> None:
        """Wait until it uses exactly ``count`` servers, all of which it has checked if it checks any."""
        wait_until(lambda: self.ready_servers() == count, f"{count} servers up at haproxy")

    def failed(self) -> list[str]:
        """Return the lines of its log about requests that it could not pass on."""
        lines = self._log.read_text().splitlines()
        return [line for line in lines if (found := FAILED.search(line)) and found["state"] != "--"]
