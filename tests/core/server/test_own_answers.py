"""Every answer that Pico makes itself, on every port, and what RFC 9110, 9112 and 6455 ask of it.

``TABLE`` lists the answers; the last test finds those in the source that are missing in it.
"""

import ast
import json
import random
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest

from pico_core.boundary import (
    OUT_OF_DESCRIPTORS,
    Accepted,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Listening,
    Received,
    Send,
    SendEof,
    ShutdownRequested,
    Tick,
)
from pico_core.config.policies import PolicyConfig
from pico_core.config.ports import ProxyConfig, ProxyHttpConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.http.body import BODY_TOO_LONG
from pico_core.plain.exposition import CONTENT_TYPE
from pico_core.program import WorkerStarted
from pico_core.proxy.failures import CLOSED_EARLY, TOLD_BY_PEERS, UNREACHABLE
from pico_core.server.admin.pages import MAX_FORWARDS, UNKNOWN_HOST
from pico_core.server.node import ServerNode
from pico_core.server.worker import Worker
from pico_core.server.workers.pages import MAX_QUESTIONS
from pico_core.server.workers.supervisor import Supervisor
from pico_core.websocket.handshake import NOT_GET
from tests.core.agent.scene import SERVER, SERVICE
from tests.core.agent.scene import asked as agent_asked
from tests.core.agent.scene import registered as agent_registered
from tests.core.proxy.scene import AGENT, CLIENT
from tests.core.server.admin.scene import node_appears, node_of
from tests.play import Data, End, Play, joined, server_play

SUNDAY_S = 784_111_777.0
DATE = "Sun, 06 Nov 1994 08:[45][0-9]:[0-9]{2} GMT"
"""The example of RFC 9110 section 5.6.7, and some minutes more."""

NO_SUCH_METHOD = re.compile(rb"HTTP/1.1 405 ")

