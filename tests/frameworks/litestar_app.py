"""The application of ``test_frameworks.py`` in Litestar."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.response import File, Stream


def make(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.gate = anyio.Event()
        app.state.greeting = "started"
        yield
        seen.append("stopped")

    @get("/state", media_type="text/plain")
    async def state(request: Request[Any, Any, Any]) -> str:
        return str(request.app.state.greeting)

    @post("/echo", name="echo", status_code=200)
    async def echo(request: Request[Any, Any, Any]) -> Response[Any]:
        told = {
            "json": await request.json(),
            "query": request.query_params["x"],
            "client": request.client.host if request.client else "",
            "url": str(request.url_for("echo")),
        }
        response = Response(told)
        response.set_cookie("seen", "yes")
        return response

    @post("/upload", status_code=200)
    async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest()}

    @get("/stream")
    async def stream(request: Request[Any, Any, Any]) -> Stream:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            await request.app.state.gate.wait()
            yield b"two"

        return Stream(pieces(), media_type="text/plain")

    @get("/go", status_code=204)
    async def go(request: Request[Any, Any, Any]) -> None:
        request.app.state.gate.set()

    @get("/endless")
    async def endless() -> Stream:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1_000
                    await anyio.sleep(0.01)
            finally:
                seen.append("left")

        return Stream(pieces())

    @get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError

    @get("/file")
    async def file() -> File:
        return File(Path(__file__), content_disposition_type="inline")

    @websocket("/socket")
    async def chat(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept(subprotocols="chat")
        while (message := await socket.receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                await socket.close(4_001)
                return
            await socket.send({**message, "type": "websocket.send"})
        seen.append(f"left with {message['code']}")

    return Litestar([state, echo, upload, stream, go, endless, boom, file, chat], lifespan=[lifespan])
