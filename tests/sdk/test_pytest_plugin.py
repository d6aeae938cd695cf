"""The fixtures as a project that uses Pico has them: pytest in a process of its own, the plugin by its entry point."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TOOLS = """
import http.client
import socket
import threading
import urllib.request

import pytest

def get(url):
    with urllib.request.urlopen(url, timeout=20) as response:
        return response.read()

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["path"].encode()})

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"wsgi"]

async def lifespan(scope, receive, send):
    if scope["type"] != "lifespan":
        return await app(scope, receive, send)
    for phase in ("startup", "shutdown"):
        await receive()
        print(f"lifespan-{phase}", flush=True)
        await send({"type": f"lifespan.{phase}.complete"})
"""

STRICT = """
[pytest]
filterwarnings = error
addopts = --strict-markers --strict-config -p no:cacheprovider -rA
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose tests may use what ``TOOLS`` has."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(tools=TOOLS)
    pytester.makeini(STRICT)
    return pytester


def run(project: pytest.Pytester, tests: str, **outcomes: int) -> pytest.RunResult:
    project.makepyfile(test_it="from tools import *\n" + tests)
    result = project.runpytest_subprocess(timeout=60)
    result.assert_outcomes(**outcomes)
    return result


def test_plain_tests(project: pytest.Pytester) -> None:
    run(
        project,
        """
def test_applications_have_urls(pico_url):
    assert get(pico_url(app) + "/x") == b"/x"
    assert get(pico_url(wsgi) + "/x") == b"wsgi"
    assert get(pico_url(app, "named")) == b"/"

def test_names(pico_url):
    urls = [pico_url(app), pico_url(app), pico_url(app, "named")]
    assert [url.removeprefix("http://").partition(".")[0] for url in urls] == ["app", "app-2", "named"]

def test_nodes_know_each_other(pico_cluster):
    cluster = pico_cluster(3)
    cluster.serve(app, "web")
    assert [get(cluster.url("web", node) + "/x") for node in range(3)] == [b"/x"] * 3
    assert len({node.node_id for node in cluster.nodes}) == 3

@pytest.mark.parametrize("end", ["stop", "kill"])
def test_nodes_come_and_go(pico_cluster, end):
    cluster = pico_cluster(2)
    cluster.serve(app, "web")
    getattr(cluster, end)(1)
    with pytest.raises(OSError):
        get(cluster.url("web", 1))
    assert get(cluster.url("web", 0)) == b"/"
    cluster.start()
    assert get(cluster.url("web", 2)) == b"/"

def test_settings_are_those_of_the_server(pico_cluster):
    cluster = pico_cluster(settings={"proxy.error_detail": "none"})
    with pytest.raises(urllib.error.HTTPError, match="502"):
        get(cluster.url("nobody"))

def test_a_port(pico_url):
    listening = socket.create_server(("127.0.0.1", 0))
    def serve():
        near, _ = listening.accept()
        with near:
            near.recv(65536)
            near.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nport")
    thread = threading.Thread(target=serve)
    thread.start()
    assert get(pico_url(listening.getsockname()[1])) == b"port"
    thread.join()
    listening.close()
""",
        passed=7,
    )


def test_everything_ends_with_its_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
kept = []

def test_one(pico_url, pico_cluster):
    kept.append(pico_url(lifespan))
    kept.append(pico_cluster(2).nodes[1].proxy_url)
    assert get(kept[0]) == b"/"

def test_two():
    for url in kept:
        host, _, port = url.removeprefix("http://").rpartition(":")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", int(port)))
    with pytest.raises(OSError):
        get(kept[0])

def test_three(pico_url):
    pico_url(lifespan)
    assert False, "meant to fail"
""",
        passed=2,
        failed=1,
    )
    assert result.stdout.str().count("lifespan-shutdown") == 2
    assert "meant to fail" in result.stdout.str()


def test_tests_on_asyncio_and_trio(project: pytest.Pytester) -> None:
    run(
        project,
        """
import anyio
import sniffio

