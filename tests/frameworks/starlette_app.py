"""The application of ``test_frameworks.py`` in Starlette."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


def make(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows."""
    gates: dict[str, anyio.Event] = {}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, str]]:
        gates["gate"] = anyio.Event()
        yield {"greeting": "started"}
        seen.append("stopped")

    async def state(request: Request) -> Response:
        return PlainTextResponse(request.state.greeting)

    async def echo(request: Request) -> Response:
        told = {
            "json": await request.json(),
            "query": request.query_params["x"],
            "client": request.client.host if request.client else "",
            "url": str(request.url_for("echo")),
        }
        response = JSONResponse(told)
        response.set_cookie("seen", "yes")
        return response

    async def upload(request: Request) -> Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
        return JSONResponse({"size": size, "sha256": digest.hexdigest()})

    async def stream(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            await gates["gate"].wait()
            yield b"two"

        return StreamingResponse(pieces(), media_type="text/plain")

    async def go(_: Request) -> Response:
        gates["gate"].set()
        return Response(status_code=204)

    async def endless(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1_000
                    await anyio.sleep(0.01)
            finally:
                seen.append("left")

        return StreamingResponse(pieces())

    async def boom(_: Request) -> Response:
        raise ZeroDivisionError

    async def file(_: Request) -> Response:
        return FileResponse(__file__)

    async def websocket(socket: WebSocket) -> None:
        await socket.accept(subprotocol="chat")
        while (message := await socket.receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                await socket.close(4_001)
                return
            await socket.send({**message, "type": "websocket.send"})
        seen.append(f"left with {message['code']}")

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/state", state),
            Route("/echo", echo, methods=["POST"], name="echo"),
            Route("/upload", upload, methods=["POST"]),
            Route("/stream", stream),
            Route("/go", go),
            Route("/endless", endless),
            Route("/boom", boom),
            Route("/file", file),
            WebSocketRoute("/socket", websocket),
        ],
    )
