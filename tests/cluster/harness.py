"""Clusters of real processes: nodes that come and go at fixed addresses, balancers before them, and steady load.

Every time in here is a limit or a pace; nothing is guessed to have happened because some time has passed.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.e2e.harness import (
    LOCAL,
    PATIENCE_S,
    Lines,
    Process,
    Wire,
    receive_response,
    request_bytes,
    reserved_port,
    wait_until,
)
from tests.e2e.origin import Origin, Visit

Address: TypeAlias = tuple[str, int]
Connect: TypeAlias = Callable[[Address], socket.socket]

PICO = (sys.executable, "-m", "pico_tunnel")

FULL_VIEW_S = 2.0
"""How long a cluster may take to know all its nodes, once they can find each other."""

DETECTION_S = 5.0
"""How long a small cluster may take to call a silent node unreachable."""

REQUESTS_PER_CONNECTION = 20
CHECK_INTERVAL_S = 0.5


def connect(address: Address) -> socket.socket:
    """Connect from the namespace of this process."""
    return socket.create_connection(address, PATIENCE_S)


class Command(Process):
    """A running command line, such as ``pico`` in a namespace of its own."""

    def __init__(self, *command: str, environment: dict[str, str] | None = None) -> None:
        self.arguments = command
        self.stopping = False
        self.popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self.stdout = Lines(self.popen.stdout)
        self.stderr = Lines(self.popen.stderr)

    def ask_to_stop(self) -> None:
        """Next: ``await_stop``."""
        if self.alive:
            self.stopping = True
            self.signal(signal.SIGCONT)  # a test may have paused it
            self.signal()

    def await_stop(self) -> None:
        """Wait until a process that was asked to stop has left as well as ``stop`` demands it."""
        if not self.stopping:
            self.check()
            return
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
            raise AssertionError(f"{self.arguments} does not stop:\n{self.errors()}") from None
        self.check()
        assert code == 0, f"{self.arguments} left with {code}:\n{self.errors()}"

    def cpu_s(self) -> float:
        """Return the CPU time the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Place:
    """Where a node lives. A node that comes back comes back here, unless the place is changed meanwhile."""

    name: str
    host: str
    proxy_port: int = 8000
    upstream_port: int = 8001
    admin_port: int = 8002
    gossip_port: int = 8003
    prefix: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def proxy(self) -> Address:
        return (self.host, self.proxy_port)

    @property
    def upstream(self) -> Address:
        return (self.host, self.upstream_port)

    @property
    def admin(self) -> Address:
        return (self.host, self.admin_port)


class Node:
    """A server node that can be ended and started again; every start is a new process with a new node ID."""

    def __init__(self, place: Place, reach: Connect = connect) -> None:
        self.place = place
        self.reach = reach
        self.former: list[Command] = []
        self.process = self._start()

    def _start(self) -> Command:
        place = self.place
        return Command(*place.prefix, *PICO, *place.arguments, environment=place.environment)

    @property
    def id(self) -> str:
        return str(self.process.await_log("ready")["node_id"])

    def start(self) -> None:
        """Start again; ``is_ready`` or ``id`` say when it serves."""
        assert not self.process.alive
        self.former.append(self.process)
        self.process = self._start()

    def restart(self) -> float:
        """Stop and start as a rolling update does, until the node is ready; return how long the stop took."""
        began_at = time.monotonic()
        self.process.stop()
        took_s = time.monotonic() - began_at
        self.start()
        wait_until(self.is_ready, f"{self.place.name} ready")
        return took_s

    def is_ready(self) -> bool:
        return ask(self.place.admin, "/ready", self.reach) == 200

    def members(self) -> set[str]:
        """Return the IDs of the other nodes that count as active here, as the log tells it."""
        active: set[str] = set()
        for line in list(self.process.stderr.lines):
            record = json.loads(line)  # a server logs nothing else
            if record["message"] in ("node joined", "node reachable"):
                active.add(record["node"])
            elif record["message"] in ("node left", "node unreachable", "node forgotten"):
                active.discard(record["node"])
        return active

    def upstreams(self) -> int:
        """Return how many upstreams this node knows of in the whole cluster."""
        return sum(row["upstreams"] for row in json.loads(self.fetch("/status/cluster/nodes")))

    def fetch(self, path: str) -> bytes:
        """Return what the admin port answers."""
        with get(self.place.admin, path, self.reach) as wire:
            head, body = receive_response(wire)
        assert head.status == 200, (path, body)
        return body

    def await_stop(self) -> None:
        """Wait for the end of a node that was asked to stop; hold all it ever wrote against it."""
        self.process.await_stop()
        for process in self.former:
            process.check()


