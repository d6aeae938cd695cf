"""Many connections at once."""

import selectors
import socket

from pico_core.boundary import ConnectionLost, Input, Received, Send
from tests.adapters.machines import Recorder
from tests.adapters.stage import staged
from tests.waiting import PATIENCE_S, wait_until

CONNECTIONS = 2_000


class EchoRecorder(Recorder):
    """A recorder that also sends back what it receives."""

    def handle(self, event: Input, now: float) -> None:
        super().handle(event, now)
        if type(event) is Received:
            self.commands.append(Send(event.connection, event.data))


def test_two_thousand_connections_open_echo_and_close(runtime: str) -> None:
    with staged(runtime, EchoRecorder()) as stage:
        port = stage.listen()
        peers = [stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) for _ in range(CONNECTIONS)]
        for index, peer in enumerate(peers):
            peer.sendall(b"%06d" % index)
        with selectors.DefaultSelector() as selector:
            for index, peer in enumerate(peers):
                selector.register(peer, selectors.EVENT_READ, b"%06d" % index)
            while selector.get_map():
                ready = selector.select(PATIENCE_S)
                assert ready, f"{len(selector.get_map())} connections got no answer"
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    assert key.fileobj.recv(100) == key.data
                    selector.unregister(key.fileobj)
        assert len(stage.machine.contract.open) == CONNECTIONS
        for peer in peers:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
        wait_until(lambda: not stage.machine.contract.open, "all connections ended")
        assert stage.count(ConnectionLost) == CONNECTIONS
