"""``pico explain`` tells rightly what is wrong: real processes with real faults, asked about at both nodes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import HangUpError, Origin, service
from tests.e2e.wire import Wire, request
from tests.waiting import wait_until


def pico_explain(*arguments: str, admin_port: int) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pico_tunnel",
        "explain",
        *arguments,
        "--server.url",
        f"http://{LOCAL}:{admin_port}",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def explained(target: str, *flags: str, admin_port: int) -> tuple[int, dict[str, Any]]:
    done = pico_explain(target, *flags, "--json", admin_port=admin_port)
    document = json.loads(done.stdout)
    document["reasons"] = sorted({each["reason"] for each in document["nodes"]})
    return done.returncode, document


@contextmanager
def two_nodes(fleet: Fleet) -> Iterator[tuple[Server, Server]]:
    first = fleet.server()
    second = fleet.server("--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    yield first, second


def known_at(server: Server, endpoint: str) -> None:
    wait_until(
        lambda: request(server.proxy_port, endpoint, "/describe")[0]["x-pico-error"] != "no-tunnel; by=server",
        "the route",
    )


def gone(wire: Wire) -> None:
    wire.receive_head()
    raise HangUpError


def garbage(wire: Wire) -> None:
    wire.receive_head()
    wire.send(b"SSH-2.0-x\r\n")


def silent(wire: Wire) -> None:
    wire.receive_head()
    wire.receive()


SERVICES = {"service-lost": gone, "service-invalid": garbage, "service-timeout": silent}


@pytest.mark.parametrize("reason", SERVICES)
def test_a_service_that_fails(fleet: Fleet, reason: str) -> None:
    with two_nodes(fleet) as (first, second), service(SERVICES[reason]) as running:
        fleet.agent(second, "web", running.port, "--timeout", "1s")
        known_at(first, "web")
        fails(first, second, "web", reason)


def test_a_service_that_is_down(fleet: Fleet) -> None:
    with two_nodes(fleet) as (first, second):
        fleet.agent(second, "web", fleet.reserve_port())
        known_at(first, "web")
        fails(first, second, "web", "service-refused", detail="connection refused")


def fails(first: Server, second: Server, endpoint: str, reason: str, detail: str = "") -> None:
    """Check what a request through one node and two is answered, and what both nodes tell of it."""
    for node in (first, second):
        head, body = request(node.proxy_port, endpoint, "/a/b?secret=1")
        told = json.loads(body)
        assert (told["reason"], told["by"]) == (reason, "agent")
        assert head["x-pico-request-id"] == told["request_id"]
        for asked in (first, second):
            story = pico_explain("--request", told["request_id"], admin_port=asked.admin_port)
            assert story.returncode == 0
            assert f"answered {head.status}: {reason}, decided by the agent" in story.stdout
            assert "GET /a/b for 'web'" in story.stdout
            assert "secret" not in story.stdout
            assert story.stdout.count(" attempt 1: ") == (2 if node is first else 1)
            assert detail in story.stdout
    for asked in (first, second):
        code, document = explained(endpoint, admin_port=asked.admin_port)
        assert (code, document["verdict"]) == (3, "fails")
        assert document["reasons"] == [reason]


def test_a_service_that_works_and_one_that_comes_back(fleet: Fleet, origin: Origin) -> None:
    with two_nodes(fleet) as (first, second):
        fleet.agent(second, "web", origin.port)
        known_at(first, "web")
        code, document = explained("web", admin_port=first.admin_port)
        assert (code, document["verdict"]) == (0, "succeeds")
        (here,) = [each for each in document["nodes"] if each["tunnels"]]
        assert here["tunnels"][0]["agent"] == LOCAL
        assert here["tunnels"][0]["version"]
        text = pico_explain("http://web.pico.test/x", admin_port=first.admin_port).stdout
        assert "A request now would SUCCEED" in text
        assert "'web' is taken for the endpoint" in text


def test_a_misspelt_endpoint(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    fleet.agent(server, "my-endpoint", origin.port)
    done = pico_explain("my-endpiont", admin_port=server.admin_port)
    assert done.returncode == 3
    assert "would FAIL:  no-tunnel" in done.stdout
    assert "Did you mean 'my-endpoint'?" in done.stdout


@pytest.mark.parametrize(
    ("kind", "flags", "reason"), [("tcp", (), "tcp-endpoint"), ("http", ("--tcp",), "http-endpoint")]
)
def test_the_wrong_protocol(fleet: Fleet, origin: Origin, kind: str, flags: tuple[str, ...], reason: str) -> None:
    with two_nodes(fleet) as (first, second):
        fleet.agent(second, "db", origin.port, kind=kind)
        wait_until(
            lambda: explained("db", *flags, admin_port=first.admin_port)[1]["nodes"][0]["reason"] == reason, "it"
        )
        code, document = explained("db", *flags, admin_port=second.admin_port)
        assert (code, document["reasons"]) == (3, [reason])


Mistake = tuple[tuple[str, ...], int, str]
MISTAKES: list[Mistake] = [
    ((), 2, "give either an endpoint or a URL, or a request with --request ID"),
    (("web", "--request", "x"), 2, "give either an endpoint or a URL, or a request with --request ID"),
    (("--request", "nobodys"), 1, "no node knows request 'nobodys': each keeps its last 1,000 errors"),
    (("http://10.0.0.7:8000/",), 3, ""),
]


@pytest.mark.parametrize(("arguments", "code", "text"), MISTAKES)
def test_what_cannot_be_explained(fleet: Fleet, arguments: tuple[str, ...], code: int, text: str) -> None:
    server = fleet.server()
    done = pico_explain(*arguments, admin_port=server.admin_port)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_that_is_not_there(fleet: Fleet) -> None:
    done = pico_explain("web", admin_port=fleet.reserve_port())
    assert done.returncode == 1
    assert "no answer from" in done.stderr
