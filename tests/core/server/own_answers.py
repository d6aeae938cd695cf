"""The table of the answers that Pico makes itself, and a play that ends with each of them."""

import random
from collections.abc import Callable

import msgspec

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
from pico_core.program import WorkerStarted
from pico_core.proxy.failures import TOLD_BY_PEERS
from pico_core.server.admin.pages import MAX_FORWARDS, UNKNOWN_HOST
from pico_core.server.node import ServerNode
from pico_core.server.worker import Worker
from pico_core.server.workers.supervisor import Supervisor
from pico_core.websocket.handshake import NOT_GET
from tests.core.agent.scene import SERVER, SERVICE
from tests.core.agent.scene import asked as agent_asked
from tests.core.agent.scene import registered as agent_registered
from tests.core.proxy.scene import AGENT, CLIENT
from tests.core.server.admin.scene import node_appears
from tests.play import Data, End, Play, joined, server_play

SUNDAY_S = 784_111_777.0

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


class Said(msgspec.Struct, frozen=True):
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
    *(Said("proxy", *each) for each in PROXY_HEADS),
    Said("proxy", 408, "request timeout", b"GET / HTTP/1.1\r\n", passes(11)),
    Said("proxy", 408, "request timeout", POST_E1 + b"Content-Length: 9\r\n\r\n", passes(301)),
    Said("proxy", 400, "missing endpoint id", get(b"/")),
    Said("proxy", 400, "invalid endpoint id", get(b"/", b"x-pico-endpoint: a/b\r\n")),
    Said("proxy", 400, "malformed chunk size or extension", CHUNKED, lambda play: play >> Received(CLIENT, b"zz\r\n")),
    Said("proxy", 400, "chunk extensions too long", CHUNKED,
        lambda play: play >> Received(CLIENT, (b"1;" + b"a" * 4_000 + b"\r\nx\r\n") * 5)),
    Said("proxy", 400, "chunk data without its line end", CHUNKED,
        lambda play: play >> Received(CLIENT, b"1\r\nxyz\r\n")),
    Said("proxy", 400, "malformed trailer field", CHUNKED, lambda play: play >> Received(CLIENT, b"0\r\nx\r\n")),
    Said("proxy", 400, "line too long in a chunked body", CHUNKED,
        lambda play: play >> Received(CLIENT, b"1;" + b"a" * 5_000)),
    Said("proxy", 413, BODY_TOO_LONG, CHUNKED, lambda play: play >> Received(CLIENT, b"5\r\nhello\r\n"), SHORT_BODIES),
    Said("proxy", 404, "not found", get(b"/_pico/")),
    Said("proxy", 400, "invalid endpoint id", get(b"/_pico/v1/tcp/-%2F-")),
    Said("proxy", 508, "the request comes back again and again", get(b"/", b"x-pico-request-id: a-16\r\n")),
    Said("proxy", 405, NOT_GET, TCP_ROUTE.replace(b"GET", b"PUT")),
    Said("proxy", 426, "a WebSocket is wanted here", get(b"/_pico/v1/tcp/e1")),
    Said("proxy", 403, "pages of this Origin are not allowed here: see proxy.allowed_origins",
        TCP_ROUTE[:-2] + EVIL),
    Said("proxy", 426, "not a WebSocket handshake of version 13", TCP_ROUTE.replace(b"n: 13", b"n: 8")),
    Said("proxy", 400, "not a WebSocket handshake of version 13", TCP_ROUTE.replace(b"websocket", b"other")),
    Said("proxy", 400, "invalid Sec-WebSocket-Key", TCP_ROUTE.replace(b"AA==", b"A")),
    Said("proxy", 400, "request head too large", TCP_ROUTE[:-2] + b"A: %b\r\n\r\n" % (b"a" * 17_000)),
    Said("proxy", 400, "WebSocket handshake with a body", TCP_ROUTE[:-2] + b"Content-Length: 0\r\n\r\n"),
    Said("proxy", 502, "no available upstreams", b"GET / HTTP/1.1\r\nHost: unknown.a\r\n\r\n"),
    Said("proxy for a node", 421, "no available upstreams", FORWARDED),
    Said("proxy", 502, "upstream unreachable", EMPTY_POST, tunnel_breaks),
    Said("proxy", 502, "the service closed the connection without a response", GET_E1, peer_says(b"service-lost")),
    Said("proxy", 502, "the service's response was not valid HTTP", GET_E1, service_answers(b"nonsense\r\n\r\n")),
    Said("proxy", 504, "upstream timeout", GET_E1, passes(31)),
    Said("proxy", 503, "too many requests in flight to this endpoint", GET_E1, peer_says(b"busy")),
    Said("proxy", 503, "the agent is out of descriptors", GET_E1, peer_says(b"agent-full")),
    Said("proxy", 503, "too many unfinished requests", b"GET / HTTP/1.1\r\n" + LONG, others_begin, SHORT_OF_MEMORY),
    Said("proxy", 502, "too many unfinished responses", GET_E1,
        lambda play: others_begin(play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n" + LONG)), SHORT_OF_MEMORY),
    *(
        Said("proxy", each.status, each.message, EMPTY_POST, peer_says(reason))
        for reason, each in TOLD_BY_PEERS.items()
        if not each.permits(b"POST")
    ),
    Said("other node", 502, "no available upstreams", GET_E1, other_node_fails),
    Said("other node", 502, "upstream unreachable", EMPTY_POST, other_node_is_lost),
    Said("other node", 503, "the server is out of descriptors", GET_E1,
        lambda play: play >> ConnectFailed(2, OUT_OF_DESCRIPTORS)),
    Said("draining", 502, "no available upstreams", b"GET / HTTP/1.1\r\nHost: unknown.a\r\n\r\n", passes(4)),
    Said("upstream", 400, "malformed request line", b"nonsense\r\n\r\n"),
    Said("upstream", 431, "message head too large", get(b"/", b"A: b\r\n" * 4_000)),
    Said("upstream", 404, "not found: agents connect to /pico/v1/upstream/{endpoint}", get(b"/")),
    Said("upstream", 400, "endpoint: ", get(b"/pico/v1/upstream/-%2F-")),
    Said("upstream", 405, NOT_GET, REGISTRATION.replace(b"GET", b"PUT")),
    Said("upstream", 400, "not a request in HTTP/1.1", REGISTRATION.replace(b"HTTP/1.1", b"HTTP/1.0")),
    Said("upstream", 426, "not a WebSocket handshake of version 13", REGISTRATION.replace(b"n: 13", b"n: 8")),
    Said("upstream", 400, "invalid Sec-WebSocket-Key", REGISTRATION.replace(b"AA==", b"A")),
    Said("upstream", 403, "pages of this Origin are not allowed here: see upstream.allowed_origins",
        REGISTRATION[:-2] + EVIL),
    Said("crowded upstream", 503, "too many registrations from this address", REGISTRATION, config=FEW_REGISTRATIONS),
    Said("upstream, http taken", 409, "another agent serves this endpoint as http, this one as tcp",
        REGISTRATION.replace(b"e9", b"e1")[:-2] + b"x-pico-protocol: tcp\r\n\r\n"),
    Said("upstream, taken", 409, "another agent serves this endpoint, and its policy lets only one",
        REGISTRATION.replace(b"e9", b"e1"), config=ONE_AGENT),
    Said("proxy, http", 404, "this endpoint takes HTTP requests and no TCP connections", TCP_ROUTE),
    Said("proxy, tcp", 404, "this endpoint takes TCP connections and no HTTP requests: see 'pico forward tcp --help'",
        GET_E1),
    Said("draining upstream", 503, "this node is about to stop; connect again", REGISTRATION),
    Said("admin", 200, "ok", get(b"/health")),
    Said("admin", 200, "running", get(b"/ready")),
    Said("draining admin", 503, "draining", get(b"/ready")),
    Said("admin", 200, "# HELP", get(b"/metrics")),
    Said("admin", 200, "[", get(b"/status/cluster/nodes")),
    Said("admin", 400, "malformed request", b"nonsense\r\n\r\n"),
    Said("admin", 400, "more than one node to forward to", get(b"/status/cluster/nodes?forward=a&forward=b")),
    Said("admin", 200, "<!doctype html>", get(b"/")),
    Said("admin", 404, "not found", get(b"/nothing")),
    Said("agent admin", 404, "not found: there are /health, /ready, /metrics and /status", get(b"/")),
    Said("agent admin", 421, "this Host is not known as a name of the agent", STRANGE_NAME),
    Said("admin", 404, "unknown node '", get(b"/status/cluster/nodes/x")),
    Said("admin", 404, "unknown node '", get(b"/status/cluster/nodes?forward=x")),
    Said("admin", 405, "only GET and HEAD are served here", b"PUT / HTTP/1.1\r\nHost: pico\r\n\r\n"),
    Said("admin", 421, UNKNOWN_HOST, b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    Said("admin", 431, "malformed request", get(b"/", b"A: b\r\n" * 4_000)[:-2]),
    Said("admin", 501, "malformed request", get(b"/", b"Transfer-Encoding: gzip\r\n")),
    Said("crowded admin", 503, "too many questions are being forwarded", get(b"/status/cluster/nodes?forward=n2")),
    Said("crowded admin", 503, "too many pages look on; this one asks again", get(b"/status/stream")),
    Said("odd node's admin", 502, "node '", get(b"/status/cluster/nodes?forward=odd")),
    Said("other node's admin", 502, "node '", get(b"/status/cluster/nodes?forward=n2"), other_node_fails),
    Said("other node's admin", 502, "node '", get(b"/status/cluster/nodes?forward=n2"),
        other_node_says(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")),
    Said("other node's admin", 200, "{}", get(b"/status/cluster/nodes?forward=n2"),
        other_node_says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")),
    Said("control", 403, "this port is for the process that started this one", get(b"/ready")),
    Said("supervisor's admin", 503, "no worker answers", get(b"/status/stream")),
    Said("supervisor's admin", 503, "no worker answers", get(b"/status/cluster/nodes")),
    Said("crowded supervisor's admin", 503, "too many questions wait for the workers", get(b"/status/cluster/nodes")),
    Said("agent", 400, "malformed request line", b"nonsense\r\n\r\n"),
    Said("agent", 502, "upstream unreachable", GET_E1, lambda play: play >> ConnectFailed(SERVICE, "refused")),
    Said("agent", 502, "the service closed the connection without a response", GET_E1,
        lambda play: play >> Connected(SERVICE, "127.0.0.1", 3000) >> ConnectionLost(SERVICE, "")),
    Said("agent", 502, "the service's response was not valid HTTP", GET_E1,
        lambda play: play >> Connected(SERVICE, "127.0.0.1", 3000) >> Received(SERVICE, b"nonsense\r\n\r\n")),
    Said("agent", 504, "upstream timeout", GET_E1,
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
    "the application failed before its response": "a program's agent answers it: tests/sdk/test_faulty_apps.py",
    "the application answered with status ": "why an application failed: logged",
    "the application's response has an invalid header field": "why an application failed: logged",
    "the application's response has an invalid trailer": "why an application failed: logged",
    "the application's response has an invalid Content-Length": "why an application failed: logged",
    "the application's body has another length than its Content-Length": "why an application failed: logged",
}
"""Texts in the source of errors that are not answers by themselves, and why."""


def scene(row: Said, request: bytes) -> Play:
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
    serves = {"endpoint:e1": "1"} if row.port == "other node" else {}
    node_appears(play, "n2", "192.0.2.8", proxy_addr="192.0.2.8:8000", admin_addr="192.0.2.8:8002", **serves)
    node_appears(play, "odd", "192.0.2.9", admin_addr="nonsense")
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


def worker_scene(row: Said, request: bytes) -> Play:
    """Return a play with a worker or its supervisor, whose one worker is ready where operators crowd."""
    crowd = range(101, 101 + 2 * 16, 2) if "crowded" in row.port else ()
    if row.port == "control":
        port = Address("127.0.0.1", 1)
        worker = Worker(
            number=1,
            count=2,
            node_id="n-1-1",
            group="n-",
            shared={"proxy": port, "upstream": port, "join": port},
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


def answered(row: Said, request: bytes) -> tuple[bytes, bytes, bool]:
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


def name_of(row: Said) -> str:
    return f"{row.port}: {row.status} {row.text}"
