"""``pico server --workers``: real processes on the same ports; one is killed, replaced, reloaded, drained."""

import json
import os
import queue
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import LOCAL, Fleet, Process, Server
from tests.e2e.origin import Origin, Visit
from tests.e2e.test_live import viewer
from tests.e2e.wire import dial, receive_response, request, request_bytes
from tests.waiting import PATIENCE_S, wait_until

WORKERS = 2
CLIENTS = 4


def workers(fleet: Fleet, *flags: str) -> Server:
    """Start a server with workers, and wait until all of them are ready."""
    server = fleet.server("--workers", str(WORKERS), *flags)
    server.process.await_log("all workers are ready")
    return server


def agent(fleet: Fleet, server: Server, origin: Origin) -> Process:
    """Start an agent whose tunnels lead to all workers."""
    started = fleet.agent(server, "origin", origin.port, "--connections", str(WORKERS))
    wait_until(lambda: tunnels(server) == [1] * WORKERS, "every worker has a tunnel")
    return started


def tunnels(server: Server) -> list[int]:
    """Return how many tunnels each worker has that takes requests."""
    return [each["upstreams"] for each in ask(server, "/status/cluster/nodes") if each["status"] == "active"]


def page(server: Server, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
    wanted = urllib.request.Request(f"http://{LOCAL}:{server.admin_port}{path}", headers=fields or {})
    try:
        with urllib.request.urlopen(wanted, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ask(server: Server, path: str) -> Any:
    status, text = page(server, path)
    assert status == 200, text
    return json.loads(text)


def rows(server: Server) -> list[dict[str, Any]]:
    return list(ask(server, "/status/workers"))


def everywhere(server: Server) -> list[dict[str, Any]]:
    """Return the overviews of all nodes, as a page without a stream asks for them."""
    here = ask(server, "/status/overview")
    return [here, *(ask(server, f"/status/overview?forward={each['id']}") for each in here["nodes"])]


def served(server: Server) -> dict[str, float]:
    """Return how many requests each worker has answered."""
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(page(server, "/metrics")[1]):
        for sample in family.samples:
            if sample.name == "pico_proxy_requests_total":
                worker = sample.labels["worker"]
                counts[worker] = counts.get(worker, 0) + sample.value
    return counts


class Load:
    """Clients that ask one request after the other, each on a new connection. ``failed`` says what went wrong."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self.failed: list[str] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for each in self._threads:
            each.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                head, body = request(self._port, "origin", "/describe")
                if head.status != 200:
                    self.failed.append(f"{head.status} {body!r}")
            except (OSError, AssertionError) as error:
                self.failed.append(repr(error))
            self.count += 1

    def more(self, count: int) -> None:
        """Wait for further requests."""
        until = self.count + count
        wait_until(lambda: self.count >= until, "further requests")

    def end(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


@contextmanager
def load(server: Server) -> Iterator[Load]:
    running = Load(server.proxy_port)
    try:
        yield running
    finally:
        running.end()


def test_all_workers_serve_and_the_admin_port_speaks_for_all(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet)
    agent(fleet, server, origin)

    def all_have_served() -> bool:
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        return len(served(server)) == WORKERS

    wait_until(all_have_served, "all workers have answered requests")
    assert page(server, "/health") == (200, "ok\n")
    assert page(server, "/ready") == (200, "running: 2 of 2 workers are ready\n")
    found = rows(server)
    assert [(each["worker"], each["state"], each["restarts"]) for each in found] == [(1, "ready", 0), (2, "ready", 0)]
    nodes = ask(server, "/status/cluster/nodes")
    assert {each["id"] for each in nodes} == {each["node_id"] for each in found}
    endpoints = "/status/upstream/endpoints"
    wait_until(lambda: ask(server, endpoints) == {"origin": WORKERS}, "tunnels that were moved are left")
    for each in found:
        detail = ask(server, f"/status/cluster/nodes/local?forward={each['node_id']}")
        assert detail["id"] == each["node_id"], "a question to one worker reaches that one"
    overviews = everywhere(server)
    assert sum(each["requests"] for each in overviews) == sum(served(server).values()), "each worker counts once"
    assert page(server, "/status/upstream/endpoints", {"Host": "page.example.com"})[0] == 421
    assert page(server, "/nothing")[0] == 404
    assert page(server, "/")[1].startswith("<!doctype html>")


def test_the_stream_of_a_worker_tells_of_all_and_ends_with_it(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet)
    agent(fleet, server, origin)
    for _ in range(10):
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
    processes = {each["node_id"]: each["pid"] for each in rows(server)}
    seen: dict[str, dict[str, Any]] = {}
    with viewer(server.admin_port) as events:
        here = ""
        while seen.keys() != processes.keys():
            kind, told = next(events)
            assert kind in ("here", "node")
            seen[told["node"]] = told
            here = told["node"] if kind == "here" else here
        counted = {each["node"]: (each["requests"], each["tunnels"]) for each in everywhere(server)}
        assert {node: (told["requests"], told["tunnels"]) for node, told in seen.items()} == counted
        assert sum(requests for requests, _ in counted.values()) == sum(served(server).values())
        os.kill(processes[here], signal.SIGKILL)
        assert [kind for kind, _ in events][-1:] in ([], ["here"]), "the rest, and its end in order"
    with viewer(server.admin_port) as events:
        assert next(told["node"] for kind, told in events if kind == "here") != here


def test_a_worker_that_is_killed_is_replaced(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet)
    agent(fleet, server, origin)
    with load(server) as running:
        running.more(100)
        victim = rows(server)[1]
        os.kill(victim["pid"], signal.SIGKILL)
        wait_until(lambda: rows(server)[1]["restarts"] == 1 and rows(server)[1]["state"] == "ready", "another one")
        wait_until(lambda: tunnels(server) == [1] * WORKERS, "every worker has a tunnel again")
        running.more(100)
    assert len(running.failed) <= CLIENTS, f"only requests in flight are lost: {running.failed}"
    assert rows(server)[1]["node_id"] != victim["node_id"]
    assert rows(server)[0]["restarts"] == 0
    ended = server.process.await_log("worker ended")
    assert (ended["reason"], ended["pid"]) == ("it was ended by SIGKILL", victim["pid"])
    assert 'pico_worker_restarts_total{worker="2"} 1' in page(server, "/metrics")[1]


def test_a_stop_drains_all_workers(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet)
    agent(fleet, server, origin)
    arrived: queue.Queue[None] = queue.Queue()
    let_go = threading.Event()

    def held(visit: Visit) -> None:
        visit.body()
        arrived.put(None)
        assert let_go.wait(PATIENCE_S)
        visit.respond(b"late, and whole")

    path = origin.handle(held)
    clients = [dial(server.proxy_port) for _ in range(16)]
    for client in clients:
        client.send(request_bytes("origin", path))
    for _ in clients:
        arrived.get(timeout=PATIENCE_S)
    server.process.signal()
    for number in range(1, WORKERS + 1):
        server.process.await_log("draining", worker=number)
    assert page(server, "/ready")[0] == 503
    let_go.set()
    for client in clients:
        head, body = receive_response(client)
        assert (head.status, body) == (200, b"late, and whole")
        client.socket.close()
    assert server.process.wait() == 0


def test_a_reload_reaches_all_workers_and_replaces_them_where_it_must(
    fleet: Fleet, origin: Origin, tmp_path: Path
) -> None:
    file = tmp_path / "pico.yaml"
    file.write_text("log: {level: info}\n")
    server = workers(fleet, "--config.path", str(file))
    agent(fleet, server, origin)
    before = rows(server)
    with load(server) as running:
        running.more(50)
        file.write_text("grace_period: 20s\n")
        server.process.signal(signal.SIGHUP)
        for number in range(1, WORKERS + 1):
            server.process.await_log("configuration read again", worker=number, changed="grace_period")
        assert rows(server) == before

        file.write_text("grace_period: 20s\nupstream: {rebalance: {threshold: 0.5}}\nproxy: {bind_addr: ':1'}\n")
        server.process.signal(signal.SIGHUP)
        server.process.await_log("all workers go by the changed configuration")
        running.more(50)
    assert running.failed == []
    after = rows(server)
    assert not {each["pid"] for each in before} & {each["pid"] for each in after}
    assert [each["restarts"] for each in after] == [0, 0]
    assert not server.process.logged("some changes need a restart"), "the flag wins over the address in the file"

    file.write_text("grace_period: 20\n")
    server.process.signal(signal.SIGHUP)
    server.process.await_log("the changed configuration is not used")
    assert rows(server) == after


def test_other_nodes_join_through_the_gossip_port_and_reach_every_worker(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet)
    agent(fleet, server, origin)
    flag = next(each for each in server.process.arguments if each.startswith("--cluster.gossip.bind-addr="))
    other = fleet.server("--cluster.join", flag.partition("=")[2])
    wait_until(lambda: len(ask(other, "/status/cluster/nodes")) == WORKERS + 1, "all nodes know each other")
    for _ in range(50):
        assert request(other.proxy_port, "origin", "/describe")[0].status == 200
    metrics = page(other, "/metrics")[1].splitlines()
    assert sum(line.startswith("pico_upstreams_remote_requests_total{") for line in metrics) == WORKERS


def test_workers_end_with_the_process_that_started_them(fleet: Fleet) -> None:
    server = workers(fleet)
    pids = [each["pid"] for each in rows(server)]
    server.process.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers have stopped")
    assert len(server.process.logged("stopped")) == WORKERS


def test_a_second_signal_ends_all_at_once(fleet: Fleet, origin: Origin) -> None:
    server = workers(fleet, "--drain-delay", "40s")
    server.process.signal(signal.SIGINT)
    server.process.await_log("draining", worker=1)
    server.process.signal(signal.SIGINT)
    assert server.process.wait() == 1
    assert server.process.last_words() == ["stopped at once by a second signal"]


def failed(fleet: Fleet, *flags: str) -> tuple[int, list[str]]:
    """Run a server that cannot start; return its exit code and the reasons that it gives."""
    process = fleet.start("server", "--workers", "2", *(f"--{port}.bind-addr={LOCAL}:0" for port in PORTS), *flags)
    code = process.wait()
    return code, process.last_words()


PORTS = ("proxy", "upstream", "admin", "cluster.gossip")


def test_what_cannot_work_is_told_in_one_line(fleet: Fleet) -> None:
    with socket.socket() as taken:
        taken.bind((LOCAL, 0))
        taken.listen()
        address = f"{LOCAL}:{taken.getsockname()[1]}"
        for key, name in (("proxy", "proxy"), ("admin", "admin"), ("cluster.gossip", "gossip")):
            code, lines = failed(fleet, f"--{key}.bind-addr", address)
            taken_address = f"cannot listen on {name} address '{address}': address already in use"
            assert (code, lines) == (1, [f"{taken_address}; choose another one with --{key}.bind-addr"])
    code, lines = failed(fleet, "--cluster.node-id", "mine")
    assert (code, len(lines)) == (2, 1)
    assert "give cluster.node_id_prefix" in lines[0]
    code, lines = failed(fleet, "--cluster.join", f"{LOCAL}:1", "--cluster.join-timeout", "500ms")
    assert (code, len(lines)) == (1, 1), lines
    assert "answered within cluster.join_timeout" in lines[0]


def test_two_servers_do_not_share_a_port_by_chance(fleet: Fleet) -> None:
    server = workers(fleet)
    code, lines = failed(fleet, f"--proxy.bind-addr={LOCAL}:{server.proxy_port}")
    assert (code, len(lines)) == (1, 1)
    assert "address already in use" in lines[0]
