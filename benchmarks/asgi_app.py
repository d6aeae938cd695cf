"""The application that ``benchmarks.apps`` serves in two ways: as little work as an application can have."""

from collections.abc import Awaitable, Callable
from typing import Any

FIELDS = [(b"content-type", b"text/plain"), (b"content-length", b"6")]


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
    """Answer each request with the same bytes."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": FIELDS})
    await send({"type": "http.response.body", "body": b"hello\n"})
