"""The admin port of a forwarder, and what every process tells of itself to Prometheus."""

import json
import time

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import LOCAL, Fleet, Process
from tests.e2e.origin import Origin
from tests.e2e.wire import dial, receive_response, request
from tests.waiting import wait_until

ADMIN = ("--admin.bind-addr", f"{LOCAL}:0")


def page(port: int, path: str) -> str:
    with dial(port) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n".encode())
        return receive_response(wire)[1].decode()


def samples(port: int) -> dict[str, float]:
    families = list(text_string_to_metric_families(page(port, "/metrics")))
    assert len({family.name for family in families}) == len(families)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_forwarder_says_how_it_is(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    fleet.agent(server, "db", origin.port, kind="tcp")
    forwarder, port = fleet.forward(server, "db", *ADMIN)
    admin = forwarder.port("admin")
    assert page(admin, "/health") == "ok\n"
    assert page(admin, "/ready") == "ready\n"
    with dial(port) as wire:
        wire.send(b"GET /describe HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.receive()
        found = samples(admin)
        assert found["pico_forward_connections db"] == found["pico_forward_accepted_total db"] == 1
    wait_until(lambda: samples(admin)["pico_forward_connections db"] == 0, "the end is counted")
    (row,) = json.loads(page(admin, "/status"))["ports"]
    assert (row["addr"], row["listening"], row["accepted"]) == (f"{LOCAL}:{port}", True, 1)
    assert sum(row["failures"].values()) == 0


def test_each_process_tells_what_it_uses(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "web", origin.port, *ADMIN)
    forwarder, _ = fleet.forward(server, "web", *ADMIN)
    assert request(server.proxy_port, "web")[0].status == 200
    for process, port in (
        (server.process, server.admin_port),
        (agent, agent.port("admin")),
        (forwarder, forwarder.port("admin")),
    ):
        found = samples(port)
        check_usage(process, found)
        assert [name for name in found if "build_info" in name] != []


def check_usage(process: Process, found: dict[str, float]) -> None:
    """Compare with what the system tells of the process from outside."""
    assert abs(found["process_resident_memory_bytes"] - process.resident_bytes()) < 8_000_000
    assert abs(found["process_open_fds"] - process.open_files()) <= 2
    assert found["process_max_fds"] >= 256
    assert 0 < found["process_cpu_seconds_total"] < 60
    assert time.time() - 600 < found["process_start_time_seconds"] < time.time()


def test_workers_and_the_process_that_starts_them_tell_it_each(fleet: Fleet) -> None:
    server = fleet.server("--workers", "2")
    wait_until(lambda: "2 of 2" in page(server.admin_port, "/ready"), "both workers are ready")
    found = samples(server.admin_port)
    memory = {name: value for name, value in found.items() if name.startswith("process_resident_memory_bytes")}
    assert sorted(memory) == [f"process_resident_memory_bytes {number}" for number in (0, 1, 2)]
    assert all(value > 1_000_000 for value in memory.values())
