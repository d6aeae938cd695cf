"""A program that serves a TCP endpoint itself, without a port: it echoes lines in capitals.

``python examples/tcp_listener.py https://pico.example.com:8001`` registers ``shout``. Without a URL the program runs a
node of its own, and sends itself one line through it.
"""

import asyncio
import contextlib
import sys

import pico_asyncio

ENDPOINT = "shout"


async def shout(stream: pico_asyncio.Stream) -> None:
    """Serve one client until it ends its side."""
    async with stream:
        async for piece in stream:
            await stream.write(piece.upper())


async def serve(listener: pico_asyncio.StreamListener) -> None:
    """Serve clients, each in a task of its own."""
    async with asyncio.TaskGroup() as tasks:
        async for stream in listener:
            tasks.create_task(shout(stream))


async def main(url: str) -> None:
    """Register the endpoint and serve it."""
    async with contextlib.AsyncExitStack() as blocks:
        node = None if url else await blocks.enter_async_context(pico_asyncio.serve_node())
        client = await blocks.enter_async_context(pico_asyncio.connect(node.upstream_url if node else url))
        async with client.listen(ENDPOINT) as listener:
            serving = asyncio.create_task(serve(listener))
            if node is None:
                await serving
                return
            async with pico_asyncio.dial(node.proxy_url, ENDPOINT) as stream:
                await stream.write(b"hello from a program without a port\n")
                await stream.write_eof()
                async for piece in stream:
                    print(piece.decode(), end="")
        await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
