"""``pico_tunnel.share``: in a script, in a cell that runs again, beside a running loop."""

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import pico_tunnel
from pico_core.errors import ConfigError
from pico_driver.embedding.errors import AppError, RefusedError, UnreachableError
from pico_tunnel import sync
from tests.ports import reserved_port
from tests.sdk.asgi import unwilling
from tests.sdk.greeter import Greeter
from tests.sdk.kit import Answer, ask
from tests.sdk.test_sync import asgi, wsgi


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[sync.Node]:
    with sync.serve_node() as node:
        monkeypatch.setenv("PICO_URL", node.upstream_url)
        yield node


def named(name: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": name})

    return app


def get(node: sync.Node, share: pico_tunnel.Share) -> Answer:
    return ask(node.proxy_address, "/", share.endpoint)


def test_a_share_shows_where_it_is(node: sync.Node) -> None:
    with pico_tunnel.share(asgi, endpoint="web") as share:
        assert str(share) == share.url == f"http://web.localhost:{node.proxy_address.rpartition(':')[2]}"
        assert repr(share) == f"<Share {share.url}, open>"
        assert share._repr_html_() == (
            f'<span><a href="{share.url}" target="_blank" rel="noopener">{share.url}</a> (open)</span>'
        )
        assert get(node, share).status == 200
    assert share.state == "stopped"
    assert "<a" not in share._repr_html_()
    assert get(node, share).status == 502
    share.stop()


def test_the_server_tells_the_link() -> None:
    with sync.serve_node(settings={"proxy.public_url": "https://{endpoint}.example.com"}) as node:
        with pico_tunnel.share(asgi, endpoint="web", url=node.upstream_url) as share:
            assert str(share) == "https://web.example.com"


def test_an_endpoint_without_a_host_name_has_no_link(node: sync.Node) -> None:
    with pico_tunnel.share(asgi, endpoint="a.b") as share:
        assert str(share) == f"endpoint 'a.b' of {node.upstream_url}"
        assert "<a" not in share._repr_html_()


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await named(b"of a class")(scope, receive, send)


def returns_a_coroutine(scope: Any, receive: Any, send: Any) -> Any:
    return named(b"not async def")(scope, receive, send)


async def with_an_option(option: bytes, scope: Any, receive: Any, send: Any) -> None:
    await named(option)(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "body"),
    [
        (Asgi(), b"of a class"),
        (returns_a_coroutine, b"not async def"),
        (functools.partial(with_an_option, b"partial"), b"partial"),
        (wsgi, b"/ by wsgi"),
        (functools.partial(wsgi), b"/ by wsgi"),
    ],
)
def test_both_kinds_of_applications_are_told_apart(node: sync.Node, app: Any, body: bytes) -> None:
    with pico_tunnel.share(app) as share:
        assert get(node, share).body == body


def test_a_port_and_an_address_are_services(node: sync.Node) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        for target in (service.server_port, f"127.0.0.1:{service.server_port}"):
            with pico_tunnel.share(target) as share:
                assert get(node, share).body == b"hello"
        service.shutdown()


@pytest.mark.parametrize(
    ("target", "told"),
    [(None, "found NoneType"), (True, "found bool"), (lambda: None, "cannot tell"), ("no:such:port", "port")],
)
def test_what_cannot_be_shared_is_told(node: sync.Node, target: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        pico_tunnel.share(target)


def test_a_name_or_a_url_that_is_not_a_text_is_told(node: sync.Node) -> None:
    options: tuple[dict[str, Any], ...] = ({"endpoint": 5}, {"url": 8001}, {"token": b"a.b.c"}, {"patience_s": "1"})
    for each in options:
        with pytest.raises(ConfigError, match=next(iter(each))):
            pico_tunnel.share(named(b"one"), **each)


def test_a_cell_that_runs_again_replaces_its_share(node: sync.Node) -> None:
    first = pico_tunnel.share(named(b"one"))
    second = pico_tunnel.share(named(b"two"))
    assert first.endpoint == second.endpoint
    assert first.endpoint.startswith("share-")
    assert (first.state, second.state) == ("stopped", "open")
    assert [get(node, second).body for _ in range(3)] == [b"two"] * 3
    with pico_tunnel.share(named(b"three"), endpoint="other") as other:
        assert (get(node, second).body, get(node, other).body) == (b"two", b"three")
    second.stop()


def test_the_environment_says_where_and_as_what(node: sync.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICO_ENDPOINT", "from-env")
    with pico_tunnel.share(asgi) as share:
        assert (share.endpoint, share.server) == ("from-env", node.upstream_url)
    with sync.serve_node(settings={"upstream.auth.hmac_secret_key": "key-" * 8}) as guarded:
        with pytest.raises(RefusedError, match="401"):
            pico_tunnel.share(asgi, url=guarded.upstream_url)
        monkeypatch.setenv("PICO_TOKEN", "of-nobody")
        with pytest.raises(RefusedError, match="401"):
            pico_tunnel.share(asgi, url=guarded.upstream_url)


def test_what_does_not_start_leaves_nothing(node: sync.Node) -> None:
    with pytest.raises(AppError, match="no database"):
        pico_tunnel.share(unwilling)
    with reserved_port() as port, pytest.raises(UnreachableError):
        pico_tunnel.share(asgi, url=f"http://127.0.0.1:{port}", patience_s=0.2)
    with pico_tunnel.share(asgi) as share:
        assert get(node, share).status == 200


def test_it_works_inside_a_running_loop(node: sync.Node) -> None:
    async def cell() -> bytes:
        with pico_tunnel.share(named(b"beside")) as share:
            return (await asyncio.to_thread(get, node, share)).body

    assert asyncio.run(cell()) == b"beside"


def test_wait_ends_with_the_share(node: sync.Node) -> None:
    share = pico_tunnel.share(asgi)
    thread = threading.Thread(target=share.wait)
    thread.start()
    share.stop()
    thread.join(20)
    assert not thread.is_alive()


SCRIPT = """
import pico_tunnel

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("stopped", flush=True)
    await send({"type": "lifespan.shutdown.complete"})

share = pico_tunnel.share(app, endpoint="web")
print(share.state)
"""


def test_it_stops_with_the_interpreter(node: sync.Node) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "open\nstopped\n", "")
