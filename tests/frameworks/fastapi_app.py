"""The application of ``test_frameworks.py`` in FastAPI."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel


class Body(BaseModel):
    """The body of a request to ``/echo``."""

    name: str
    size: int


def make(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows."""
    gates: dict[str, anyio.Event] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        gates["gate"] = anyio.Event()
        yield {"greeting": "started"}
        seen.append("stopped")

    app = FastAPI(lifespan=lifespan)

    @app.get("/state", response_class=PlainTextResponse)
    def state(request: Request) -> str:  # in a thread of the framework's
        return str(request.state.greeting)

    @app.post("/echo")
    async def echo(body: Body, x: str, request: Request, response: Response) -> dict[str, Any]:
        response.set_cookie("seen", "yes")
        return {
            "json": body.model_dump(),
            "query": x,
            "client": request.client.host if request.client else "",
            "url": str(request.url_for("echo")),
        }

    @app.post("/upload")
    async def upload(request: Request) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest()}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            await gates["gate"].wait()
            yield b"two"

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/go", status_code=204)
    async def go() -> None:
        gates["gate"].set()

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1_000
                    await anyio.sleep(0.01)
            finally:
                seen.append("left")

        return StreamingResponse(pieces())

    @app.get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(__file__)

    @app.websocket("/socket")
    async def websocket(socket: WebSocket) -> None:
        await socket.accept(subprotocol="chat")
        while (message := await socket.receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                await socket.close(4_001)
                return
            await socket.send({**message, "type": "websocket.send"})
        seen.append(f"left with {message['code']}")

    return app
