"""``pico server --workers`` with TLS and tokens on every port: real processes, one certificate and key for all."""

import json
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.certificates import issue
from tests.e2e.harness import LOCAL, Fleet, Process, Server
from tests.e2e.origin import Origin
from tests.e2e.test_tls import PEERS, Trust
from tests.e2e.test_tokens import OTHER_SECRET, SECRET, bearer, token
from tests.e2e.test_workers import WORKERS, workers
from tests.e2e.wire import Head, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

CONNECTIONS = 12
"""New connections to a port, among which each worker is met: all to one of two would be one chance in 2,000."""


@dataclass
class Guarded:
    """A server with workers that asks for tokens on every port, with its certificate and its key file."""

    trust: Trust
    key_file: Path
    server: Server

    @property
    def ports(self) -> tuple[int, int, int]:
        return self.server.proxy_port, self.server.upstream_port, self.server.admin_port

    def get(self, port: int, path: str, fields: str = "", endpoint: str = "web") -> tuple[Head, bytes]:
        with self.trust.dial(port) as wire:
            wire.send(request_bytes(endpoint, path, fields=fields))
            return receive_response(wire)

    def ask(self, path: str) -> bytes:
        head, body = self.get(self.server.admin_port, path, bearer(token()))
        assert head.status == 200, body
        return body

    def agent(self, fleet: Fleet, origin: Origin, shown: str) -> Process:
        url = f"https://{LOCAL}:{self.server.upstream_port}"
        flags = ("--connect.url", url, "--connect.tls.root-cas", self.trust.ca, "--connect.token", shown)
        return fleet.start("agent", "http", "web", str(origin.port), "--connections", str(WORKERS), *flags)

    def serials(self, port: int) -> set[object]:
        """Return the serial numbers of the certificates that several connections are shown."""
        found: set[object] = set()
        for _ in range(CONNECTIONS):
            with self.trust.dial(port) as wire:
                assert isinstance(wire.socket, ssl.SSLSocket)
                shown = wire.socket.getpeercert()
                found.add(None if shown is None else shown["serialNumber"])
        return found


@pytest.fixture
def guarded(fleet: Fleet, tmp_path: Path) -> Guarded:
    trust = Trust(tmp_path)
    key_file = tmp_path / "pico.key"
    key_file.write_text(SECRET + "\n")
    keys = [f"--{port}.auth.hmac-secret-key-file={key_file}" for port in PEERS]
    server = workers(fleet, *trust.port(*PEERS), "--proxy.tls.client.root-cas", trust.ca, *keys)
    return Guarded(trust, key_file, server)


def test_every_port_has_tls_and_asks_for_a_token(fleet: Fleet, guarded: Guarded, origin: Origin) -> None:
    stranger = guarded.agent(fleet, origin, token("other"))
    assert stranger.wait() == 1
    assert "endpoint not permitted" in stranger.errors()
    guarded.agent(fleet, origin, token("web")).await_log("endpoint registered")
    proxy = guarded.server.proxy_port
    wait_until(
        lambda: all(guarded.get(proxy, "/describe", bearer(token("web")))[0].status == 200 for _ in range(CONNECTIONS)),
        "every worker knows the route",
    )
    for port, path in ((proxy, "/describe"), *((guarded.server.admin_port, each) for each in ADMIN_PATHS)):
        for fields, why in (("", "missing authorization"), (bearer("a.b.c"), "invalid token")):
            head, body = guarded.get(port, path, fields)
            assert (head.status, json.loads(body)["error"]) == (401, why), path
    rows = json.loads(guarded.ask("/status/workers"))
    assert {each["id"] for each in json.loads(guarded.ask("/status/cluster/nodes"))} == {
        each["node_id"] for each in rows
    }
    counts = {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(guarded.ask("/metrics").decode())
        for sample in family.samples
        if sample.name == "pico_upstreams_connected_upstreams"
    }
    assert counts.keys() == {str(number) for number in range(1, WORKERS + 1)}
    for row in rows:
        status = command(guarded, "cluster", "node", "local", "--forward", row["node_id"])
        assert status.returncode == 0, status.stderr
        assert f"id: {row['node_id']}" in status.stdout


ADMIN_PATHS = ("/metrics", "/status/workers", "/status/cluster/nodes", "/status/overview", "/status/stream")


def command(guarded: Guarded, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = f"https://{LOCAL}:{guarded.server.admin_port}"
    flags = ("--server.url", url, "--server.tls.root-cas", guarded.trust.ca, "--server.token", token())
    return subprocess.run(
        [sys.executable, "-m", "pico_tunnel", "server", "status", *arguments, *flags],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip


def test_the_stream_tells_of_all_workers(guarded: Guarded) -> None:
    wanted = {each["node_id"] for each in json.loads(guarded.ask("/status/workers"))}
    with guarded.trust.dial(guarded.server.admin_port) as wire:
        wire.send(request_bytes("", "/status/stream", fields=bearer(token())))
        assert wire.receive_head().status == 200
        text, found, chunks = "", dict[str, str](), wire.receive_chunks()
        while found.keys() != wanted:
            text += next(chunks).decode()
            *blocks, text = text.split("\n\n")
            for block in blocks:
                kind, _, data = block.partition("\ndata: ")
                told: dict[str, Any] = json.loads(data)
                found[told["node"]] = kind
    assert sorted(found.values()) == ["event: here"] + ["event: node"] * (WORKERS - 1)


def test_a_certificate_and_a_key_are_read_again(fleet: Fleet, guarded: Guarded, origin: Origin) -> None:
    guarded.agent(fleet, origin, token("web", lasts_s=None)).await_log("endpoint registered")
    before = {port: guarded.serials(port) for port in guarded.ports}
    assert len({serial for found in before.values() for serial in found}) == 1
    issue(guarded.trust.folder, LOCAL, "localhost")
    guarded.key_file.write_text(OTHER_SECRET + "\n")
    guarded.server.process.signal(signal.SIGHUP)
    for number in range(1, WORKERS + 1):
        guarded.server.process.await_log("certificates and keys loaded again", worker=number)
        guarded.server.process.await_log("configuration read again", worker=number)
    for port in guarded.ports:
        after = guarded.serials(port)
        assert len(after) == 1, "no worker shows the old one"
        assert not after & before[port]
    old, new = bearer(token("web")), bearer(token("web", secret=OTHER_SECRET))
    for _ in range(CONNECTIONS):
        assert guarded.get(guarded.server.proxy_port, "/describe", old)[0].status == 401
    for path in ADMIN_PATHS:
        assert guarded.get(guarded.server.admin_port, path, bearer(token()))[0].status == 401
    renewed = guarded.agent(fleet, origin, token("web", secret=OTHER_SECRET))
    renewed.await_log("endpoint registered")
    wait_until(lambda: guarded.get(guarded.server.proxy_port, "/describe", new)[0].status == 200, "it serves again")