def get(address: Address, path: str, reach: Connect = connect) -> Wire:
    """Send a GET on a connection of its own, which is returned."""
    wire = Wire(reach(address))
    wire.send(f"GET {path} HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n".encode())
    return wire


def ask(address: Address, path: str, reach: Connect = connect) -> int:
    """Return the status of a GET; 0 if nobody answers."""
    try:
        with get(address, path, reach) as wire:
            wire.socket.settimeout(2.0)
            return wire.receive_head().status
    except (OSError, AssertionError):
        return 0


class Cluster:
    """Nodes, and the agents before them. Ends what it started, agents first."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.nodes: list[Node] = []
        self.agents: list[Command] = []
        self.resources = contextlib.ExitStack()

    def agent(self, upstream: Address, endpoint: str, origin: Address, prefix: Sequence[str] = ()) -> Command:
        """Start an agent and wait until it is registered."""
        process = Command(
            *prefix,
            *PICO,
            *("agent", "http", endpoint, f"{origin[0]}:{origin[1]}", "--access-log.disable"),
            *("--connect.url", f"http://{upstream[0]}:{upstream[1]}", "--runtime", self.runtime),
        )
        self.agents.append(process)
        process.await_log("endpoint registered")
        return process

    def holder(self) -> Node:
        """Return the node that was the first to get a tunnel, once there is one."""
        holders: list[Node] = []

        def look() -> bool:
            holders.extend(node for node in self.nodes if node.process.logged("tunnel opened"))
            return bool(holders)

        wait_until(look, "a tunnel")
        return holders[0]

    def is_whole(self) -> bool:
        """Return whether each node counts exactly the others as active."""
        ids = {node.id for node in self.nodes if node.process.alive}
        return all(node.members() == ids - {node.id} for node in self.nodes if node.process.alive)

    def await_whole(self, timeout_s: float = PATIENCE_S) -> float:
        """Return how long it took until the cluster was one."""
        began_at = time.monotonic()
        views = [(node.id, node.members()) for node in self.nodes if node.process.alive]
        wait_until(self.is_whole, f"one cluster, of {views}", timeout_s)
        return time.monotonic() - began_at

    def await_upstreams(self, count: int) -> None:
        """Wait until every node knows of that many upstreams, as it must before one may go at no cost."""
        wait_until(lambda: all(node.upstreams() == count for node in self.nodes), f"{count} upstreams on all nodes")

    def close(self) -> None:
        """Stop everything that runs; all of it must leave well. The resources go last, even if something does not."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.resources.close)
            for node in self.nodes:
                stack.callback(node.await_stop)
            for node in self.nodes:
                stack.callback(node.process.ask_to_stop)
            for agent in self.agents:
                stack.callback(agent.await_stop)
            for agent in self.agents:
                stack.callback(agent.ask_to_stop)


@contextlib.contextmanager
def loopback_cluster(runtime: str, count: int, *flags: str) -> Iterator[Cluster]:
    """A whole cluster of nodes with ports of their own on one address, each told the addresses of all."""
    cluster = Cluster(runtime)
    try:
        ports = [[cluster.resources.enter_context(reserved_port()) for _ in range(4)] for _ in range(count)]
        join = ",".join(f"{LOCAL}:{gossip}" for *_, gossip in ports)
        for index, (proxy, upstream, admin, gossip) in enumerate(ports):
            arguments = (
                *("server", "--runtime", runtime, "--cluster.node-id-prefix", f"n{index}-", "--cluster.join", join),
                *("--proxy.bind-addr", f"{LOCAL}:{proxy}", "--upstream.bind-addr", f"{LOCAL}:{upstream}"),
                *("--admin.bind-addr", f"{LOCAL}:{admin}", "--cluster.gossip.bind-addr", f"{LOCAL}:{gossip}"),
                *("--proxy.access-log.disable", *flags),
            )
            place = Place(f"n{index}", LOCAL, proxy, upstream, admin, gossip, arguments=arguments)
            cluster.nodes.append(Node(place))
        cluster.await_whole()
        yield cluster
    finally:
        cluster.close()


