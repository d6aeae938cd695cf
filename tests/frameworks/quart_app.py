"""The application of ``test_frameworks.py`` in Quart."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, Response, jsonify, make_response, request, send_file, url_for, websocket


def make(seen: list[str]) -> Any:
    """Return an application that notes in ``seen`` what no response shows."""
    app = Quart(__name__)
    started: dict[str, Any] = {}

    @app.before_serving
    async def start() -> None:
        started.update(gate=asyncio.Event(), greeting="started")

    @app.after_serving
    async def stop() -> None:
        seen.append("stopped")

    @app.get("/state")
    async def state() -> str:
        return str(started["greeting"])

    @app.post("/echo")
    async def echo() -> Response:
        told = {
            "json": await request.get_json(),
            "query": request.args["x"],
            "client": request.remote_addr,
            "url": url_for("echo", _external=True),
        }
        response = await make_response(jsonify(told))
        response.set_cookie("seen", "yes")
        return response

    @app.post("/upload")
    async def upload() -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        async for piece in request.body:
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest()}

    @app.get("/stream")
    async def stream() -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            await started["gate"].wait()
            yield b"two"

        return Response(pieces(), mimetype="text/plain")

    @app.get("/go")
    async def go() -> tuple[str, int]:
        started["gate"].set()
        return "", 204

    @app.get("/endless")
    async def endless() -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1_000
                    await asyncio.sleep(0.01)
            finally:
                seen.append("left")

        response: Response = await make_response(pieces())
        response.timeout = None
        return response

    @app.get("/boom")
    async def boom() -> str:
        raise ZeroDivisionError

    @app.get("/file")
    async def file() -> Response:
        return await send_file(__file__, conditional=True)

    @app.websocket("/socket")
    async def chat() -> None:
        await websocket.accept(subprotocol="chat")
        try:
            while True:
                message = await websocket.receive()
                if message == "close":
                    await websocket.close(4_001)
                    return
                await websocket.send(message)
        except asyncio.CancelledError:
            seen.append("left")
            raise

    return app
