"""Where the plays of the admin port take place: a server, an operator on connection 21, other nodes told by gossip."""

import json
from http import HTTPStatus
from typing import Any

from pico_core.boundary import Accepted, DatagramReceived, Received, Send
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import Entry
from pico_core.records import Record
from tests.play import Play, server_play

OPERATOR = 21


def ask(target: str, connection: int = OPERATOR) -> Received:
    return Received(connection, f"GET {target} HTTP/1.1\r\nHost: pico:8002\r\n\r\n".encode())


def joins(play: Play, connection: int = OPERATOR) -> Play:
    """Let an operator connect."""
    return play >> Accepted(connection, "admin", "192.0.2.3", 6000)


def admin_play() -> Play:
    """Return a server with an operator."""
    return joins(server_play())


def node_appears(play: Play, node_id: str, host: str, heard_from: str = "", **values: str) -> list[Record]:
    """Let a node tell about itself: first its addresses, then endpoints, as ``key=value``. Return what that leads to.

    It tells ``host`` as its own, and sends from there, or else from ``heard_from``.
    """
    entries = [Entry(key, value, version, False, False) for version, (key, value) in enumerate(values.items(), 1)]
    addr = f"{host}:8003"
    padding = writing.digest_entry("left", "", 0, left=True) * 5  # as many bytes as the answer to a stranger may have
    for proof in (writing.digest_head(node_id, addr, request=True) + padding, writing.delta_head(node_id, addr)):
        play >> DatagramReceived("gossip", proof, heard_from or host, 8003)
    data = writing.delta_head(node_id, addr) + writing.delta_node(node_id, addr, len(entries), None)
    play >> DatagramReceived("gossip", data + b"".join(map(writing.pack_entry, entries)), heard_from or host, 8003)
    return play.take()


def response_bytes(status: int, body: str, kind: str = "application/json") -> bytes:
    """Return an answer of the admin port."""
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    retry = "retry-after: 1\r\n" if status == 503 else ""
    return f"{head}x-content-type-options: nosniff\r\n{retry}\r\n{body}".encode()


def response(status: int, body: str, kind: str = "application/json", connection: int = OPERATOR) -> Send:
    """Return the command that sends an answer of the admin port."""
    return Send(connection, response_bytes(status, body, kind))


def document(play: Play, target: str) -> Any:
    """Ask, and return the document that is the answer."""
    play >> ask(target)
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert isinstance(answer.data, bytes)
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), answer.data
    assert b"\r\ncontent-type: application/json\r\n" in head
    return json.loads(body)
