"""Real frameworks behind a node: one application in each of them, the same checks for all, on their runtimes."""

import contextlib
import hashlib
import http.client
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.sdk.kit import Kit, ask

pytestmark = pytest.mark.frameworks

PATIENCE_S = 20.0
LOOPS = ("asyncio", "uvloop")


@dataclass(frozen=True)
class Framework:
    """Where an application is, and what its framework has."""

    module: str
    factory: str = "make"
    runtimes: tuple[str, ...] = LOOPS
    is_wsgi: bool = False
    has_lifespan: bool = False
    has_websockets: bool = False

    def make(self, seen: list[str]) -> Any:
        return getattr(import_module(f"tests.frameworks.{self.module}"), self.factory)(seen)


EVERYWHERE = (*LOOPS, "trio")
FRAMEWORKS = {
    "starlette": Framework("starlette_app", runtimes=EVERYWHERE, has_lifespan=True, has_websockets=True),
    "fastapi": Framework("fastapi_app", runtimes=EVERYWHERE, has_lifespan=True, has_websockets=True),
    "litestar": Framework("litestar_app", runtimes=EVERYWHERE, has_lifespan=True, has_websockets=True),
    "quart": Framework("quart_app", has_lifespan=True, has_websockets=True),
    "django-asgi": Framework("django_app", "make_asgi"),
    "django-wsgi": Framework("django_app", "make_wsgi", EVERYWHERE, is_wsgi=True),
    "flask": Framework("flask_app", runtimes=EVERYWHERE, is_wsgi=True),
}


def cases(wanted: Callable[[Framework], bool] = lambda _: True) -> Any:
    """Return the parameters of a test: frameworks that have what it checks, on their runtimes."""
    chosen = [(name, runtime) for name, each in FRAMEWORKS.items() if wanted(each) for runtime in each.runtimes]
    return pytest.mark.parametrize(("name", "runtime"), chosen)


@dataclass
class Scene:
    kit: Kit
    address: str
    seen: list[str]

    async def get(self, target: str, **more: Any) -> Any:
        return await self.kit.get(self.address, target, **more)


@contextlib.asynccontextmanager
async def served(kit: Kit, framework: Framework) -> AsyncIterator[Scene]:
    """Run a node and serve the application behind it."""
    seen: list[str] = []
    async with kit.pico.serve_node() as node, kit.pico.connect(node.upstream_url) as client:
        app = framework.make(seen)
        async with (client.serve_wsgi if framework.is_wsgi else client.serve)("app", app):
            yield Scene(kit, node.proxy_address, seen)
    if framework.has_lifespan:
        assert seen[-1] == "stopped"


def play(name: str, runtime: str, scenario: Callable[[Scene], Any]) -> None:
    async def whole(kit: Kit) -> None:
        async with served(kit, FRAMEWORKS[name]) as scene:
            await scenario(scene)

    Kit(runtime).run(whole)


@cases()
def test_a_request_arrives_as_it_was_sent(name: str, runtime: str) -> None:
    async def scenario(scene: Scene) -> None:
        body = {"name": "Zoë", "size": 3}
        answer = await scene.get(
            "/echo?x=%C3%A4%20b",
            method="POST",
            body=json.dumps(body).encode(),
            headers={"content-type": "application/json", "host": "app.example.com"},
        )
        assert answer.status == 200, answer.body
        assert json.loads(answer.body) == {
            "json": body,
            "query": "ä b",
            "client": "127.0.0.1",
            "url": "http://app.example.com/echo",
        }
        assert answer.headers["set-cookie"].startswith("seen=yes")

    play(name, runtime, scenario)


@cases()
def test_a_long_upload_arrives_whole(name: str, runtime: str) -> None:
    piece = bytes(range(256)) * 256

    def pieces() -> Iterator[bytes]:
        for _ in range(48):
            yield piece

    async def scenario(scene: Scene) -> None:
        expected = {"size": 48 * len(piece), "sha256": hashlib.sha256(piece * 48).hexdigest()}
        whole = await scene.get("/upload", method="POST", body=piece * 48)
        assert json.loads(whole.body) == expected
        if name != "django-wsgi":  # there, Django reads no body that has no length, on any server
            in_chunks = await scene.get("/upload", method="POST", body=pieces())
            assert json.loads(in_chunks.body) == expected

    play(name, runtime, scenario)


@cases()
def test_a_response_comes_piece_by_piece(name: str, runtime: str) -> None:
    def read(address: str) -> list[bytes]:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", "/stream", headers={"x-pico-endpoint": "app"})
            response = connection.getresponse()
            first = response.read(4)
            assert ask(address, "/go", "app").status == 204
            return [first, response.read()]

    async def scenario(scene: Scene) -> None:
        assert await scene.kit.in_thread(lambda: read(scene.address)) == [b"one ", b"two"]

    play(name, runtime, scenario)


# Starlette leaves a generator to the garbage collector when ``send`` raises, and trio warns of those.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@cases()
def test_a_client_that_leaves_ends_the_response(name: str, runtime: str) -> None:
    def leave(address: str) -> None:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", "/endless", headers={"x-pico-endpoint": "app"})
            assert connection.getresponse().read(1) == b"x"

    async def scenario(scene: Scene) -> None:
        await scene.kit.in_thread(lambda: leave(scene.address))
        await scene.kit.until(lambda: "left" in scene.seen)

    play(name, runtime, scenario)


@cases()
def test_an_error_is_the_answer_of_the_framework(name: str, runtime: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(scene: Scene) -> None:
        answer = await scene.get("/boom")
        assert answer.status == 500
        assert b"app-failed" not in answer.body
        assert (await scene.get("/nowhere")).status == 404

    caplog.set_level(logging.CRITICAL)
    play(name, runtime, scenario)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@cases()
def test_a_file_arrives_whole(name: str, runtime: str) -> None:
    async def scenario(scene: Scene) -> None:
        content = (Path(__file__).parent / f"{FRAMEWORKS[name].module}.py").read_bytes()
        whole = await scene.get("/file")
        assert (whole.status, whole.body) == (200, content)
        assert whole.headers["content-length"] == str(len(content))

    play(name, runtime, scenario)


@cases(lambda each: each.has_lifespan)
def test_the_lifespan_begins_before_the_first_request(name: str, runtime: str) -> None:
    async def scenario(scene: Scene) -> None:
        assert (await scene.get("/state")).body == b"started"
        assert scene.seen == []

    play(name, runtime, scenario)


@cases(lambda each: each.has_websockets)
def test_websockets(name: str, runtime: str) -> None:
    def talk(address: str) -> None:
        fields = {"x-pico-endpoint": "app"}
        url = f"ws://{address}/socket"
        with connect(url, additional_headers=fields, subprotocols=[Subprotocol("chat")]) as socket:
            assert socket.subprotocol == "chat"
            for message in ("text ä", b"bytes", "x" * 200_000):
                socket.send(message)
                assert socket.recv(PATIENCE_S) == message
        with connect(url, additional_headers=fields, subprotocols=[Subprotocol("chat")]) as socket:
            socket.send("close")
            with pytest.raises(ConnectionClosedError) as closed:
                socket.recv(PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4_001

    async def scenario(scene: Scene) -> None:
        await scene.kit.in_thread(lambda: talk(scene.address))
        await scene.kit.until(lambda: any(each.startswith("left") for each in scene.seen))

    play(name, runtime, scenario)
