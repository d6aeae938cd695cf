"""The inspector of an agent, asked over its port: what it shows, what it hides, and what it sends again."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import LOCAL, MIB, Fleet, Process
from tests.e2e.origin import Origin, Visit
from tests.e2e.test_apps import ASGI, WSGI
from tests.e2e.wire import Head, dial, receive_response, request
from tests.waiting import wait_until

CANARY = "canary-of-a-secret"
JSON_FIELD = "Content-Type: application/json\r\n"


def asked(
    process: Process, target: str, method: str = "GET", fields: str = "", body: bytes = b"", host: str = LOCAL
) -> tuple[Head, bytes]:
    with dial(process.port("inspect")) as wire:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        wire.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n".encode() + body)
        return receive_response(wire)


def rows(process: Process, filtered: str = "") -> list[dict[str, Any]]:
    document = json.loads(asked(process, f"/api/requests?filter={filtered}")[1])
    return list(document["rows"])


def is_whole(process: Process, number: int) -> bool:
    """Whether a request is recorded, and over."""
    return any(row["id"] == number and row["state"] == "whole" for row in rows(process))


def digest(visit: Visit) -> None:
    body = visit.body()
    visit.respond(hashlib.sha256(body).hexdigest().encode())


@pytest.fixture
def inspected(fleet: Fleet, origin: Origin) -> tuple[int, Process]:
    server = fleet.server()
    agent = fleet.agent(server, "web", origin.port, "--inspect.bind-addr", f"{LOCAL}:0", "--log.level", "debug")
    return server.proxy_port, agent


def missing(visit: Visit) -> None:
    visit.respond(b"not here", status="404 Not Found")


def test_requests_are_listed_without_their_credentials(inspected: tuple[int, Process], origin: Origin) -> None:
    port, agent = inspected
    path = origin.handle(missing)
    fields = f"Authorization: Bearer {CANARY}\r\nCookie: session={CANARY}\r\n"
    assert request(port, "web", f"/describe?token={CANARY}&page=2", fields=fields)[0].status == 200
    assert request(port, "web", path)[0].status == 404
    wait_until(lambda: len(rows(agent)) == 2, "both are recorded")
    (found,) = rows(agent, "status:404")
    assert (found["method"], found["target"], found["endpoint"]) == ("GET", path, "web")
    first = rows(agent)[0]["id"]
    pages = [asked(agent, target)[1] for target in (f"/api/requests/{first}", "/api/requests", "/api/har", "/")]
    assert b"page=2" in pages[0]
    for page in pages:
        assert CANARY.encode() not in page
    entries = json.loads(pages[2])["log"]["entries"]
    assert [entry["response"]["status"] for entry in entries] == [200, 404]
    assert CANARY not in agent.errors()


def test_an_upload_is_sent_again_byte_for_byte(inspected: tuple[int, Process], origin: Origin) -> None:
    port, agent = inspected
    path = origin.handle(digest)
    part = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = part + os.urandom(5_000_000) + b"\r\n--cut--\r\n"
    fields = "Content-Type: multipart/form-data; boundary=cut\r\n"
    head, first = request(port, "web", path, "POST", fields, body)
    assert (head.status, first) == (200, hashlib.sha256(body).hexdigest().encode())
    wait_until(lambda: rows(agent)[0]["state"] == "whole", "the request is over")
    number = rows(agent)[0]["id"]
    head, answer = asked(agent, f"/api/requests/{number}/replay", "POST", JSON_FIELD, b"{}")
    assert head.status == 200, answer
    replay = json.loads(answer)["id"]
    wait_until(lambda: any(row["id"] == replay and row["status"] == 200 for row in rows(agent)), "it was sent again")
    assert asked(agent, f"/api/requests/{replay}/response-body")[1] == first
    assert next(row for row in rows(agent) if row["id"] == replay)["replay_of"] == number


def test_many_requests_do_not_fill_the_memory(inspected: tuple[int, Process]) -> None:
    port, agent = inspected
    body = json.dumps({"text": "x" * 200_000, "password": CANARY}).encode()
    assert request(port, "web", "/describe", "POST", JSON_FIELD, body)[0].status == 200
    before = agent.resident_bytes()
    agent.reset_peak()
    for _ in range(400):
        assert request(port, "web", "/describe", "POST", JSON_FIELD, body)[0].status == 200
    assert agent.peak_bytes() - before < 50 * MIB
    assert json.loads(asked(agent, "/api/requests")[1])["dropped"] > 200


def test_pages_of_others_get_nothing(inspected: tuple[int, Process]) -> None:
    port, agent = inspected
    assert request(port, "web", "/describe")[0].status == 200
    wait_until(lambda: len(rows(agent)) == 1, "it is recorded")
    number = rows(agent)[0]["id"]
    replay = f"/api/requests/{number}/replay"
    foreign = "Origin: http://evil.example\r\n"
    assert asked(agent, "/api/requests", host="evil.example")[0].status == 421
    assert asked(agent, "/api/requests", fields=foreign)[0].status == 403
    assert asked(agent, replay, "POST", JSON_FIELD + foreign, b"{}")[0].status == 403
    assert asked(agent, replay, "POST", "Content-Type: text/plain\r\n", b"{}")[0].status == 415
    assert len(rows(agent)) == 1


def test_every_kind_of_agent_shows_its_requests(
    fleet: Fleet, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served.py").write_text(ASGI)
    (tmp_path / "threaded.py").write_text(WSGI)
    (tmp_path / "agent.yaml").write_text(f"listeners:\n  - {{endpoint_id: listed, addr: {origin.port}}}\n")
    monkeypatch.chdir(tmp_path)
    server = fleet.server()
    flag = f"--inspect={LOCAL}:0"
    url = f"http://{LOCAL}:{server.upstream_port}"
    agents = {
        "socket": fleet.agent(server, "socket", origin.port, flag),
        "asgi": fleet.agent(server, "asgi", "served:app", flag, kind="asgi"),
        "wsgi": fleet.agent(server, "wsgi", "threaded:Apps.app", flag, kind="wsgi"),
        "listed": fleet.start("agent", "start", flag, "--config.path", "agent.yaml", "--connect.url", url),
    }
    agents["listed"].await_log("endpoint registered")
    for endpoint, agent in agents.items():
        body = b"a=1&password=" + CANARY.encode()
        fields = "Content-Type: application/x-www-form-urlencoded\r\n"
        path = "/describe" if endpoint in ("socket", "listed") else "/x"
        assert request(server.proxy_port, endpoint, path, "POST", fields, body)[0].status == 200
        assert agent.await_log("listening", subsystem="inspect")["url"] == f"http://{LOCAL}:{agent.port('inspect')}/"
        wait_until(partial(is_whole, agent, 1), f"{endpoint} is recorded")
        found = json.loads(asked(agent, "/api/requests/1")[1])
        assert (found["endpoint"], found["target"], found["status"]) == (endpoint, path, 200)
        assert found["request"]["body"]["text"] == "a=1&password=REDACTED"
        head, answer = asked(agent, "/api/requests/1/replay", "POST", JSON_FIELD, b'{"body": "a=2"}')
        assert (head.status, json.loads(answer)) == (200, {"id": 2})
        wait_until(partial(is_whole, agent, 2), f"{endpoint} is asked again")
        assert [row["replay_of"] for row in rows(agent, "status:200")] == [0, 1]


def test_an_address_that_others_reach_wants_a_token(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    url = f"http://{LOCAL}:{server.upstream_port}"
    flags = ["agent", "http", "web", str(origin.port), "--connect.url", url, "--inspect.bind-addr", ":0"]
    agent = fleet.start(*flags)
    assert agent.wait() != 0
    assert "inspect.token" in agent.errors()
    assert "Traceback" not in agent.errors()
