"""The messages of a client's WebSocket to an application, and the bound of one."""

from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from pico_core.agent.app_websocket import WebSocketUpstream
from pico_core.boundary import Command
from pico_core.program import CallAccepts, CallCloses, CallDropped, CallMessage
from pico_core.timers import Timers
from pico_core.websocket.encoding import encode_close
from tests.play import joined

LARGEST = 16_777_216


class Scene:
    """The streams of the listener, the exchange, the machine, and the client's side of the pipe."""

    now = 0.0

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.emit = self.commands.append
        self.head = Head()
        self.timers = Timers()
        self.sent = b""
        self.is_over = False

    def switch_protocols(self, *_: Any) -> None: ...

    def on_data(self, data: Any, now: float) -> None:
        self.sent += joined(data)

    def on_writable(self, now: float) -> None: ...

    def on_eof(self, now: float) -> None:
        self.is_over = True

    def on_lost(self, now: float) -> None: ...


class Head:
    """The head of the handshake."""

    fields = b"Sec-WebSocket-Key: kIqtl8dPEU+ET68+zXi82g==\r\n"


def opened() -> tuple[Scene, WebSocketUpstream]:
    scene: Any = Scene()
    socket = WebSocketUpstream(scene, 1, scene)
    socket.exchange = scene
    socket.accepts(CallAccepts(1, ()), 0.0)
    socket.user = scene
    return scene, socket


def message(size: int, frame_bytes: int) -> bytes:
    """Return the frames of a client's message, each of ``frame_bytes`` at most."""
    frames = Connection(ConnectionType.CLIENT)
    ends = range(frame_bytes, size + frame_bytes, frame_bytes)
    return b"".join(
        frames.send(BytesMessage(bytes(min(frame_bytes, size - end + frame_bytes)), message_finished=end >= size))
        for end in ends
    )


@pytest.mark.parametrize("frame_bytes", [LARGEST, 4_000_000])
def test_the_longest_message_and_one_byte_more(frame_bytes: int) -> None:
    scene, socket = opened()
    for is_longer in (False, True):
        socket.send(message(LARGEST + is_longer, frame_bytes))
        got = scene.commands.pop()
        if is_longer:
            assert got == CallDropped(1, 1009, "the message is too long")
        else:
            assert isinstance(got, CallMessage)
            assert len(got.message) == LARGEST
            assert not scene.is_over
            socket.took(LARGEST, 0.0)
    assert scene.sent == encode_close(1009, "the message is too long", None)
    assert scene.is_over


def test_a_client_has_ten_seconds_to_answer_a_close_frame() -> None:
    scene, socket = opened()
    socket.closes(CallCloses(1, 1000, ""), 5.0)
    assert scene.sent == encode_close(1000, "", None)
    scene.timers.fire(14.9)
    before = scene.is_over
    scene.timers.fire(15.0)
    assert (before, scene.is_over) == (False, True)
