"""TLS on every port and towards every server, through one node and two, with real processes."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.certificates import Files, issue, write_authority
from tests.e2e.harness import LOCAL, MIB, Fleet, Process, Server
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import Wire, request_bytes
from tests.waiting import PATIENCE_S, wait_until


class Trust:
    """Certificates of one test, and flags that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = write_authority(folder)
        self.files: Files = issue(folder, LOCAL, "localhost")
        self.context = ssl.create_default_context(cafile=self.ca)

    def port(self, *ports: str) -> list[str]:
        return [
            flag
            for port in ports
            for flag in (f"--{port}.tls.cert", self.files.cert, f"--{port}.tls.key", self.files.key)
        ]

    def dial(self, port: int, name: str = LOCAL) -> Wire:
        plain = socket.create_connection((LOCAL, port), PATIENCE_S)
        return Wire(self.context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False))

    def get(self, port: int, endpoint: str, path: str = "/describe") -> tuple[int, bytes]:
        with self.dial(port) as wire:
            wire.send(request_bytes(endpoint, path))
            head = wire.receive_head()
            return head.status, wire.receive_body(head)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


PEERS = ("proxy", "upstream", "admin")


def secure_server(fleet: Fleet, trust: Trust, *flags: str) -> Server:
    return fleet.server(*trust.port(*PEERS), "--proxy.tls.client.root-cas", trust.ca, *flags)


def secure_agent(
    fleet: Fleet, server: Server, trust: Trust, endpoint: str, address: object, kind: str = "http"
) -> None:
    url = f"https://{LOCAL}:{server.upstream_port}"
    agent = fleet.start("agent", kind, endpoint, str(address), "--connect.url", url, "--connect.tls.root-cas", trust.ca)
    agent.await_log("endpoint registered")


def served(trust: Trust, server: Server) -> bool:
    return trust.get(server.proxy_port, "web")[0] == 200


def complains(agent: Process, said: str) -> bool:
    return said in agent.errors()