pytestmark = pytest.mark.anyio

async def fetch(url):
    return await anyio.to_thread.run_sync(get, url)

async def where(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": sniffio.current_async_library().encode()})

async def test_applications_run_in_the_loop_of_the_test(pico_async_url, anyio_backend_name):
    assert await fetch(await pico_async_url(where)) == anyio_backend_name.encode()
    assert await fetch(await pico_async_url(wsgi)) == b"wsgi"

async def test_nodes_come_and_go(pico_async_cluster):
    cluster = await pico_async_cluster(3)
    await cluster.serve(app, "web")
    assert [await fetch(cluster.url("web", node)) for node in range(3)] == [b"/"] * 3
    await cluster.stop(1)
    await cluster.kill(2)
    for node in (1, 2):
        with pytest.raises(OSError):
            await fetch(cluster.url("web", node))
    await cluster.start()
    assert await fetch(cluster.url("web", 3)) == b"/"

async def test_plain_fixtures_serve_too(pico_url):
    assert await fetch(pico_url(where)) == b"asyncio"

@pytest.mark.parametrize("fails", [False, True])
async def test_the_lifespan_ends(pico_async_url, fails):
    await pico_async_url(lifespan)
    assert not fails, "meant to fail"
""",
        passed=8,
        failed=2,
    )


def test_nothing_but_pytest_is_imported_where_no_test_asks(project: pytest.Pytester) -> None:
    run(
        project,
        """
import sys

def test_unused():
    assert "pico_tunnel.pytest_plugin" in sys.modules
    used = {"pico_asyncio", "pico_trio", "pico_driver", "msgspec", "click", "uvloop"}
    assert used & set(sys.modules) == set()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "pico"]
""",
        passed=1,
    )


def test_it_is_off_where_it_is_not_wanted(project: pytest.Pytester) -> None:
    project.makepyfile(test_it="def test_it(pico_url): ...")
    result = project.runpytest_subprocess("-p", "no:pico", "-p", "no:anyio", timeout=60)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'pico_url' not found*"])


def test_names_below_localhost_are_the_loopback_address_for_one_test(project: pytest.Pytester) -> None:
    run(
        project,
        """
def test_during(pico_localhost):
    for name in ("app.localhost", "App.LocalHost.", b"app.localhost"):
        assert {address[4] for address in socket.getaddrinfo(name, 80)} == {("127.0.0.1", 80)}
    assert socket.getaddrinfo(host="127.0.0.2", port=80)[0][4] == ("127.0.0.2", 80)

def test_after():
    assert socket.getaddrinfo.__module__ == "socket"
""",
        passed=2,
    )


def test_the_cost_of_the_plugin_is_small(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import pytest, pico_tunnel.pytest_plugin"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
    ).stderr
    imported = [line.rpartition("|")[2].strip() for line in told.splitlines()]
    behind = imported[imported.index("pytest") + 1 :]
    assert [name for name in behind if not name.startswith("pico_")] == []
    assert set(behind) == {"pico_core", "pico_tunnel", "pico_tunnel.pytest_plugin"}


def test_wrong_arguments_are_told_and_the_next_call_works(project: pytest.Pytester) -> None:
    tests = """
    from pico_core.errors import ConfigError

    def test_it(pico_cluster, pico_url):
        for nodes in (0, -1, "1", None, 1.0):
            with pytest.raises(ConfigError, match="nodes"):
                pico_cluster(nodes)
        for settings in (5, {"proxy.timeout": 5}, {"no.such": "key"}):
            with pytest.raises(ConfigError):
                pico_cluster(settings=settings)
        for target, endpoint in ((5.5, ""), (app, "a b"), (app, 5)):
            with pytest.raises(ConfigError):
                pico_url(target, endpoint)
        cluster = pico_cluster(2)
        cluster.stop(1)
        cluster.stop(1)
        cluster.kill(1)
        assert get(cluster.serve(app) + "/x") == get(pico_url(app) + "/x") == b"/x"
    """
    run(project, textwrap.dedent(tests), passed=1)
