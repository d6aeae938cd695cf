"""``pico agent asgi --reload``: what is edited is served."""

import os
import signal
from pathlib import Path

import pytest

from pico_tunnel.reloading import snapshot
from tests.e2e.harness import Fleet, Server
from tests.e2e.wire import request
from tests.waiting import wait_until

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        with open("stopped.txt", "a") as file:
            file.write("VERSION ")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"VERSION"})
"""

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"VERSION"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str, version: str) -> None:
    """Write a version of the application, as editors do: whole, under another name first."""
    new = path.with_suffix(".new")
    new.write_text(text.replace("VERSION", version))
    new.replace(path)


def serves(server: Server, body: bytes) -> bool:
    head, answer = request(server.proxy_port, "one")
    return (head.status, answer) == (200, body)


@pytest.mark.parametrize(("kind", "text"), [("asgi", APP), ("wsgi", WSGI)])
def test_what_is_edited_is_served(fleet: Fleet, folder: Path, kind: str, text: str) -> None:
    module = folder / "main.py"
    write(module, text, "one")
    server = fleet.server()
    agent = fleet.agent(server, "one", "main:app", "--reload", kind=kind)
    wait_until(lambda: serves(server, b"one"), "the first version")
    write(module, text, "two")
    wait_until(lambda: serves(server, b"two"), "the second version")
    agent.await_log("restarting: a file has changed", file="main.py")
    agent.stop()
    if kind == "asgi":
        assert (folder / "stopped.txt").read_text() == "one two "


def test_a_token_is_not_in_the_list_of_processes(fleet: Fleet, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even before the process has overwritten its arguments: it is started without them."""
    (folder / "sitecustomize.py").write_text("import sys\nopen('seen.txt', 'a').write(repr(sys.orig_argv) + '\\n')\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    write(folder / "main.py", APP, "one")
    server = fleet.server()
    (folder / "seen.txt").unlink()
    agent = fleet.agent(server, "one", "main:app", "--reload", "--connect.token", "c4n4ry-t0ken", kind="asgi")
    wait_until(lambda: serves(server, b"one"), "the first version")
    write(folder / "main.py", APP, "two")
    wait_until(lambda: serves(server, b"two"), "the second version")
    command, *started = (folder / "seen.txt").read_text().splitlines()
    assert "c4n4ry-t0ken" in command, "as it was given"
    assert len(started) == 2
    assert not [each for each in started if "c4n4ry" in each]
    agent.stop()


def test_an_application_that_is_broken_is_started_once_it_is_mended(fleet: Fleet, folder: Path) -> None:
    module = folder / "main.py"
    write(module, APP, "one")
    server = fleet.server()
    agent = fleet.agent(server, "one", "main:app", "--reload", kind="asgi")
    wait_until(lambda: serves(server, b"one"), "the first version")
    write(module, "def broken(", "")
    agent.await_log("the application has ended; the next change starts it again", code=2)
    assert "cannot import 'main': SyntaxError" in agent.errors()
    write(module, APP, "two")
    wait_until(lambda: serves(server, b"two"), "the mended version")
    since = agent.mark()
    write(module, "def broken(", "")
    agent.await_log("the application has ended; the next change starts it again", since=since)
    agent.signal(signal.SIGINT)
    assert agent.wait() == 0


def test_a_wrong_flag_ends_the_command(fleet: Fleet, folder: Path) -> None:
    agent = fleet.agent(1, "one", "main:app", "--reload", "--timeout", "never", kind="asgi")
    assert agent.wait() == 2
    assert "--timeout" in agent.errors()


def test_what_is_watched(tmp_path: Path) -> None:
    for name in ("main.py", "page.html", "pack/part.py", ".hidden/x.py", "env/x.py", "node_modules/x.py", "pack/.x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    files, is_whole = snapshot(tmp_path)
    assert {os.path.relpath(path, tmp_path) for path in files} == {"main.py", "pack/part.py"}
    assert is_whole


def test_a_folder_with_too_many_files_is_watched_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pico_tunnel.reloading.MAX_WATCHED", 3)
    for number in range(5):
        (tmp_path / f"{number}.py").write_text("")
    files, is_whole = snapshot(tmp_path)
    assert len(files) == 3
    assert not is_whole
