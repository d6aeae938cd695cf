"""An ASGI application behind an endpoint, without a port: no framework here, any of them is served the same way.

``python examples/asgi_app.py https://pico.example.com:8001`` registers ``hello``. Without a URL the program runs a node
of its own, and sends itself one request through it.
"""

import asyncio
import contextlib
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pico_asyncio

ENDPOINT = "hello"


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Greet every client by its address, once its request has come whole."""
    if scope["type"] != "http":
        raise NotImplementedError("this application has no lifespan")
    while (await receive()).get("more_body"):
        pass
    body = f"Hello {scope['client'][0]}, you asked for {scope['path']}.\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def ask(url: str) -> str:
    """Send one request to the endpoint."""
    request = urllib.request.Request(url, headers={"x-pico-endpoint": ENDPOINT})
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.read().decode())


async def main(url: str) -> None:
    """Serve the application."""
    async with contextlib.AsyncExitStack() as blocks:
        node = None if url else await blocks.enter_async_context(pico_asyncio.serve_node())
        client = await blocks.enter_async_context(pico_asyncio.connect(node.upstream_url if node else url))
        async with client.serve(ENDPOINT, app):
            if node is None:
                await client.wait_closed()
            else:
                print(await asyncio.to_thread(ask, f"{node.proxy_url}/world"), end="")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