def test_requests_status_and_tcp_through_two_nodes(fleet: Fleet, origin: Origin, trust: Trust) -> None:
    first = secure_server(fleet, trust)
    second = secure_server(fleet, trust, "--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    node_id = str(second.process.await_log("ready")["node_id"])
    secure_agent(fleet, first, trust, "web", origin.port)
    for server in (first, second):
        wait_until(partial(served, trust, server), "the route is known")
        described = json.loads(trust.get(server.proxy_port, "web")[1])
        fields = {name.lower(): value for name, value in described["fields"]}
        assert fields["x-forwarded-proto"] == "https"
    status = subprocess.run(
        [sys.executable, "-m", "pico_tunnel", "server", "status", "cluster", "node", "local", "--server.url",
         f"https://{LOCAL}:{first.admin_port}", "--server.tls.root-cas", trust.ca, "--forward", node_id],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert status.returncode == 0, status.stderr
    assert f"id: {node_id}" in status.stdout


def test_a_tcp_endpoint_over_tls(fleet: Fleet, trust: Trust) -> None:
    server = secure_server(fleet, trust)
    with socket.create_server((LOCAL, 0)) as database:
        secure_agent(fleet, server, trust, "db", database.getsockname()[1], "tcp")
        url = f"https://{LOCAL}:{server.proxy_port}"
        forwarder = fleet.start(
            "forward", "tcp", f"{LOCAL}:0", "db", "--connect.url", url, "--connect.tls.root-cas", trust.ca
        )
        with socket.create_connection((LOCAL, forwarder.port("forward")), PATIENCE_S) as client:
            client.sendall(b"select 1")
            client.shutdown(socket.SHUT_WR)
            accepted, _ = database.accept()
            with accepted:
                asked = b""
                while piece := accepted.recv(100):
                    asked += piece
                accepted.sendall(b"1 row")
            answer = b""
            while piece := client.recv(100):
                answer += piece
    assert (asked, answer) == (b"select 1", b"1 row")


def test_large_bodies_both_ways(fleet: Fleet, origin: Origin, trust: Trust) -> None:
    server = secure_server(fleet, trust)
    secure_agent(fleet, server, trust, "web", origin.port)
    body = os.urandom(8 * MIB)

    def echo(visit: Visit) -> None:
        visit.respond(visit.body())

    path = origin.handle(echo)
    with trust.dial(server.proxy_port) as wire:
        wire.send(
            b"POST %b HTTP/1.1\r\nHost: a\r\nx-pico-endpoint: web\r\nContent-Length: %d\r\n\r\n"
            % (path.encode(), len(body))
        )
        wire.send(body)
        head = wire.receive_head()
        assert head.status == 200
        assert wire.receive_body(head) == body


def ends(origin: Origin, framing: str, end: str) -> str:
    """Return the path of a response that ends with ``half``, by ``fin`` or ``reset``."""

    def end_it(visit: Visit) -> None:
        fields = {"sized": "Content-Length: 100\r\n", "chunked": "Transfer-Encoding: chunked\r\n"}.get(framing, "")
        visit.begin(fields)
        visit.wire.send(b"4\r\nhalf\r\n" if framing == "chunked" else b"half")
        if end == "reset":
            visit.wire.reset()
        else:
            visit.wire.send_eof()
        raise ConnectionAbortedError("cut")

    return origin.handle(end_it)


@pytest.mark.parametrize(
    ("framing", "end"),
    [("sized", "fin"), ("sized", "reset"), ("chunked", "fin"), ("chunked", "reset"), ("until the end", "reset")],
)
def test_a_response_that_is_cut_never_looks_whole(
    fleet: Fleet, origin: Origin, trust: Trust, framing: str, end: str
) -> None:
    server = secure_server(fleet, trust)
    secure_agent(fleet, server, trust, "web", origin.port)
    with trust.dial(server.proxy_port) as wire:
        wire.send(request_bytes("web", ends(origin, framing, end)))
        try:
            data = wire.receive_rest()
        except OSError:
            data = b""  # cut without the alert: the client sees an error
    assert not data.endswith(b"0\r\n\r\n")
    assert b"Content-Length: 4\r\n" not in data


def test_a_response_until_the_end_of_its_connection_is_whole(fleet: Fleet, origin: Origin, trust: Trust) -> None:
    server = secure_server(fleet, trust)
    secure_agent(fleet, server, trust, "web", origin.port)
    with trust.dial(server.proxy_port) as wire:
        wire.send(request_bytes("web", ends(origin, "until the end", "fin")))
        head = wire.receive_head()
        assert wire.receive_body(head) == b"half"


def test_an_agent_says_what_is_wrong_with_the_server(fleet: Fleet, trust: Trust, tmp_path: Path) -> None:
    server = fleet.server(*trust.port("upstream"))
    cases = {
        (
            f"https://{LOCAL}:{server.upstream_port}",
            write_authority(tmp_path, "strangers"),
        ): "issuer that is not trusted",
        (f"http://{LOCAL}:{server.upstream_port}", ""): "this port speaks TLS: begin with https://",
        (f"https://{LOCAL}:{server.proxy_port}", trust.ca): "does not speak TLS at this port",
    }
    for (url, ca), said in cases.items():
        flags = ("--connect.tls.root-cas", ca) if ca else ()
        agent = fleet.start("agent", "http", "web", "1", "--connect.url", url, *flags)
        wait_until(partial(complains, agent, said), said)
        agent.kill()


def test_a_service_behind_tls(fleet: Fleet, trust: Trust) -> None:
    """The agent's own service speaks https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trust.files.cert, trust.files.key)
    server = fleet.server()
    with socket.create_server((LOCAL, 0)) as listener:
        listener.settimeout(PATIENCE_S)
        address = f"https://localhost:{listener.getsockname()[1]}"
        fleet.agent(server, "web", address, "--tls.root-cas", trust.ca)
        with Wire(socket.create_connection((LOCAL, server.proxy_port), PATIENCE_S)) as client:
            client.send(request_bytes("web", "/"))
            accepted, _ = listener.accept()
            with Wire(context.wrap_socket(accepted, server_side=True)) as service:
                service.receive_head()
                service.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
                head = client.receive_head()
                assert client.receive_body(head) == b"secret"


def test_certificates_change_under_requests(fleet: Fleet, origin: Origin, trust: Trust) -> None:
    """A kept connection and its tunnel go on, and new ones get the new certificate."""
    server = secure_server(fleet, trust)
    secure_agent(fleet, server, trust, "web", origin.port)
    with trust.dial(server.proxy_port) as kept:
        issue(trust.folder, LOCAL, "localhost", "new.example")
        served = 0

        def renewed() -> bool:
            nonlocal served
            kept.send(request_bytes("web", "/describe"))
            head = kept.receive_head()
            kept.receive_body(head)
            assert head.status == 200
            served += 1
            with contextlib.suppress(ssl.SSLCertVerificationError), trust.dial(server.proxy_port, "new.example"):
                return True
            return False

        wait_until(renewed, "the new certificate", 2 * PATIENCE_S)
    assert served > 1
    assert trust.get(server.proxy_port, "web")[0] == 200


@pytest.mark.debian
def test_curl_and_openssl(fleet: Fleet, origin: Origin, trust: Trust) -> None:
    curl, openssl = shutil.which("curl"), shutil.which("openssl")
    assert curl is not None
    assert openssl is not None
    server = secure_server(fleet, trust)
    secure_agent(fleet, server, trust, "web", origin.port)
    url = f"https://localhost:{server.proxy_port}/describe"
    for version in ("--tlsv1.2", "--tlsv1.3"):
        done = subprocess.run(
            [curl, "-sS", "--cacert", trust.ca, version, "-H", "x-pico-endpoint: web", url, url],
            capture_output=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b'"fields"') == 2
    place = f"localhost:{server.proxy_port}"
    for option, works in (("-tls1_2", True), ("-tls1_3", True), ("-tls1_1", False)):
        shown = subprocess.run(
            [openssl, "s_client", "-connect", place, "-CAfile", trust.ca, "-verify_return_error", "-alpn", "http/1.1",
             "-servername", "localhost", "-cipher", "DEFAULT@SECLEVEL=0", option],
            input=b"", capture_output=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert (b"Verify return code: 0 (ok)" in shown.stdout and b"ALPN protocol: http/1.1" in shown.stdout) is works
