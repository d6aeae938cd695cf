"""WebSockets of applications in the program, with the client of ``websockets``."""

import socket
from typing import Any
from urllib.parse import quote, unquote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.sdk.kit import Kit, linked


def opened(address: str, path: str = "/", **more: Any) -> Any:
    return connect(f"ws://{address}{path}", additional_headers={"x-pico-endpoint": "app"}, **more)


def test_messages_pass_both_ways_and_either_side_closes(kit: Kit) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        seen.append((scope["scheme"], scope["path"], scope["client"], scope["subprotocols"]))
        assert await receive() == {"type": "websocket.connect"}
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": "b" if scope["subprotocols"] else None,
                "headers": [(b"x-one", b"1")],
            }
        )
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4001, "reason": "as asked"})
                continue
            await send({**message, "type": "websocket.send"})
        seen.append((message["code"], message["reason"]))

    def talk(address: str) -> None:
        with opened(address, "/chat", subprotocols=["a", "b"]) as client:
            assert client.subprotocol == "b"
            assert client.response is not None
            assert client.response.headers["x-one"] == "1"
            for message in ("text", b"bytes", "é" * 100_000, bytes(1 << 20)):
                client.send(message)
                assert client.recv() == message
            client.close(4000, "enough")
        with opened(address) as client:
            client.send("close")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as asked")

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", app):
            await kit.in_thread(lambda: talk(node.proxy_address))
            await kit.until(lambda: len(seen) == 4)
        assert seen[0] == ("ws", "/chat", ("127.0.0.1", 0), ["a", "b"])
        assert seen[1] == (4000, "enough")
        assert seen[3][0] == 4001

    kit.run(scenario)


def test_a_client_that_vanishes_is_1006_and_a_failure_1011(kit: Kit) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        if scope["path"] == "/early":
            raise ZeroDivisionError
        await send({"type": "websocket.accept"})
        if scope["path"] == "/late":
            raise ZeroDivisionError
        seen.append((await receive())["code"])

    def talk(address: str) -> None:
        for path, status in (("/refused", 403), ("/early", 500)):
            with pytest.raises(InvalidStatus) as refused:
                opened(address, path)
            assert refused.value.response.status_code == status
        with opened(address, "/late") as client:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011
        with opened(address) as client:
            client.socket.shutdown(socket.SHUT_RDWR)

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", app):
            await kit.in_thread(lambda: talk(node.proxy_address))
            await kit.until(lambda: seen == [1006])

    kit.run(scenario)


ANSWERS: dict[str, tuple[dict[str, Any], int]] = {
    "half a pair": ({"type": "websocket.send", "text": "\ud800"}, 1011),
    "no text": ({"type": "websocket.send", "text": 5}, 1011),
    "no bytes": ({"type": "websocket.send", "bytes": None}, 1011),
    "nothing": ({"type": "websocket.send"}, 1011),
    "a code of 17 bits": ({"type": "websocket.close", "code": 70_000}, 1011),
    "a code below all": ({"type": "websocket.close", "code": -1}, 1011),
    "a reason of half a pair": ({"type": "websocket.close", "reason": "\udfff"}, 1011),
    "a reason of a kilobyte": ({"type": "websocket.close", "code": 4000, "reason": "\u00e9" * 500}, 4000),
    "no code": ({"type": "websocket.close", "code": None}, 1000),
}
ACCEPTS: dict[str, dict[str, Any]] = {
    "a subprotocol of other letters": {"subprotocol": "\u20ac"},
    "a subprotocol that is a number": {"subprotocol": 5},
    "a subprotocol of two lines": {"subprotocol": "a\r\nset-cookie: b"},
    "headers of text": {"headers": [("x", "y")]},
}


def test_what_a_websocket_cannot_carry_ends_that_websocket_alone(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        name = unquote(scope["path"][1:])
        await send({"type": "websocket.accept", **ACCEPTS.get(name, {})})
        await send(ANSWERS[name][0])

    def talk(address: str) -> None:
        for name, (_, code) in ANSWERS.items():
            with opened(address, "/" + quote(name)) as client:
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv()
                assert closed.value.rcvd is not None, name
                assert closed.value.rcvd.code == code, name
        for name in ACCEPTS:
            with pytest.raises(InvalidStatus) as refused:
                opened(address, "/" + quote(name))
            assert refused.value.response.status_code == 500, name

    async def scenario(kit: Kit) -> None:
        async with linked(kit) as (node, client), client.serve("app", app) as listener:
            await kit.in_thread(lambda: talk(node.proxy_address))
            assert listener.is_registered

    kit.run(scenario)
