"""Tokens and tenants with real processes: which clients get in, what reaches the service, and renewed tokens."""

import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pico_core.access.issuing import Claims, SigningKey
from pico_core.server.admin.pages import PATHS
from tests.certificates import Files, issue, write_authority
from tests.core.access.keys import private_pem
from tests.core.server.admin.test_secrets import STATUS_PATHS
from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import Origin, Visit, service
from tests.e2e.wire import assert_error, dial, receive_response, request, request_bytes
from tests.waiting import wait_until

SECRET = "canary-0123456789abcdefghijklmnopqrstuvwxyz"
OTHER_SECRET = "canary-another-0123456789abcdefghijklmnopqrstuvwxyz"


def token(*endpoints: str, lasts_s: float | None = 600, secret: str = SECRET, **claims: str) -> str:
    now = time.time()
    return SigningKey(secret).sign(
        Claims(endpoints, expires_at=None if lasts_s is None else now + lasts_s, **claims), now
    )


def bearer(text: str, name: str = "Authorization") -> str:
    return f"{name}: Bearer {text}\r\n"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pico_tunnel", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "pico.key"
    path.write_text(SECRET + "\n")
    return path


def guarded(fleet: Fleet, key_file: Path, *flags: str) -> Server:
    """Return a server all of whose ports ask for tokens."""
    keys = [f"--{port}.auth.hmac-secret-key-file={key_file}" for port in ("proxy", "upstream", "admin")]
    return fleet.server(*keys, "--log.level", "debug", *flags)


def seen_by(origin_answer: bytes) -> dict[str, str]:
    return dict(json.loads(origin_answer)["fields"])


def test_two_nodes_let_in_a_client_that_has_a_token(fleet: Fleet, key_file: Path, origin: Origin) -> None:
    near = guarded(fleet, key_file)
    gossip = near.process.port("gossip")
    far = guarded(fleet, key_file, "--cluster.join", f"{LOCAL}:{gossip}")
    fleet.agent(near, "origin", origin.port, "--connect.token", token("origin"))
    wait_until(
        lambda: request(far.proxy_port, "origin", "/describe", fields=bearer(token("origin")))[0].status == 200,
        "the far node knows the endpoint",
    )
    for server in (near, far):
        port = server.proxy_port
        assert_error(request(port, "origin"), 401, "missing authorization")
        head, _ = request(port, "origin")
        assert head["www-authenticate"] == "Bearer"
        assert_error(request(port, "origin", fields="Authorization: Basic eDp5\r\n"), 401, "unsupported auth type")
        assert_error(request(port, "origin", fields="Authorization: nonsense\r\n"), 401, "invalid authorization")
        assert_error(request(port, "origin", fields=bearer("a.b.c")), 401, "invalid token")
        assert_error(request(port, "origin", fields=bearer(token(secret=OTHER_SECRET))), 401, "invalid token")
        assert_error(request(port, "origin", fields=bearer(token(lasts_s=-10))), 401, "expired token")
        assert_error(request(port, "origin", fields=bearer(token("other"))), 401, "endpoint not permitted")
        marked = "x-pico-forward: true\r\nx-piko-forward: true\r\n"
        assert_error(request(port, "origin", fields=marked), 401, "missing authorization", is_client=False)
        for good in (token("origin"), token("ORI*"), token(), token("a", "origin", lasts_s=None)):
            head, body = request(port, "origin", "/describe", fields=bearer(good))
            assert head.status == 200
            assert "authorization" not in seen_by(body)
        own = bearer(token("origin"), "x-pico-authorization") + "Authorization: Basic c2VydmljZQ==\r\n"
        head, body = request(port, "origin", "/describe", fields=own)
        assert head.status == 200
        assert seen_by(body)["authorization"] == "Basic c2VydmljZQ=="
        with dial(port) as wire:  # the remembered head of a connection has lost its token, and keeps it in mind
            for _ in range(3):
                wire.send(request_bytes("origin", "/describe", fields=bearer(good)))
                head, body = receive_response(wire)
                assert (head.status, seen_by(body).get("authorization")) == (200, None)
            wire.send(request_bytes("origin", "/describe"))
            assert_error(receive_response(wire), 401, "missing authorization")
    for path in ("/metrics", "/status/cluster/nodes"):
        assert_error(request(near.admin_port, "admin", path), 401, "missing authorization")
        assert_error(request(near.admin_port, "admin", path, fields=bearer(token("x"))), 401, "endpoint not permitted")
        assert request(near.admin_port, "admin", path, fields=bearer(token()))[0].status == 200
    assert request(near.admin_port, "admin", "/health")[0].status == 200
    assert request(near.admin_port, "admin", "/ready")[0].status == 200


