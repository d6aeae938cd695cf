"""WebSockets of another library through a server and an agent."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.e2e.conftest import Stack
from tests.e2e.harness import LOCAL, MIB, Fleet
from tests.waiting import PATIENCE_S

CHAT = [Subprotocol("chat")]


class EchoServer:
    """A WebSocket server that echoes messages, and says when it saw a connection end."""

    def __init__(self) -> None:
        self.ended: queue.Queue[int] = queue.Queue()
        self.server = serve(self._echo, LOCAL, 0, subprotocols=CHAT, max_size=None)
        self.port: int = self.server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def _echo(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):  # it is asked below how the connection ended
            for message in connection:
                if message == "die":
                    connection.socket.shutdown(socket.SHUT_RDWR)
                connection.send(message)
        self.ended.put(connection.close_code or 0)

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()


@pytest.fixture(scope="module")
def echo_server() -> Iterator[EchoServer]:
    running = EchoServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def url(shared_fleet: Fleet, shared_stack: Stack, echo_server: EchoServer) -> Iterator[str]:
    agent = shared_fleet.agent(shared_stack.server, "websocket", echo_server.port)
    yield f"ws://websocket.pico.test:{shared_stack.port}/chat"
    agent.stop()


@contextlib.contextmanager
def open_websocket(url: str) -> Iterator[ClientConnection]:
    port = int(url.split(":")[2].split("/")[0])
    with (
        socket.create_connection((LOCAL, port)) as connected,
        connect(url, sock=connected, max_size=None, subprotocols=CHAT) as connection,
    ):
        yield connection


def test_echo(stack: Stack, url: str, echo_server: EchoServer) -> None:
    with open_websocket(url) as connection:
        assert connection.subprotocol == "chat"
        for message in ("hello", b"bytes", "", b"x" * 200, b"y" * 70_000, b"z" * 4 * MIB):
            connection.send(message)
            assert connection.recv(PATIENCE_S) == message
        assert connection.ping().wait(PATIENCE_S)
    assert echo_server.ended.get(timeout=PATIENCE_S) == 1000


def test_many_at_once(stack: Stack, url: str, echo_server: EchoServer) -> None:
    with contextlib.ExitStack() as connections:
        opened = [connections.enter_context(open_websocket(url)) for _ in range(20)]
        for number, connection in enumerate(opened):
            connection.send(f"{number}")
        for number, connection in enumerate(opened):
            assert connection.recv(PATIENCE_S) == f"{number}"
    for _ in opened:
        assert echo_server.ended.get(timeout=PATIENCE_S) == 1000


def test_a_client_that_vanishes(stack: Stack, url: str, echo_server: EchoServer) -> None:
    with open_websocket(url) as connection:
        connection.send("hello")
        assert connection.recv(PATIENCE_S) == "hello"
        connection.socket.shutdown(socket.SHUT_RDWR)
        assert echo_server.ended.get(timeout=PATIENCE_S) == 1006
        with pytest.raises(ConnectionClosedError):
            connection.recv(PATIENCE_S)


def test_a_server_that_vanishes(stack: Stack, url: str, echo_server: EchoServer) -> None:
    with open_websocket(url) as connection:
        connection.send("die")
        with pytest.raises(ConnectionClosedError):
            connection.recv(PATIENCE_S)
    echo_server.ended.get(timeout=PATIENCE_S)


def test_a_declined_upgrade_is_an_ordinary_answer(stack: Stack) -> None:
    with pytest.raises(InvalidStatus) as declined, open_websocket(f"ws://origin.pico.test:{stack.port}/describe"):
        pass
    assert declined.value.response.status_code == 200
    assert b'"GET"' in declined.value.response.body


def test_the_exchange_is_logged_at_its_end(stack: Stack, url: str, echo_server: EchoServer) -> None:
    process = stack.server.process
    with open_websocket(f"{url}/logged") as connection:
        connection.send("hello")
        connection.recv(PATIENCE_S)
        assert process.accessed(path="/chat/logged") == []
    echo_server.ended.get(timeout=PATIENCE_S)
    assert process.await_access(path="/chat/logged")["status"] == 101


def test_an_asyncio_client(stack: Stack, url: str, echo_server: EchoServer) -> None:
    """The library's other client pipelines its first message behind the handshake."""

    async def talk() -> None:
        with socket.create_connection((LOCAL, stack.port)) as connected:
            async with connect_async(url, sock=connected, subprotocols=CHAT) as connection:
                await asyncio.gather(*(connection.send(f"{number}") for number in range(100)))
                assert sorted([int(await connection.recv()) for _ in range(100)]) == list(range(100))

    asyncio.run(talk())
    echo_server.ended.get(timeout=PATIENCE_S)