UPSTREAM_PATH = b"/pico/v1/upstream/e9"
WEBSOCKET = (
    b" HTTP/1.1\r\nHost: e1.a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TCP_ROUTE = b"GET /_pico/v1/tcp/e1" + WEBSOCKET
REGISTRATION = b"GET " + UPSTREAM_PATH + WEBSOCKET
EVIL = b"Origin: http://evil.example\r\n\r\n"
TO_E1 = b"Host: e1.a\r\n\r\n"
GET_E1 = b"GET / HTTP/1.1\r\n" + TO_E1
STRANGE_NAME = b"GET /status HTTP/1.1\r\nHost: a.b\r\n\r\n"
POST_E1 = b"POST / HTTP/1.1\r\nHost: e1.a\r\n"
EMPTY_POST = POST_E1 + b"Content-Length: 0\r\n\r\n"
CHUNKED = POST_E1 + b"Transfer-Encoding: chunked\r\n\r\n"
FORWARDED = b"GET / HTTP/1.1\r\nx-piko-forward: true\r\nx-pico-forward: true\r\nHost: gone.a\r\n\r\n"


def get(target: bytes, fields: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: pico\r\n" + fields + b"\r\n"


class Row(msgspec.Struct, frozen=True):
    """An answer: where, its status, the beginning of its text, what is sent, and what else makes it come."""

    port: str
    status: int
    text: str
    request: bytes
    after: Callable[[Play], object] = lambda play: None
    config: ServerConfig | None = None


def passes(seconds: float) -> Callable[[Play], object]:
    return lambda play: play >> play.now + seconds


def service_answers(data: bytes) -> Callable[[Play], object]:
    return lambda play: play >> Data(AGENT, 2, data)


def tunnel_breaks(play: Play) -> None:
    play >> ConnectionLost(AGENT, "reset")


def peer_says(reason: bytes) -> Callable[[Play], object]:
    return service_answers(b"HTTP/1.1 502 Bad Gateway\r\nX-Pico-Failure: %b\r\nContent-Length: 0\r\n\r\n" % reason)


def other_node_fails(play: Play) -> None:
    play >> ConnectFailed(2, "connection refused") >> play.now + 4.0


def other_node_is_lost(play: Play) -> None:
    play >> Connected(2, "192.0.2.8", 8000) >> ConnectionLost(2, "reset")


def other_node_says(data: bytes) -> Callable[[Play], object]:
    return lambda play: play >> Connected(2, "192.0.2.8", 8002) >> Received(2, data)


LONG = b"x: 34567890\r\n" * 800
SHORT_OF_MEMORY = ServerConfig(
    proxy=ProxyConfig(http=ProxyHttpConfig(max_header_bytes=16_384, max_unfinished_bytes=16_384))
)
SHORT_BODIES = ServerConfig(policies=(PolicyConfig(endpoints=("*",), max_body_bytes=4),))
ONE_AGENT = ServerConfig(policies=(PolicyConfig(endpoints=("*",), second_agent="refuse"),))
FEW_REGISTRATIONS = ServerConfig(upstream=UpstreamConfig(registration_burst=2))


def others_begin(play: Play) -> None:
    """Let another client send so much of a head that those of all are too many."""
    play >> Accepted(71, "proxy", "192.0.2.7", 5001) >> Received(71, b"GET / HTTP/1.1\r\n" + LONG[:-1200])


PROXY_HEADS = [
    (400, "malformed request line", b"nonsense\r\n\r\n"),
    (400, "malformed request line: byte 0x23 at place 2 of the target", get(b"/#")),
    (400, "control character or bare line end in the head", b"GET / HTTP/1.1\r\nA: \x00"),
    (400, "missing Host", b"GET / HTTP/1.1\r\n\r\n"),
    (400, "malformed or repeated Host", get(b"/", b"Host: b\r\n")),
    (400, "malformed header field", get(b"/", b"A\r\n")),
    (400, "folded header field", get(b"/", b"A: b\r\n c\r\n")),
    (400, "blank before the colon of a header field", get(b"/", b"A : b\r\n")),
    (400, "ambiguous spelling of a framing field", get(b"/", b"Content_Length: 1\r\n")),
    (400, "malformed request target", get(b"x")),
    (400, "request target and Host disagree", get(b"http://other/")),
    (400, "both Content-Length and Transfer-Encoding",
     get(b"/", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")),
    (400, "malformed or repeated Content-Length", get(b"/", b"Content-Length: x\r\n")),
    (400, "Transfer-Encoding in HTTP/1.0", b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, "malformed or repeated Transfer-Encoding", get(b"/", b"Transfer-Encoding: x\r\n")),
    (400, "contradicting header fields", get(b"/", b"x-pico-endpoint: a\r\nx-piko-endpoint: b\r\n")),
    (414, "start line too long", get(b"/" + b"a" * 70_000)),
    (417, "unknown expectation", get(b"/", b"Expect: x\r\n")),
    (431, "message head too large", get(b"/", b"A: %b\r\n" % (b"a" * 60_000) * 20)),
    (431, "header field too long", get(b"/", b"A: %b\r\n" % (b"a" * 70_000))),
    (431, "too many header fields", get(b"/", b"A: b\r\n" * 1_001)),
    (501, "method not supported", b"TRACE / HTTP/1.1\r\n" + TO_E1),
    (501, "transfer coding not supported", get(b"/", b"Transfer-Encoding: gzip, chunked\r\n")),
    (505, "HTTP version not supported", b"GET / HTTP/2.0\r\n" + TO_E1),
]  # fmt: skip

TABLE = [
    *(Row("proxy", *each) for each in PROXY_HEADS),
    Row("proxy", 408, "request timeout", b"GET / HTTP/1.1\r\n", passes(11)),
    Row("proxy", 408, "request timeout", POST_E1 + b"Content-Length: 9\r\n\r\n", passes(301)),
    Row("proxy", 400, "missing endpoint id", get(b"/")),
    Row("proxy", 400, "invalid endpoint id", get(b"/", b"x-pico-endpoint: a/b\r\n")),
    Row("proxy", 400, "malformed chunk size or extension", CHUNKED, lambda play: play >> Received(CLIENT, b"zz\r\n")),
    Row("proxy", 400, "chunk extensions too long", CHUNKED,
        lambda play: play >> Received(CLIENT, (b"1;" + b"a" * 4_000 + b"\r\nx\r\n") * 5)),
    Row("proxy", 400, "chunk data without its line end", CHUNKED,
        lambda play: play >> Received(CLIENT, b"1\r\nxyz\r\n")),
    Row("proxy", 400, "malformed trailer field", CHUNKED, lambda play: play >> Received(CLIENT, b"0\r\nx\r\n")),
    Row("proxy", 400, "line too long in a chunked body", CHUNKED,
        lambda play: play >> Received(CLIENT, b"1;" + b"a" * 5_000)),
    Row("proxy", 413, BODY_TOO_LONG, CHUNKED, lambda play: play >> Received(CLIENT, b"5\r\nhello\r\n"), SHORT_BODIES),
    Row("proxy", 404, "not found", get(b"/_pico/")),
    Row("proxy", 400, "invalid endpoint id", get(b"/_pico/v1/tcp/-%2F-")),
    Row("proxy", 405, NOT_GET, TCP_ROUTE.replace(b"GET", b"PUT")),
    Row("proxy", 426, "a WebSocket is wanted here", get(b"/_pico/v1/tcp/e1")),
    Row("proxy", 403, "pages of this Origin are not allowed here: see proxy.allowed_origins",
        TCP_ROUTE[:-2] + EVIL),
    Row("proxy", 426, "not a WebSocket handshake of version 13", TCP_ROUTE.replace(b"n: 13", b"n: 8")),
    Row("proxy", 400, "not a WebSocket handshake of version 13", TCP_ROUTE.replace(b"websocket", b"other")),
    Row("proxy", 400, "invalid Sec-WebSocket-Key", TCP_ROUTE.replace(b"AA==", b"A")),
    Row("proxy", 400, "request head too large", TCP_ROUTE[:-2] + b"A: %b\r\n\r\n" % (b"a" * 17_000)),
    Row("proxy", 400, "WebSocket handshake with a body", TCP_ROUTE[:-2] + b"Content-Length: 0\r\n\r\n"),
    Row("proxy", 502, "no available upstreams", b"GET / HTTP/1.1\r\nHost: unknown.a\r\n\r\n"),
    Row("proxy for a node", 421, "no available upstreams", FORWARDED),
    Row("proxy", 502, "upstream unreachable", EMPTY_POST, tunnel_breaks),
    Row("proxy", 502, "the service closed the connection without a response", GET_E1, peer_says(b"service-lost")),
    Row("proxy", 502, "the service's response was not valid HTTP", GET_E1, service_answers(b"nonsense\r\n\r\n")),
    Row("proxy", 504, "upstream timeout", GET_E1, passes(31)),
    Row("proxy", 503, "too many requests in flight to this endpoint", GET_E1, peer_says(b"busy")),
    Row("proxy", 503, "the agent is out of descriptors", GET_E1, peer_says(b"agent-full")),
    Row("proxy", 503, "too many unfinished requests", b"GET / HTTP/1.1\r\n" + LONG, others_begin, SHORT_OF_MEMORY),
    Row("proxy", 502, "too many unfinished responses", GET_E1,
        lambda play: others_begin(play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n" + LONG)), SHORT_OF_MEMORY),
    *(
        Row("proxy", each.status, each.message, EMPTY_POST, peer_says(reason))
        for reason, each in TOLD_BY_PEERS.items()
        if not each.permits(b"POST")
    ),
    Row("other node", 502, "no available upstreams", GET_E1, other_node_fails),
    Row("other node", 502, "upstream unreachable", EMPTY_POST, other_node_is_lost),
    Row("other node", 503, "the server is out of descriptors", GET_E1,
        lambda play: play >> ConnectFailed(2, OUT_OF_DESCRIPTORS)),
    Row("draining", 502, "no available upstreams", b"GET / HTTP/1.1\r\nHost: unknown.a\r\n\r\n", passes(4)),
    Row("upstream", 400, "malformed request line", b"nonsense\r\n\r\n"),
    Row("upstream", 431, "message head too large", get(b"/", b"A: b\r\n" * 4_000)),
    Row("upstream", 404, "not found: agents connect to /pico/v1/upstream/{endpoint}", get(b"/")),
    Row("upstream", 400, "endpoint: ", get(b"/pico/v1/upstream/-%2F-")),
    Row("upstream", 405, NOT_GET, REGISTRATION.replace(b"GET", b"PUT")),
    Row("upstream", 400, "not a request in HTTP/1.1", REGISTRATION.replace(b"HTTP/1.1", b"HTTP/1.0")),
    Row("upstream", 426, "not a WebSocket handshake of version 13", REGISTRATION.replace(b"n: 13", b"n: 8")),
    Row("upstream", 400, "invalid Sec-WebSocket-Key", REGISTRATION.replace(b"AA==", b"A")),
    Row("upstream", 403, "pages of this Origin are not allowed here: see upstream.allowed_origins",
        REGISTRATION[:-2] + EVIL),
    Row("crowded upstream", 503, "too many registrations from this address", REGISTRATION, config=FEW_REGISTRATIONS),
    Row("upstream, http taken", 409, "another agent serves this endpoint as http, this one as tcp",
        REGISTRATION.replace(b"e9", b"e1")[:-2] + b"x-pico-protocol: tcp\r\n\r\n"),
    Row("upstream, taken", 409, "another agent serves this endpoint, and its policy lets only one",
        REGISTRATION.replace(b"e9", b"e1"), config=ONE_AGENT),
    Row("proxy, http", 404, "this endpoint takes HTTP requests and no TCP connections", TCP_ROUTE),
    Row("proxy, tcp", 404, "this endpoint takes TCP connections and no HTTP requests: see 'pico forward tcp --help'",
        GET_E1),
    Row("draining upstream", 503, "this node is about to stop; connect again", REGISTRATION),
    Row("admin", 200, "ok", get(b"/health")),
    Row("admin", 200, "running", get(b"/ready")),
    Row("draining admin", 503, "draining", get(b"/ready")),
    Row("admin", 200, "# HELP", get(b"/metrics")),
    Row("admin", 200, "[", get(b"/status/cluster/nodes")),
    Row("admin", 400, "malformed request", b"nonsense\r\n\r\n"),
    Row("admin", 400, "more than one node to forward to", get(b"/status/cluster/nodes?forward=a&forward=b")),
    Row("admin", 200, "<!doctype html>", get(b"/")),
    Row("admin", 404, "not found", get(b"/nothing")),
    Row("agent admin", 404, "not found: there are /health, /ready, /metrics and /status", get(b"/")),
    Row("agent admin", 421, "this Host is not known as a name of the agent", STRANGE_NAME),
    Row("admin", 404, "unknown node '", get(b"/status/cluster/nodes/x")),
    Row("admin", 404, "unknown node '", get(b"/status/cluster/nodes?forward=x")),
    Row("admin", 405, "only GET and HEAD are served here", b"PUT / HTTP/1.1\r\nHost: pico\r\n\r\n"),
    Row("admin", 421, UNKNOWN_HOST, b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    Row("admin", 431, "malformed request", get(b"/", b"A: b\r\n" * 4_000)[:-2]),
    Row("admin", 501, "malformed request", get(b"/", b"Transfer-Encoding: gzip\r\n")),
    Row("crowded admin", 503, "too many questions are being forwarded", get(b"/status/cluster/nodes?forward=n2")),
    Row("crowded admin", 503, "too many pages look on; this one asks again", get(b"/status/stream")),
    Row("odd node's admin", 502, "node '", get(b"/status/cluster/nodes?forward=odd")),
    Row("other node's admin", 502, "node '", get(b"/status/cluster/nodes?forward=n2"), other_node_fails),
    Row("other node's admin", 502, "node '", get(b"/status/cluster/nodes?forward=n2"),
        other_node_says(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")),
    Row("other node's admin", 200, "{}", get(b"/status/cluster/nodes?forward=n2"),
        other_node_says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")),
    Row("control", 403, "this port is for the process that started this one", get(b"/ready")),
    Row("supervisor's admin", 404, "a server with workers has no stream: the page asks for /status/overview",
        get(b"/status/stream")),
    Row("supervisor's admin", 503, "no worker answers", get(b"/status/cluster/nodes")),
    Row("crowded supervisor's admin", 503, "too many questions wait for the workers", get(b"/status/cluster/nodes")),
    Row("agent", 400, "malformed request line", b"nonsense\r\n\r\n"),
    Row("agent", 502, "upstream unreachable", GET_E1, lambda play: play >> ConnectFailed(SERVICE, "refused")),
    Row("agent", 502, "the service closed the connection without a response", GET_E1,
        lambda play: play >> Connected(SERVICE, "127.0.0.1", 3000) >> ConnectionLost(SERVICE, "")),
    Row("agent", 502, "the service's response was not valid HTTP", GET_E1,
        lambda play: play >> Connected(SERVICE, "127.0.0.1", 3000) >> Received(SERVICE, b"nonsense\r\n\r\n")),
    Row("agent", 504, "upstream timeout", GET_E1,
        lambda play: play >> Connected(SERVICE, "127.0.0.1", 3000) >> play.now + 11),
]  # fmt: skip

NOT_ANSWERED = {
    "malformed status line": "said of a response",
    "blank before the first header field": "said of a response",
    "folded framing field": "said of a response",
    "switching protocols without an Upgrade": "said of a response",
    "switching protocols without being asked": "said of a response",
    "too many interim responses": "said of a response",
    "incomplete request head": "no caller passes one",
    "a body has at most ": "the inspector of an agent answers it: tests/core/agent/inspector/test_port.py",
    "the answer does not complete the WebSocket handshake": "what a client says of an answer",
    "the application failed before its response": "a program's agent answers it: tests/sdk/test_apps.py",
    "the application answered with status ": "why an application failed: logged",
    "the application's response has an invalid header field": "why an application failed: logged",
    "the application's response has an invalid trailer": "why an application failed: logged",
    "the application's response has an invalid Content-Length": "why an application failed: logged",
    "the application's body has another length than its Content-Length": "why an application failed: logged",
}
"""Texts in the source of errors that are no answer by themselves, and why."""


def scene(row: Row, request: bytes) -> Play:
    """Return a play in which the request was sent, after the example's time of the wall clock was told."""
    if row.port == "agent":
        return agent_asked(agent_registered() >> Tick(SUNDAY_S), request=request)
    if row.port == "agent admin":
        agent = agent_registered() >> Tick(SUNDAY_S) >> Accepted(CLIENT, "admin", "192.0.2.7", 5000)
        return agent >> Received(CLIENT, request)
    if "supervisor" in row.port or row.port == "control":
        return worker_scene(row, request)
    play = server_play(row.config)
    fields = [(b"x-pico-protocol", each) for each in (b"http", b"tcp") if each.decode() in row.port]
    play.agent_registers(AGENT, "e2" if "other node" in row.port else "e1", *fields)
    node_appears(play, "n2", "192.0.2.8", proxy_addr="192.0.2.8:8000", admin_addr="192.0.2.8:8002")
    node_appears(play, "odd", "192.0.2.9", admin_addr="nonsense")
    if row.port == "other node":
        view = node_of(play).facts.view
        peer = view.get("n2")
        assert peer is not None
        view.set_endpoint(peer, "e1", 1)
    if "draining" in row.port:
        play >> ShutdownRequested()
    listener = next((each for each in ("admin", "upstream") if each in row.port), "proxy")
    crowd = range(101, 101 + 2 * MAX_FORWARDS, 2) if "crowded" in row.port else ()
    for connection in (*crowd, CLIENT):
        play >> Accepted(connection, listener, "192.0.2.8" if "for a node" in row.port else "192.0.2.7", 5000)
    play >> Tick(SUNDAY_S)
    for connection in (*crowd, CLIENT):
        play >> Received(connection, request)
    return play


def worker_scene(row: Row, request: bytes) -> Play:
    """Return a play with a worker or its supervisor, whose one worker is ready where operators crowd."""
    crowd = range(101, 101 + 2 * MAX_QUESTIONS, 2) if "crowded" in row.port else ()
    if row.port == "control":
        port = Address("127.0.0.1", 1)
        worker = Worker(
            number=1,
            count=2,
            node_id="n-1-1",
            group="n-",
            proxy=port,
            upstream=port,
            gossip=port,
            own_gossip=port,
            control=port,
            secret="drawn",
        )
        play = Play(ServerNode(ServerConfig(), "n-1-1", random.Random(1), worker=worker), 0.0)
    else:
        play = Play(Supervisor(ServerConfig(), 1, "n-", "drawn"), 0.0)
    play >> Tick(SUNDAY_S)
    if crowd:
        play >> Listening("admin", "0.0.0.0", 8002) >> WorkerStarted(1, 100, 1, 1) >> Connected(2, "127.0.0.1", 1)
        play >> Received(2, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") >> ConnectionLost(2, "")
    for connection in (*crowd, CLIENT):
        play >> Accepted(connection, row.port.rpartition(" ")[2], "127.0.0.1", 5000) >> Received(connection, request)
    return play


def answered(row: Row, request: bytes) -> tuple[bytes, bytes, bool]:
    """Play the row; return head and body of the answer, and whether the end of the stream came behind it."""
    play = scene(row, request)
    done = play.take()
    row.after(play)
    done += play.take()
    if row.port == "agent":
        sent = b"".join(each.data for each in done if isinstance(each, Data) and each.tunnel == SERVER)
        closed = End(SERVER, 2) in done
    else:
        sent = b"".join(joined(each.data) for each in done if isinstance(each, Send) and each.connection == CLIENT)
        closed = SendEof(CLIENT) in done
    head, end, body = sent.partition(b"\r\n\r\n")
    assert end, f"no answer: {sent!r} {done}"
    return head, body, closed


def name_of(row: Row) -> str:
    return f"{row.port}: {row.status} {row.text}"


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_an_answer_has_all_that_it_must_have(row: Row) -> None:
    head, body, closed = answered(row, row.request)
    line, *lines = head.decode("ascii").split("\r\n")
    assert line == f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}"
    fields = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines if "Upgrade" not in each)}
    assert fields["content-length"] == str(len(body))
    kinds = ("application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8", CONTENT_TYPE)
    assert fields["content-type"] in kinds
    assert fields["x-content-type-options"] == "nosniff"
    assert re.fullmatch(DATE, fields["date"])
    assert len([each for each in lines if each.lower().startswith("date:")]) == 1
    assert fields.get("connection") == ("close" if closed else None)
    text = json.loads(body)["error"] if row.status >= 400 and b"application/json" in head else body.decode()
    assert text.startswith(row.text)
    assert ("retry-after" in fields) == (row.status in (409, 503))
    assert fields.get("allow") == {405: "GET, HEAD" if row.port == "admin" else "GET"}.get(row.status)
    assert fields.get("sec-websocket-version") == {426: "13"}.get(row.status)
    upgrades = int(row.status == 426)
    assert (lines.count("Connection: Upgrade"), lines.count("Upgrade: websocket")) == (upgrades, upgrades)
    assert closed or row.status not in (408, 414, 431)


ASKED_BY_HEAD = [row for row in TABLE if row.request.startswith(b"GET ") and b"/status/stream" not in row.request]
"""HEAD gets no stream, so it finds no crowd."""


@pytest.mark.parametrize("row", ASKED_BY_HEAD, ids=name_of)
def test_an_answer_to_head_has_the_same_head_and_no_body(row: Row) -> None:
    head, body, closed = answered(row, row.request)
    request = row.request.replace(b"GET", b"HEAD", 1)
    head_of_head, no_body, closed_after_head = answered(row, request)
    if NO_SUCH_METHOD.match(head_of_head):  # a WebSocket is asked for
        assert b"/pico/v1/" in request or b"/_pico/v1/tcp" in request
    else:
        assert re.sub(rb"[0-9]+ GMT|place [0-9]+", b"", head_of_head) == re.sub(rb"[0-9]+ GMT", b"", head)
        assert closed_after_head == closed
    assert body
    assert no_body == b""


def test_the_date_is_that_of_the_wall_clock() -> None:
    play = server_play() >> Tick(SUNDAY_S) >> Accepted(CLIENT, "proxy", "192.0.2.7", 5000)
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in sent_by(play >> Received(CLIENT, get(b"/")))
    assert b"\r\nDate: Sun, 06 Nov 1994 08:50:07 GMT\r\n" in sent_by(play >> 30.0 >> Received(CLIENT, get(b"/")))


def test_a_server_without_a_clock_sends_no_date() -> None:
    play = server_play() >> Accepted(CLIENT, "proxy", "192.0.2.7", 5000)
    assert b"Date" not in sent_by(play >> Received(CLIENT, get(b"/")))


def sent_by(play: Play) -> bytes:
    return b"".join(joined(each.data) for each in play.take() if isinstance(each, Send))


# --- nothing is missing ---

CALLS = {"MessageError": 0, "HandshakeError": 0, "Failure": 1, "fail": 0, "_refuse": 0, "refuse": 0, "respond": 0}
"""What makes an answer, and which of its arguments is the status."""


def answers_in(path: Path) -> Iterator[tuple[int, str]]:
    """The status and the fixed beginning of the text of every answer that a module makes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        arguments = node.args
        if name in ("_refuse", "respond") and arguments and isinstance(arguments[0], ast.Name):
            arguments = arguments[1:]  # the connection
        place = CALLS.get(name)
        if place is None or len(arguments) < place + 2:
            continue
        status, text = arguments[place : place + 2]
        for number in ast.walk(status):
            if isinstance(number, ast.Constant) and isinstance(number.value, int) and number.value >= 100:
                yield number.value, beginning(text)


def beginning(text: ast.expr) -> str:
    first = text.values[0] if isinstance(text, ast.JoinedStr) else text
    if isinstance(first, ast.Constant):
        return str(first.value)
    return str(CONSTANTS.get(first.id, "")) if isinstance(first, ast.Name) else ""


CONSTANTS = {
    "NOT_GET": NOT_GET,
    "UNREACHABLE": UNREACHABLE,
    "CLOSED_EARLY": CLOSED_EARLY,
    "BODY_TOO_LONG": BODY_TOO_LONG,
    "UNKNOWN_HOST": UNKNOWN_HOST,
}


def test_every_answer_in_the_source_is_in_the_table() -> None:
    core = Path(__file__).parents[3] / "pico_core"
    inspector = core / "agent" / "inspector"  # its answers go to its viewers: tests/core/agent/inspector
    found = {each for path in core.rglob("*.py") if inspector not in path.parents for each in answers_in(path)}
    assert len(found) > 50
    listed = {(row.status, row.text) for row in TABLE}
    missing = {
        (status, text)
        for status, text in found
        if text not in NOT_ANSWERED and not any(status == s and t.startswith(text.rstrip()) for s, t in listed)
    }
    assert not missing
    assert not {text for text in NOT_ANSWERED if text not in {each for _, each in found}}
