"""Services that die in the middle of a response: every way, framing, number of nodes and use of TLS.

What the client must see: an error, by a status, by framing that is not finished, or by the end of the connection. The
exception is a response that has no framing: over plain TCP its end is a FIN, and a process that is killed sends one
too, so that no client can tell it from a whole one (RFC 9112, section 6.3). Over TLS the alert makes the difference.
"""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.certificates import Files, issue, write_authority
from tests.e2e.harness import LOCAL, Fleet, Process, Server
from tests.e2e.origin import Origin
from tests.e2e.wire import Wire, request_bytes
from tests.waiting import PATIENCE_S, wait_until

PART = b"the first part of a body"

DYING = """
import os, socket, ssl, struct, sys

listener, death, framing, cert, key = sys.argv[1:]
inherited = socket.socket(fileno=int(listener))
inherited.settimeout(20)
connection, _ = inherited.accept()
if cert:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    connection = context.wrap_socket(connection, server_side=True)
asked = b""
while b"\\r\\n\\r\\n" not in asked:
    asked += connection.recv(65536)
part = b"the first part of a body"
fields = {"sized": "Content-Length: 100000", "chunked": "Transfer-Encoding: chunked", "unframed": "X: y"}[framing]
head = f"HTTP/1.1 200 OK\\r\\n{fields}\\r\\n\\r\\n".encode()
connection.sendall(head + (b"%x\\r\\n%b\\r\\n" % (len(part), part) if framing == "chunked" else part))
if death in ("stall", "killed", "garbage"):
    sys.stdin.readline()  # the client has the first part
if death == "killed":
    os.kill(os.getpid(), 9)
if death == "garbage" and cert:
    os.write(connection.fileno(), b"\\x17\\x03\\x03\\x00\\x40" + bytes(64))
elif death == "garbage":
    connection.sendall(b"this is no chunk\\r\\n")
elif death == "reset":
    socket.socket.setsockopt(connection, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    sys.exit()
elif death == "fin" and cert:
    connection.setblocking(False)
    try:
        connection.unwrap()
    except ssl.SSLWantReadError:
        pass  # the alert is sent
socket.socket.shutdown(connection, socket.SHUT_WR)
os.close(connection.detach())
"""

DEATHS = ("fin", "reset", "stall", "killed", "garbage")
FRAMINGS = ("sized", "chunked", "unframed")


def looks_whole(death: str, framing: str, *, secure_service: bool) -> bool:
    """Return whether what the agent gets is the same as a whole response."""
    return framing == "unframed" and (death == "fin" or (death != "reset" and not secure_service))


@dataclass
class Site:
    """Where clients ask, and a service that has a new process for each request."""

    port: int
    context: ssl.SSLContext | None
    service: socket.socket
    files: Files | None
    processes: tuple[Process, ...]

    def dial(self) -> Wire:
        plain = socket.create_connection((LOCAL, self.port), PATIENCE_S)
        if self.context is None:
            return Wire(plain)
        return Wire(self.context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False))

    def answers(self, endpoint: str) -> bool:
        with self.dial() as wire:
            wire.send(request_bytes(endpoint, "/describe"))
            return wire.receive_head().status == 200


@pytest.fixture(scope="module", params=[1, 2], ids=["one node", "two nodes"])
def nodes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=["plain", "tls", "tls to the service"])
def security(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def site(
    shared_fleet: Fleet, shared_origin: Origin, nodes: int, security: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("truncation")
    ca, files = write_authority(folder), issue(folder, LOCAL, "localhost")
    secure = security != "plain"
    flags: list[str] = []
    for port in ("proxy", "upstream", "admin") if secure else ():
        flags += [f"--{port}.tls.cert", files.cert, f"--{port}.tls.key", files.key]
    if secure:
        flags += ["--proxy.tls.client.root-cas", ca]
    home = entry = shared_fleet.server(*flags)
    if nodes == 2:
        entry = shared_fleet.server(*flags, "--cluster.join", f"{LOCAL}:{home.process.port('gossip')}")
    with socket.create_server((LOCAL, 0)) as service:
        place = f"localhost:{service.getsockname()[1]}"
        trusting = ("--tls.root-cas", ca) if security == "tls to the service" else ()
        agents = (
            _agent(
                shared_fleet, home, ca if secure else "", "dying", f"https://{place}" if trusting else place, trusting
            ),
            _agent(shared_fleet, home, ca if secure else "", "living", str(shared_origin.port), ()),
        )
        context = ssl.create_default_context(cafile=ca) if secure else None
        servers = {home.process: None, entry.process: None}
        opened = Site(entry.proxy_port, context, service, files if trusting else None, (*agents, *servers))
        wait_until(lambda: opened.answers("living"), "the route")
        yield opened
        for process in opened.processes:
            process.stop()


def _agent(fleet: Fleet, home: Server, ca: str, endpoint: str, address: str, flags: tuple[str, ...]) -> Process:
    url = f"http{'s' if ca else ''}://{LOCAL}:{home.upstream_port}"
    trust = ("--connect.tls.root-cas", ca) if ca else ()
    agent = fleet.start("agent", "http", endpoint, address, "--connect.url", url, *trust, *flags)
    agent.await_log("endpoint registered")
    return agent


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("death", DEATHS)
def test_the_client_sees_that_the_service_died(site: Site, death: str, framing: str) -> None:
    files = site.files
    script = [sys.executable, "-S", "-c", DYING, str(site.service.fileno()), death, framing]
    with (
        subprocess.Popen(
            [*script, files.cert if files else "", files.key if files else ""],
            stdin=subprocess.PIPE, pass_fds=[site.service.fileno()],
        ) as service,
        site.dial() as wire,
    ):  # fmt: skip
        wire.send(request_bytes("dying", "/"))
        got = b""
        if death in ("stall", "killed", "garbage"):
            got = wire.receive_until(PART)
            service.communicate(b"\n", PATIENCE_S)
        try:
            while piece := wire.receive():
                got += piece
                if complete(got):
                    break
        except (ConnectionError, ssl.SSLError):
            assert not complete(got)
    if got and status(got) != 200:
        assert status(got) in (502, 504)
        assert death in ("fin", "reset")  # the others die when the client has the head
    else:
        assert complete(got) is looks_whole(death, framing, secure_service=files is not None)
    assert site.answers("living")


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def complete(answer: bytes) -> bool:
    """Return whether an answer has come to the end that its own framing has."""
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
        if line.startswith(b"transfer-encoding:"):
            return body.endswith(b"\r\n0\r\n\r\n")
    return False
