"""Load balancers before a cluster: one in a few lines, and HAProxy."""

import contextlib
import http.client
import itertools
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.harness import Connect, Place, ask, connect
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
defaults
  mode http
  timeout connect 2s
  timeout client 65s
  timeout server 65s
  timeout tunnel 1h
  retries 3
  option redispatch 1
  option httpchk GET /ready
  default-server check inter 500ms fall 1 rise 1
frontend proxy
  bind {host}:{proxy}
  default_backend proxy
frontend upstream
  bind {host}:{upstream}
  default_backend upstream
frontend stats
  bind {host}:{stats}
  stats enable
  stats uri /stats
backend proxy
  balance roundrobin
{proxy_servers}
backend upstream
  balance roundrobin
{upstream_servers}
"""


class Haproxy:
    """HAProxy before both ports, in HTTP mode, with health checks of ``/ready``."""

    def __init__(
        self,
        places: Sequence[Place],
        folder: Path,
        host: str = LOCAL,
        prefix: Sequence[str] = (),
        reach: Connect = connect,
    ) -> None:
        self._reservations = contextlib.ExitStack()
        ports = [self._reservations.enter_context(reserved_port()) for _ in range(3)]
        self.proxy, self.upstream, self._stats = ((host, port) for port in ports)
        self._reach = reach
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
                **dict(zip(("proxy", "upstream", "stats"), ports, strict=True)),
                proxy_servers=servers["proxy_port"],
                upstream_servers=servers["upstream_port"],
            )
        )
        self._popen = subprocess.Popen(
            [*prefix, "haproxy", "-db", "-q", "-f", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> "Haproxy":
        return self

    def __exit__(self, *exception: object) -> None:
        self._popen.kill()
        self._popen.wait()
        self._reservations.close()

    def ready_servers(self) -> int:
        """Return how many servers of the proxy port pass their checks; -1 while not all were checked."""
        try:
            wire = self._reach(self._stats)
        except OSError:
            return -1
        client = http.client.HTTPConnection(*self._stats)
        client.sock = wire
        with contextlib.closing(client):
            client.request("GET", "/stats;csv")
            rows = [line.split(",") for line in client.getresponse().read().decode().splitlines()]
        status = rows[0].index("status")
        check = rows[0].index("check_status")
        servers = [row for row in rows if row[0] == "proxy" and row[1].startswith("s")]
        if any(row[check] in ("", "INI") for row in servers):
            return -1
        return sum(row[status].startswith("UP") for row in servers)

    def await_servers(self, count: int) -> None:
        """Wait until it has checked all servers and ``count`` of them are up."""
        wait_until(lambda: self.ready_servers() == count, f"{count} servers up at haproxy")
