"""``pico agent asgi`` and ``wsgi``: applications in the agent's process, on every runtime."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Fleet
from tests.e2e.wire import request
from tests.ports import reserved_port

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        with open("stopped", "w"):
            pass
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"asgi"})
"""

BEHIND = """
import pathlib, time

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    yield b"wsgi"
    while not pathlib.Path("go-on").exists():
        time.sleep(0.01)
    pathlib.Path("worked").touch()
"""

WSGI = """
class Apps:
    @staticmethod
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return [b"wsgi"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the commands run."""
    (tmp_path / "served.py").write_text(ASGI)
    (tmp_path / "threaded.py").write_text(WSGI)
    (tmp_path / "broken.py").write_text("x = 1\nx.y\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_applications_are_served_and_stop_with_the_agent(fleet: Fleet, folder: Path) -> None:
    server = fleet.server()
    served = fleet.agent(server, "one", "served:app", kind="asgi")
    threaded = fleet.agent(server, "two", "threaded:Apps.app", "--threads", "2", kind="wsgi")
    for endpoint, body in (("one", b"asgi"), ("two", b"wsgi")):
        head, answer = request(server.proxy_port, endpoint)
        assert (head.status, answer) == (200, body)
    assert served.await_access(endpoint="one", status=200)
    served.stop()
    threaded.stop()
    assert (folder / "stopped").exists()


def test_a_stop_waits_for_work_behind_a_response(fleet: Fleet, folder: Path) -> None:
    (folder / "behind.py").write_text(BEHIND)
    server = fleet.server()
    agent = fleet.agent(server, "one", "behind:app", kind="wsgi")
    head, answer = request(server.proxy_port, "one")
    assert (head.status, answer) == (200, b"wsgi")
    agent.signal(signal.SIGTERM)
    agent.await_log("draining")
    (folder / "go-on").touch()
    assert agent.wait() == 0
    assert (folder / "worked").exists()


def test_a_refused_endpoint_ends_the_agent(fleet: Fleet, folder: Path) -> None:
    server = fleet.server("--upstream.auth.hmac-secret-key", "key-" * 8)
    agent = fleet.agent(server.upstream_port, "one", "served:app", kind="asgi")
    assert agent.wait() == 1
    assert [reason for reason in agent.last_words() if reason.startswith("the server refuses endpoint 'one': 401")]


def test_a_stop_before_the_server_was_reached_is_no_failure(fleet: Fleet, folder: Path) -> None:
    with reserved_port() as port:
        agent = fleet.agent(port, "one", "served:app", kind="asgi")
        agent.await_log("cannot reach the server: connection refused")
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
    assert not agent.last_words()
    assert (folder / "stopped").exists()


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("served", "wants module:name, such as main:app, found 'served'"),
        ("nowhere:app", "cannot import 'nowhere': ModuleNotFoundError: No module named 'nowhere'"),
        ("broken:app", "cannot import 'broken': AttributeError: 'int' object has no attribute 'y'"),
        ("served:nothing", "'served' has no 'nothing'"),
        ("broken_not:x.y", "cannot import 'broken_not'"),
    ],
)
def test_what_is_not_an_application_is_told_in_one_line(folder: Path, app: str, told: str) -> None:
    command = [sys.executable, "-m", "pico_tunnel", "agent", "asgi", "one", app]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("pico: argument APP: ")
    assert told in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
