"""Runs Pico on trio.

``connect`` registers endpoints from inside a program, ``dial`` reaches one: the SDK (``docs/sdk.md``). ``run`` owns the
process of a machine, ``drive`` lives inside a running trio program.
"""

from typing import TYPE_CHECKING, Any

from pico_core.records import Sink
from pico_trio.driver import drive, run

if TYPE_CHECKING:
    from pico_trio.embedding import Client as Client
    from pico_trio.embedding import Listener as Listener
    from pico_trio.embedding import Node as Node
    from pico_trio.embedding import Stream as Stream
    from pico_trio.embedding import StreamListener as StreamListener
    from pico_trio.embedding import connect as connect
    from pico_trio.embedding import dial as dial
    from pico_trio.embedding import run_program as run_program
    from pico_trio.embedding import serve_node as serve_node

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
    "run_program",
    "serve_node",
]

_EMBEDDING = ("Client", "Listener", "Node", "Stream", "StreamListener", "connect", "dial", "run_program", "serve_node")


def __getattr__(name: str) -> Any:
    """Import the SDK when it is used: a command that runs a machine does without."""
    if name in _EMBEDDING:
        from pico_trio import embedding

        return getattr(embedding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
