"""The options that a Pico agent and a Pico server agree on in the WebSocket handshake of a tunnel.

The agent offers a smaller first window of its streams than yamux has, and the server repeats the field to agree. Where
either end is Piko's the field is missing, and both ends use yamux's. ``docs/decisions/shared-windows.md`` says why.
"""

import re
from collections.abc import Collection

from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from pico_core.mux.windows import SMALL_FIRST_WINDOW_BYTES

FIRST_WINDOW = (b"x-pico-first-window", b"%d" % SMALL_FIRST_WINDOW_BYTES)
"""The field of the offer, and of the answer that agrees."""

SECOND_AGENT = (b"x-pico-notice", b"second-agent")
"""The field of an answer that tells the agent that another one serves its endpoint too."""

SECOND_AGENT_CAME = b"second-agent"
"""The notice (``Tunnel.notice``) that tells an agent that another one serves its endpoint from now on."""

MAX_TOLD_BYTES = 512
"""Of each thing that an agent is told: a URL or a node ID fits."""

URL = b"x-pico-url"
NODE = b"x-pico-node"
VERSION = b"x-pico-version"
"""The fields of an answer that tell the agent where clients reach its endpoint, and which node answered. Agents tell
their version in the same field."""

WORKERS = b"x-pico-workers"
"""The field of an answer that tells how many nodes share the ports of the one that answered; without it, one."""

MAX_STREAMS = b"x-pico-max-streams"
"""How many streams a tunnel has: in the offer those that the agent takes, in the answer those that the server opens at
most. Without it in the answer, as many as were offered."""

_NUMBER = re.compile(rb"[1-9][0-9]{0,6}")

_OFFER = re.compile(rb"(?im)^%b:[ \t]*%b[ \t]*\r$" % FIRST_WINDOW)


def offered_first_window_bytes(head: bytes) -> int:
    """Return the first window of all streams, by the head of an agent's request."""
    return SMALL_FIRST_WINDOW_BYTES if _OFFER.search(head) else INITIAL_WINDOW_BYTES


def first_window_bytes(answer: Collection[tuple[bytes, bytes]]) -> int:
    """Return the first window of all streams, by the fields of a server's 101, names in lower case."""
    return SMALL_FIRST_WINDOW_BYTES if FIRST_WINDOW in answer else INITIAL_WINDOW_BYTES


def told(answer: Collection[tuple[bytes, bytes]], name: bytes) -> str:
    """Return the text for people in the field ``name`` of a server's 101, empty without it."""
    text = next((value for found, value in answer if found == name), b"")[:MAX_TOLD_BYTES].decode("ascii", "replace")
    return text if text.isprintable() else ""


def told_number(answer: Collection[tuple[bytes, bytes]], name: bytes, otherwise: int) -> int:
    """Return the number that the field ``name`` of a server's 101 tells; ``otherwise`` for none, or what is not one."""
    text = next((value for found, value in answer if found == name), b"")
    return int(text) if _NUMBER.fullmatch(text) else otherwise
