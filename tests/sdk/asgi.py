"""Small applications of ASGI, and the parts that they are made of."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


async def body_of(receive: Any) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        pieces.append(message["body"])
        if not message["more_body"]:
            return b"".join(pieces)


async def respond(send: Any, status: int, body: bytes = b"", headers: Any = (), **more: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, **more})


def only_http(app: App) -> App:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"  # what an application without lifespan does
        await app(scope, receive, send)

    return wrapped


async def unwilling(_scope: Any, receive: Any, send: Any) -> None:
    """Answer the start of its lifespan with a failure."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


@only_http
async def echo(scope: Any, receive: Any, send: Any) -> None:
    told = {name: scope[name] for name in ("method", "path", "scheme", "client", "http_version", "server")}
    told["query"] = scope["query_string"].decode()
    told["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}
    told["body"] = (await body_of(receive)).decode()
    await respond(send, 200, json.dumps(told).encode(), [(b"Content-Type", b"application/json")])
