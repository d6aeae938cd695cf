"""Server-sent events through a tunnel: a clock that pages in browsers follow, and that resumes where they stopped.

``python examples/events.py https://pico.example.com:8001`` registers ``clock``. Without a URL the program runs a node
of its own, follows three events, loses the connection, and follows two more from there.
"""

import asyncio
import contextlib
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pico_asyncio

ENDPOINT = "clock"
PAUSE_S = 0.02


left = asyncio.Semaphore(0)
"""Counts the clients that have left."""


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Send numbered events until the client leaves: then ``send`` raises an ``OSError``."""
    if scope["type"] != "http":
        raise NotImplementedError("this application has no lifespan")
    await receive()
    number = int(dict(scope["headers"]).get(b"last-event-id", b"0"))
    head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    try:
        while True:
            number += 1
            event = f"id: {number}\ndata: tick {number}\n\n".encode()
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(PAUSE_S)
    except OSError:
        left.release()


def follow(url: str, count: int, last_id: str = "") -> str:
    """Print ``count`` events, as ``EventSource`` of a browser gives them, and return the ID of the last one."""
    fields = {"x-pico-endpoint": ENDPOINT, **({"last-event-id": last_id} if last_id else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=fields), timeout=10) as response:
        for line in response:
            name, _, value = line.decode().strip().partition(": ")
            if name == "id":
                last_id = value
            elif name == "data":
                print(value, flush=True)
                count -= 1
                if not count:
                    return last_id
    raise SystemExit("the stream has ended")


async def main(url: str) -> None:
    """Serve the clock."""
    async with contextlib.AsyncExitStack() as blocks:
        node = None if url else await blocks.enter_async_context(pico_asyncio.serve_node())
        client = await blocks.enter_async_context(pico_asyncio.connect(node.upstream_url if node else url))
        async with client.serve(ENDPOINT, app) as listener:
            if node is None:
                print(listener.url, flush=True)
                await client.wait_closed()
                return
            last_id = await asyncio.to_thread(follow, node.proxy_url, 3)
            await asyncio.to_thread(follow, node.proxy_url, 2, last_id)
            for _ in range(2):
                await left.acquire()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
