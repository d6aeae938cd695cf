"""A client that sends its whole request at once and reads afterwards gets the answer, however early that is given.

A reset would make its kernel drop the answer. Only real sockets show that.
"""

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import MIB
from tests.e2e.wire import dial, receive_response

TIMES = 20

POST = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Length: 1048576\r\n\r\n"

HEADS = [
    pytest.param("proxy", b"NOT HTTP\r\n\r\n", 400, id="proxy: not HTTP"),
    pytest.param("proxy", POST % (b"/", b"nobody.pico.test"), 502, id="proxy: no route"),
    pytest.param("proxy", POST % (b"/_pico/nothing", b"origin.pico.test"), 404, id="proxy: not found"),
    pytest.param(
        "proxy",
        b"GET /describe HTTP/1.1\r\nHost: origin.pico.test\r\nConnection: close\r\n\r\n",
        200,
        id="proxy: more behind a request that closes",
    ),
    pytest.param("upstream", b"NOT HTTP\r\n\r\n", 400, id="upstream: not HTTP"),
    pytest.param("upstream", POST % (b"/", b"pico"), 404, id="upstream: not found"),
    pytest.param(
        "upstream",
        b"GET /pico/v1/upstream/e HTTP/1.1\r\nHost: pico\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n",
        426,
        id="upstream: another version",
    ),
    pytest.param("admin", b"NOT HTTP\r\n\r\n", 400, id="admin: not HTTP"),
    pytest.param("admin", POST % (b"/health", b"pico"), 405, id="admin: method"),
    pytest.param("admin", POST.replace(b"POST", b"GET") % (b"/nowhere", b"pico"), 404, id="admin: not found"),
    pytest.param("admin", b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 4_000, 431, id="admin: long head"),
]


def port_of(stack: Stack, name: str) -> int:
    server = stack.server
    return {"proxy": server.proxy_port, "upstream": server.upstream_port, "admin": server.admin_port}[name]


@pytest.mark.parametrize(("port", "head", "status"), HEADS)
def test_the_whole_answer_arrives(stack: Stack, port: str, head: bytes, status: int) -> None:
    for _ in range(TIMES):
        with dial(port_of(stack, port)) as wire:
            wire.send(head + bytes(MIB))
            response, body = receive_response(wire)
            assert response.status == status
            assert len(body) == int(response["content-length"])
            assert wire.receive_rest() == b""


@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_the_whole_answer_arrives_at_a_client_that_sends_on(stack: Stack, port: str) -> None:
    """Its bytes come when the answer has been given already, which is when a kernel resets a closed connection."""
    for _ in range(TIMES):
        with dial(port_of(stack, port)) as wire:
            wire.send(b"NOT HTTP\r\n\r\n")
            assert wire.socket.recv(1) == b"H"
            wire.send(bytes(MIB))
            assert wire.receive_rest().startswith(b"TTP/1.1 400 ")