def test_an_agent_says_why_it_is_refused_and_what_to_do(fleet: Fleet, key_file: Path) -> None:
    server = guarded(fleet, key_file)
    for flags, reason in (
        ((), "401 missing authorization; give a token with connect.token or connect.token_file"),
        (("--connect.token", token("other")), "401 endpoint not permitted; the token is for other endpoints"),
        (("--connect.token", token(lasts_s=-100)), "401 expired token; give a new one with connect.token"),
        (("--connect.tenant-id", "acme", "--connect.token", token()), "401 unknown tenant; give a tenant"),
    ):
        agent = fleet.agent(server.upstream_port, "origin", 1, *flags)
        assert agent.wait() == 1
        assert f"refused endpoint 'origin': {reason}" in agent.errors()


def test_forwarder_and_status_show_a_token(fleet: Fleet, key_file: Path, tmp_path: Path) -> None:
    server = guarded(fleet, key_file)
    file = tmp_path / "token"
    file.write_text(token("echo") + "\n")

    def echo(wire: object) -> None:
        while data := wire.receive():  # type: ignore[attr-defined]
            wire.send(data)  # type: ignore[attr-defined]

    with service(echo) as running:
        fleet.agent(server, "echo", running.port, "--connect.token-file", str(file), kind="tcp")
        _, port = fleet.forward(server, "echo", "--connect.token-file", str(file))
        with dial(port) as wire:
            wire.send(b"hello")
            assert wire.receive_exactly(5) == b"hello"
        refused, port = fleet.forward(server, "echo")
        with dial(port) as wire, pytest.raises(ConnectionResetError):
            wire.receive()
        refused.await_log("cannot reach the endpoint")
        assert "401 missing authorization; give a token with connect.token" in refused.errors()
    url = f"http://{LOCAL}:{server.admin_port}"
    ended = command("server", "status", "upstream", "endpoints", "--server.url", url, "--server.token", token())
    assert (ended.returncode, ended.stdout) == (0, "echo: 1\n")
    ended = command("server", "status", "upstream", "endpoints", "--server.url", url)
    assert ended.returncode == 1
    assert "401: missing authorization; give a token with --server.token" in ended.stderr


def test_a_token_that_is_renewed_in_its_file_costs_no_request(fleet: Fleet, key_file: Path, tmp_path: Path) -> None:
    server = guarded(fleet, key_file, "--upstream.auth.leeway", "0s")
    file = tmp_path / "token"
    file.write_text(token("origin", lasts_s=15))
    statuses: list[int] = []
    over = threading.Event()
    client = token("origin")

    def ask(origin_port: int) -> None:
        with dial(origin_port) as wire:
            while not over.is_set():
                wire.send(request_bytes("origin", "/describe", fields=bearer(client)))
                statuses.append(receive_response(wire)[0].status)

    running = Origin()
    try:
        agent = fleet.agent(server, "origin", running.port, "--connect.token-file", str(file))
        thread = threading.Thread(target=ask, args=(server.proxy_port,))
        thread.start()
        fresh = tmp_path / "fresh"
        fresh.write_text(token("origin", lasts_s=None))
        os.replace(fresh, file)
        agent.await_log("connecting again with the new token")
        server.process.await_log("tunnel closed")
        over.set()
        thread.join()
        assert set(statuses) == {200}
        assert len(server.process.logged("tunnel opened")) == 2
        running.check()
    finally:
        running.close()