# --- load ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def echo_origin() -> Iterator[tuple[Origin, str]]:
    """A service, and the path below which it answers with the query or the body it got."""
    origin = Origin()

    def echo(visit: Visit) -> None:
        visit.respond(visit.body() or visit.head.target.partition("?")[2].encode())

    try:
        yield origin, origin.handle(echo)
        origin.check()
    finally:
        origin.close()


@dataclass(frozen=True)
class Outcome:
    """One request: when it began, how long it took, and what was wrong with it."""

    began_at: float
    took_s: float
    method: str
    failure: str


class Load:
    """Clients that do one request after the other, each on a connection kept for a while, and never try one again.

    Addresses take turns. Use as a context; its outcomes are whole when the context has ended.
    """

    def __init__(
        self,
        endpoint: str,
        path: str,
        addresses: Sequence[Address],
        *,
        clients: int = 4,
        pause_s: float = 0.008,
        methods: Sequence[str] = ("GET", "POST"),
        patience_s: float = PATIENCE_S,
        reach: Connect = connect,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._endpoint = endpoint
        self._path = path
        self._turns = itertools.cycle(addresses)
        self._pause_s = pause_s
        self._methods = methods
        self._patience_s = patience_s
        self._reach = reach
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, client: int) -> None:
        wire: Wire | None = None
        for number in itertools.count():
            if self._stopping.wait(self._pause_s):
                break
            method = self._methods[number % len(self._methods)]
            began_at = time.monotonic()
            failure = ""
            try:
                if wire is None:
                    wire = Wire(self._reach(next(self._turns)))
                    wire.socket.settimeout(self._patience_s)
                keep = self._request(wire, method, f"{client}-{number}")
            except (OSError, AssertionError) as error:
                failure, keep = repr(error)[:300], False
            self.outcomes.append(Outcome(began_at, time.monotonic() - began_at, method, failure))
            if wire is not None and (not keep or (number + 1) % REQUESTS_PER_CONNECTION == 0):
                wire.socket.close()
                wire = None
        if wire is not None:
            wire.socket.close()

    def _request(self, wire: Wire, method: str, token: str) -> bool:
        """Return whether the connection can carry another request."""
        if method == "POST":
            wire.send(request_bytes(self._endpoint, self._path, method, body=token.encode()))
        else:
            wire.send(request_bytes(self._endpoint, f"{self._path}?{token}", method))
        head, body = receive_response(wire, method)
        assert (head.status, body) == (200, token.encode()), f"{method} {token}: {head.status} {body[:200]!r}"
        return head["connection"].lower() != "close"

    def go_on(self, requests: int) -> None:
        """Wait until so many more are done."""
        reached = len(self.outcomes) + requests
        wait_until(lambda: len(self.outcomes) >= reached, f"{requests} requests")

    # --- what came of it ---

    def failures(self, began_after: float = 0.0) -> list[Outcome]:
        return [each for each in self.outcomes if each.failure and each.began_at >= began_after]

    def slowest_s(self, began_after: float = 0.0) -> float:
        return max((each.took_s for each in self.outcomes if each.began_at >= began_after), default=0.0)

    def report(self, what: str) -> None:
        """Print the figures of a test (``pytest -s`` shows them)."""
        print(
            f"\n{what}: {len(self.outcomes)} requests, {len(self.failures())} failed, "
            f"slowest {self.slowest_s() * 1e3:.0f} ms"
        )

    def check(self, at_least: int) -> None:
        """Nothing failed, and it was not for lack of requests."""
        assert not self.failures(), self.failures()[:10]
        assert len(self.outcomes) >= at_least


# --- balancers -------------------------------------------------------------------------------------------------------


class Balancer:
    """A TCP load balancer in a few lines: asks ``/ready`` twice a second, takes turns among the nodes that were."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._ready = list(places)
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
        with contextlib.ExitStack() as reservations:
            ports = [reservations.enter_context(reserved_port()) for _ in range(3)]
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
