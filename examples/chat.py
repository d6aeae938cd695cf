"""A chat over WebSocket without a port: what one visitor says, all get.

``python examples/chat.py https://pico.example.com:8001`` registers ``chat``. Without a URL the program runs a node of
its own, and two visitors talk through it.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pico_asyncio

ENDPOINT = "chat"
MAX_WAITING = 100
"""Lines that wait for a visitor who does not read; then the visitor is sent away."""


class Room:
    """The application, and its visitors."""

    def __init__(self) -> None:
        self._lines: dict[str, asyncio.Queue[str | None]] = {}

    def tell(self, line: str) -> None:
        """Tell every visitor."""
        for queue in self._lines.values():
            if queue.qsize() < MAX_WAITING:
                queue.put_nowait(line)
            elif not queue.full():
                queue.put_nowait(None)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Serve one visitor; the path is the name."""
        name = scope.get("path", "/")[1:]
        if scope["type"] != "websocket":
            raise NotImplementedError("this application has WebSockets only")
        await receive()
        if not name or name in self._lines:
            await send({"type": "websocket.close", "code": 1008, "reason": "this name is taken"})
            return
        await send({"type": "websocket.accept"})
        self._lines[name] = asyncio.Queue(MAX_WAITING + 1)
        writing = asyncio.create_task(self._write(self._lines[name], send))
        self.tell(f"{name} is here")
        try:
            while (message := await receive())["type"] == "websocket.receive":
                self.tell(f"{name}: {message.get('text')}")
        finally:
            del self._lines[name]
            writing.cancel()
            self.tell(f"{name} has left")

    async def _write(self, lines: "asyncio.Queue[str | None]", send: Callable[[Any], Awaitable[None]]) -> None:
        with contextlib.suppress(OSError):  # the visitor has left
            while (line := await lines.get()) is not None:
                await send({"type": "websocket.send", "text": line})
            await send({"type": "websocket.close", "code": 1013, "reason": "you do not read"})


async def talk(address: str) -> None:
    """Have two visitors talk, and print what the first one reads."""
    from websockets.asyncio.client import connect

    fields = {"x-pico-endpoint": ENDPOINT}
    async with connect(f"ws://{address}/ann", additional_headers=fields) as ann:
        print(await ann.recv())
        async with connect(f"ws://{address}/bob", additional_headers=fields) as bob:
            print(await ann.recv())
            await bob.send("hello, Ann")
            print(await ann.recv())
        print(await ann.recv())


async def main(url: str) -> None:
    """Serve the chat."""
    async with contextlib.AsyncExitStack() as blocks:
        node = None if url else await blocks.enter_async_context(pico_asyncio.serve_node())
        client = await blocks.enter_async_context(pico_asyncio.connect(node.upstream_url if node else url))
        async with client.serve(ENDPOINT, Room()) as listener:
            if node is None:
                print(listener.url, flush=True)
                await client.wait_closed()
                return
            await talk(node.proxy_address)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
