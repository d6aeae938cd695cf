"""Runs Pico on asyncio and uvloop.

``connect`` registers endpoints from inside a program, ``dial`` reaches one: the SDK (``docs/sdk.md``). ``run`` owns the
process of a machine, ``drive`` lives inside a running loop.
"""

from typing import TYPE_CHECKING, Any

from pico_asyncio.driver import drive
from pico_asyncio.running import run
from pico_core.records import Sink

if TYPE_CHECKING:
    from pico_asyncio.embedding import Client as Client
    from pico_asyncio.embedding import Listener as Listener
    from pico_asyncio.embedding import Node as Node
    from pico_asyncio.embedding import Stream as Stream
    from pico_asyncio.embedding import StreamListener as StreamListener
    from pico_asyncio.embedding import connect as connect
    from pico_asyncio.embedding import dial as dial
    from pico_asyncio.embedding import serve_node as serve_node

__all__ = [
    "Client",
    "Listener",
    "Node",
    "Sink",
    "Stream",
    "StreamListener",
    "connect",
    "dial",
    "drive",
    "run",
    "serve_node",
]

_EMBEDDING = ("Client", "Listener", "Node", "Stream", "StreamListener", "connect", "dial", "serve_node")


def __getattr__(name: str) -> Any:
    """Import the SDK when it is used: a command that runs a machine does without."""
    if name in _EMBEDDING:
        from pico_asyncio import embedding

        return getattr(embedding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
