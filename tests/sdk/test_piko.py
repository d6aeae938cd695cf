"""The SDK with a server that is Piko's on the wire: what it does with one of Pico's it does there too."""

import http.server
import json
import threading
from functools import partial
from typing import Any

import pytest
from websockets.sync.client import connect

from pico_driver.embedding.errors import RefusedError, UnreachableError
from pico_driver.embedding.listener import Lost, Registered
from tests.sdk.asgi import echo
from tests.sdk.kit import Kit, ask
from tests.sdk.piko import Piko

SIZE = 4 << 20
"""Bytes: sixteen windows of a stream."""


async def streamed(scope: Any, receive: Any, send: Any) -> None:
    """Answer with a body of many pieces; give back the messages of a WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        return
    assert scope["type"] == "http"
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-size", b"%d" % size)]})
    for _ in range(SIZE >> 16):
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    await send({"type": "http.response.body"})


def asked(piko: Piko, endpoint: str, target: str = "/", **more: Any) -> Any:
    return ask(piko.proxy_address, target, endpoint, headers={"x-piko-endpoint": endpoint}, **more)


def test_an_application_answers_what_a_piko_server_passes_on(kit: Kit) -> None:
    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-Method", environ["REQUEST_METHOD"])])
        return [environ["wsgi.input"].read()]

    def talk(piko: Piko) -> None:
        with connect(f"ws://{piko.proxy_address}/", additional_headers={"x-piko-endpoint": "big"}) as client:
            for message in ("text", bytes(100_000)):
                client.send(message)
                assert client.recv() == message

    async def scenario(kit: Kit) -> None:
        with Piko() as piko:
            async with (
                kit.pico.connect(piko.upstream_url) as client,
                client.serve("app", echo) as listener,
                client.serve("big", streamed),
                client.serve_wsgi("wsgi", wsgi),
            ):
                assert (listener.url, listener.node) == ("", "")
                answer = await kit.in_thread(lambda: asked(piko, "app", "/a?x=1", method="POST", body=b"hello"))
                told = json.loads(answer.body)
                assert (told["method"], told["path"], told["query"], told["body"]) == ("POST", "/a", "x=1", "hello")
                assert told["client"] == ["127.0.0.1", 0]
                answer = await kit.in_thread(lambda: asked(piko, "big", method="PUT", body=bytes(SIZE)))
                assert (answer.headers["x-size"], len(answer.body)) == (str(SIZE), SIZE)
                answer = await kit.in_thread(lambda: asked(piko, "wsgi", method="POST", body=b"wsgi"))
                assert (answer.headers["x-method"], answer.body) == ("POST", b"wsgi")
                await kit.in_thread(lambda: talk(piko))
                assert (await kit.in_thread(lambda: asked(piko, "none"))).status == 502

    kit.run(scenario)


def test_raw_streams_pass_through_a_piko_server_both_ways(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        with Piko() as piko:
            async with kit.pico.connect(piko.upstream_url) as client, client.listen("tcp") as listener:

                async def give_back() -> None:
                    for _ in range(5):
                        async with await listener.accept() as stream:
                            size = 0
                            while size < SIZE:
                                piece = await stream.read()
                                size += len(piece)
                                await stream.write(piece)

                async def talk() -> None:
                    async with kit.pico.dial(piko.proxy_url, "tcp") as stream:

                        async def write() -> None:
                            for _ in range(SIZE >> 16):
                                await stream.write(bytes(1 << 16))

                        async def read() -> None:
                            assert sum([len(piece) async for piece in stream]) == SIZE

                        await kit.together(write, read)

                await kit.together(give_back, *(talk for _ in range(5)))
                with pytest.raises(UnreachableError, match="no available upstreams"):
                    async with kit.pico.dial(piko.proxy_url, "none", settings={"connect.timeout": "1s"}):
                        pass

    kit.run(scenario)


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['x-forwarded-for']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_service_is_reached_through_a_piko_server(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        addr = f"127.0.0.1:{service.server_port}"
        with Piko() as piko:
            async with (
                kit.pico.connect(piko.upstream_url) as client,
                client.forward("web", addr),
                client.forward("raw", addr, protocol="tcp"),
            ):
                for number in range(3):
                    answer = await kit.in_thread(partial(asked, piko, "web", f"/{number}"))
                    assert answer.body == b"/%d 127.0.0.1" % number
                async with kit.pico.dial(piko.proxy_url, "raw") as stream:
                    await stream.write(b"GET /raw HTTP/1.0\r\n\r\n")
                    assert b"".join([piece async for piece in stream]).endswith(b"/raw None")
        service.shutdown()
        service.server_close()

    kit.run(scenario)


def test_a_piko_server_cuts_its_tunnels_pings_and_refuses(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        with Piko() as piko:
            async with kit.pico.connect(piko.upstream_url) as client:
                with pytest.raises(RefusedError, match="endpoint not permitted") as refused:
                    async with client.serve("forbidden", echo):
                        pass
                assert refused.value.status == 401
                async with client.serve("app", echo) as listener:
                    (first,) = piko.sessions["app"]
                    first.ping()
                    await kit.until(lambda: first.answered_pings == 1)
                    events = listener.events()
                    assert isinstance(await events.__anext__(), Registered)
                    await kit.in_thread(piko.cut)
                    assert isinstance(await events.__anext__(), Lost)
                    assert isinstance(await events.__anext__(), Registered)
                    assert (await kit.in_thread(lambda: asked(piko, "app"))).status == 200
                    (second,) = piko.sessions["app"]
                await kit.until(lambda: second.went_away and not piko.sessions["app"])

    kit.run(scenario)
