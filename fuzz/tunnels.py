"""A machine in the hand of a test, and the far ends of its tunnels, which speak the protocol."""

import random
from collections.abc import Callable

from pico_core.boundary import Machine
from pico_core.mux.stream import MuxStream
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.encoding import encode_close
from pico_core.websocket.frame import NORMAL_CLOSURE
from pico_core.websocket.handshake import ClientHandshake, HandshakeError, accept_handshake
from tests.play import FarEnd, joined
from tests.sim.hand import Hand

UPSTREAM = "upstream"
"""The listener for tunnels, on a server."""
SERVER = "8001"
"""The port to which an agent opens tunnels."""


class Tunnels(Hand):
    """Register agents with a server, or accept the registration of an agent; then let the far ends act."""

    def __init__(self, machine: Machine) -> None:
        self.far_ends: dict[int, FarEnd] = {}
        super().__init__(machine)

    def lose(self, connection: int) -> None:
        self.far_ends.pop(connection, None)
        super().lose(connection)

    def register(self) -> None:
        """An agent for endpoint ``e1`` connects and registers."""
        connection = self.accept(UPSTREAM)
        handshake = ClientHandshake("h", "/pico/v1/upstream/e1", (), random.Random(connection))
        self.receive(connection, handshake.request_bytes())
        line = self.ends[connection]
        if line.output.startswith(b"HTTP/1.1 101"):
            line.output = b""
            tunnel = Tunnel(self.world.now, entropy=random.Random(connection), max_incoming_streams=64)
            self.far_ends[connection] = FarEnd(tunnel)

    def accept_registration(self, connection: int) -> None:
        """The server at the other end of a connection accepts the agent, if it has asked."""
        line = self.ends[connection]
        if connection in self.far_ends or line.kind != SERVER or not line.output.endswith(b"\r\n\r\n"):
            return
        try:
            answer = accept_handshake(line.output)
        except HandshakeError:
            return
        line.output = b""
        self.far_ends[connection] = FarEnd(Tunnel(self.world.now, entropy=None))
        self.receive(connection, answer)

    def far_end_turn(self, connection: int, act: Callable[[FarEnd], None]) -> None:
        """The far end reads its input, acts, and sends its output, one message after the other."""
        far = self.far_ends[connection]
        far.hear(connection, self.ends[connection].take_output(), self.world.now)
        act(far)
        while (message := far.tunnel.take_output()) is not None:
            if connection in self.ends:
                self.receive(connection, joined(message))

    def close_tunnel(self, connection: int) -> None:
        """The far end sends a close frame, and nothing after it."""
        self.far_ends[connection].tunnel.fail("closed")
        masks = None if self.is_served_by(connection) else random.Random(connection)
        self.receive(connection, encode_close(NORMAL_CLOSURE, "", masks))

    def is_served_by(self, connection: int) -> bool:
        """Return whether the far end is a server, which opens streams to the agent under test."""
        return self.ends[connection].kind == SERVER


def open_stream(far: FarEnd) -> MuxStream:
    """Open the next stream at a far end."""
    stream = far.tunnel.open_stream()
    far.streams[stream.id] = stream
    return stream