def test_a_tunnel_ends_with_its_token(fleet: Fleet, key_file: Path, origin: Origin) -> None:
    server = guarded(fleet, key_file, "--upstream.auth.leeway", "0s")
    agent = fleet.agent(server, "origin", origin.port, "--connect.token", token("origin", lasts_s=8))
    assert server.process.await_log("tunnel closed")["reason"] == "its token has expired"
    assert agent.wait() == 1
    assert "401 expired token" in agent.errors()


def test_key_sets_are_fetched_and_followed(fleet: Fleet, origin: Origin) -> None:
    """The set appears late, changes, and is away for a while; tokens of keys that it had stay good."""
    first, second = (SigningKey(private_pem(rsa.generate_private_key(65537, 2048))) for _ in range(2))
    published: list[bytes] = []

    def publish(visit: Visit) -> None:
        if published:
            visit.respond(published[0], "Content-Type: application/json\r\nConnection: close\r\n")
        else:
            visit.respond(b"later", "Connection: close\r\n", "503 Service Unavailable")

    path = origin.handle(publish)
    url = f"http://{LOCAL}:{origin.port}{path}"
    server = fleet.server("--proxy.auth.jwks.endpoint", url, "--proxy.auth.jwks.cache-ttl", "1s")
    fleet.agent(server, "origin", origin.port)

    def status(pair: SigningKey, kid: str) -> int:
        now = time.time()
        signed = pair.sign(Claims(expires_at=now + 600), now, kid)
        return request(server.proxy_port, "origin", "/describe", fields=bearer(signed))[0].status

    assert status(first, "first") == 503
    published.append(_key_set(first=first))
    wait_until(lambda: status(first, "first") == 200, "the set is fetched again")
    published[0] = _key_set(second=second)
    wait_until(lambda: status(second, "second") == 200, "the set is fetched again and again")
    assert status(first, "first") in (401, 503), "the set does not have it any more"
    published.clear()
    assert status(second, "second") == 200


@contextmanager
def secure_issuer(files: Files, content: bytes) -> Iterator[str]:
    """Publish a key set at an https URL, which is yielded."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with ThreadingHTTPServer((LOCAL, 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/keys"
        server.shutdown()


def test_a_key_set_of_an_issuer_of_ones_own(fleet: Fleet, origin: Origin, tmp_path: Path) -> None:
    """For ports and tenants alike; without ``root_cas`` the log names the key to set, which then exists."""
    pair = SigningKey(private_pem(rsa.generate_private_key(65537, 2048)))
    now = time.time()
    signed = pair.sign(Claims(expires_at=now + 600), now, "own")
    ca, files = write_authority(tmp_path), issue(tmp_path, "localhost")
    file = tmp_path / "server.yaml"
    with secure_issuer(files, _key_set(own=pair)) as url:
        ports = [f"--{port}.auth.jwks.{key}={value}" for port in ("proxy", "admin") for key, value in
                 (("endpoint", url), ("root-cas", ca))]  # fmt: skip
        file.write_text(f"upstream: {{tenants: [{{id: acme, auth: {{jwks: {{endpoint: '{url}', root_cas: {ca}}}}}}}]}}")
        server = fleet.server("--config.path", str(file), *ports)
        fleet.agent(server, "origin", origin.port, "--connect.tenant-id", "acme", "--connect.token", signed)
        fields = bearer(signed) + "x-pico-tenant-id: acme\r\n"
        wait_until(
            lambda: request(server.proxy_port, "origin", "/describe", fields=fields)[0].status == 200, "keys are known"
        )
        distrustful = fleet.server("--proxy.auth.jwks.endpoint", url)
        reason = distrustful.process.await_log("the key set cannot be read")["reason"]
        assert reason.endswith("give the issuer's certificate with proxy.auth.jwks.root_cas")


def _key_set(**pairs: SigningKey) -> bytes:
    from jwt.algorithms import RSAAlgorithm

    keys = [
        {**json.loads(RSAAlgorithm.to_jwk(pair.verifying.material)), "kid": kid, "use": "sig", "alg": "RS256"}
        for kid, pair in pairs.items()
    ]
    return json.dumps({"keys": keys}).encode()


TENANTS = f"""
upstream:
  tenants:
    - id: acme
      auth: {{hmac_secret_key: {SECRET}}}
    - id: globex
      auth: {{hmac_secret_key: {OTHER_SECRET}}}
      max_tunnels: 1
"""


def test_tenants_have_endpoints_of_their_own_on_all_nodes(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(TENANTS)
    near = fleet.server("--config.path", str(file))
    far = fleet.server("--config.path", str(file), "--cluster.join", f"{LOCAL}:{near.process.port('gossip')}")
    acme, globex = Origin(), Origin()
    try:
        for tenant, secret, running in (("acme", SECRET, acme), ("globex", OTHER_SECRET, globex)):
            flags = ("--connect.tenant-id", tenant, "--connect.token", token(secret=secret))
            fleet.agent(near, "web", running.port, *flags)

        def ask(port: int, fields: str = "", host: str = "web.pico.test") -> int:
            with dial(port) as wire:
                wire.send(f"GET /describe HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
                return receive_response(wire)[0].status

        named = [f"x-pico-tenant-id: {tenant}\r\n" for tenant in ("acme", "globex")]
        wait_until(lambda: {ask(far.proxy_port, each) for each in named} == {200}, "the far node knows both endpoints")
        before = (len(acme.requests), len(globex.requests))
        for port in (near.proxy_port, far.proxy_port):
            assert ask(port, "x-piko-tenant-id: ACME\r\n") == 200
            assert ask(port, host="web.acme.pico.test") == 200
            assert ask(port, "x-pico-tenant-id: globex\r\n") == 200
            assert ask(port) == 401
            assert ask(port, "x-pico-tenant-id: initech\r\n") == 401
        assert (len(acme.requests) - before[0], len(globex.requests) - before[1]) == (4, 2)
        wrong = ("--connect.tenant-id", "globex", "--connect.token", token(secret=SECRET))
        agent = fleet.agent(near.upstream_port, "web", 1, *wrong)
        assert agent.wait() == 1
        assert "401 invalid token" in agent.errors()
        second = ("--connect.tenant-id", "globex", "--connect.token", token(secret=OTHER_SECRET))
        agent = fleet.agent(near.upstream_port, "other", 1, *second)
        agent.await_log("the server refused: 503 too many tunnels of this tenant")
        acme.check()
        globex.check()
    finally:
        acme.close()
        globex.close()


def test_secrets_appear_nowhere(fleet: Fleet, key_file: Path, origin: Origin) -> None:
    """Given as flag, file and header, at the level debug: no log, page or error text has them."""
    flags = [f"--{port}.auth.hmac-secret-key={SECRET}" for port in ("proxy", "admin")]
    server = fleet.server(*flags, f"--upstream.auth.hmac-secret-key-file={key_file}", "--log.level", "debug")
    canary = token()
    forged = canary[:-6] + "canary"
    agent = fleet.agent(server, "origin", origin.port, "--connect.token", canary, "--log.level", "debug")
    refused = fleet.agent(server.upstream_port, "origin", origin.port, "--connect.token", forged)
    assert refused.wait() == 1
    pages = []
    for each in (canary, forged):
        pages.append(request(server.proxy_port, "origin", "/describe", fields=bearer(each))[1])
        pages.append(request(server.proxy_port, "origin", "/describe", fields=bearer(each, "x-pico-authorization"))[1])
        pages.append(request(server.upstream_port, "origin", "/pico/v1/upstream/origin", fields=bearer(each))[1])
        for path in (*PATHS, *STATUS_PATHS, "/none"):
            pages.append(request(server.admin_port, "admin", path, fields=bearer(each))[1])
    texts = [page.decode() for page in pages]
    for process in (server.process, agent, refused):
        texts += [process.errors(), "".join(process.stdout.lines)]
        if process.alive:
            texts.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode())
    for text in texts:
        assert SECRET not in text
        assert canary.split(".")[2] not in text
        assert "canary" not in text
