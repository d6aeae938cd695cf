"""Every answer of Pico's own names its reason, and every request has an ID that joins its lines."""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

import pico_core
from pico_core.access.grant import Denied
from pico_core.boundary import Accepted, Connected, Received, Send
from pico_core.config.networks import network
from pico_core.config.server import ServerConfig
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head
from pico_core.http.recent import RequestReader
from pico_core.proxy import failures
from pico_core.proxy.failures import ALL_REASONS, Failure
from pico_core.proxy.reasons import REASONS, reason_of
from pico_core.server.admin.metrics_text import metrics_text
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, CLIENT, GET, OK, client_joins, proxy_play
from tests.core.server.test_peers import FIRST
from tests.faults import CLIENTS, SERVERS, is_right
from tests.neighbours import know
from tests.play import Data, Play, joined, server_play

PAGE = b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n"
NOBODY = GET.replace(b"e1.", b"nobody.")


def configured(**proxy: object) -> ServerConfig:
    return msgspec.convert({"proxy": proxy}, ServerConfig, from_attributes=True)


def answered(request: bytes, config: ServerConfig | None = None) -> tuple[bytes, bytes]:
    """Return head and body of the answer to a request for an endpoint that no agent has."""
    (sent,) = (client_joins(server_play(config)) >> Received(CLIENT, request)).take()
    assert isinstance(sent, Send)
    head, _, body = joined(sent.data).partition(b"\r\n\r\n")
    return head, body


def ids(play: Play) -> list[str]:
    return [json.loads(b"{" + line + b"}")["request_id"] for line in play.access_log]


def test_every_failure_has_a_reason_and_every_reason_a_chapter() -> None:
    assert set(ALL_REASONS) <= set(REASONS)
    page = (Path(__file__).parents[3] / "docs" / "troubleshooting.md").read_text()
    for name, reason in REASONS.items():
        assert f"\n### {name}\n" in page
        assert reason.by in ("server", "agent")
        assert reason.meaning.endswith(".")
        assert reason.advice.endswith(".")


def test_no_fault_of_a_client_is_a_5xx_and_none_of_ours_a_4xx() -> None:
    """``tests.play`` checks each answer that a machine sends in any play; here is what the code can say at all."""
    assert set(REASONS) == CLIENTS | SERVERS
    assert not CLIENTS & SERVERS
    said = {(failure.status, failure.reason) for failure in vars(failures).values() if isinstance(failure, Failure)}
    said |= {(status, reason_of(status)) for status in (*range(400, 419), 421, 426, 429, 431, 501, 502, 503, 505)}
    said |= set(raised())
    assert not {(status, reason) for status, reason in said if not is_right(status, reason)}
    assert {reason for _, reason in said} >= set(REASONS) - {"client-left"}


def raised() -> Iterator[tuple[int, str]]:
    """Yield status and reason of what the core raises to refuse a message, a handshake or a client."""
    for path in Path(pico_core.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            match call:
                case ast.Call(
                    func=ast.Name(id="MessageError" | "HandshakeError"),
                    args=[ast.Constant(value=int(status)), _, *more],
                    keywords=keywords,
                ) if status >= 400:
                    codes = [each.value for each in more if isinstance(each, ast.Constant)]
                    codes += [each.value.value for each in keywords if isinstance(each.value, ast.Constant)]
                    named = next((code for code in codes if isinstance(code, str)), "")
                    yield status, named or reason_of(status)
                case ast.Call(func=ast.Name(id="Denial"), args=[_, ast.Constant(value=int(status)), *_]):
                    yield status, reason_of(status)
                case ast.Call(func=ast.Name(id="Denied"), args=[_, ast.Constant(value=int(status))]):
                    yield status, Denied("", status).code or reason_of(status)


def test_the_details_are_a_choice() -> None:
    head, body = answered(NOBODY, configured(error_detail="none"))
    assert b"X-Pico-Error" not in head
    assert json.loads(body) == {"error": "no available upstreams"}
    head, body = answered(NOBODY)
    assert b"\r\nX-Pico-Error: no-tunnel; by=server\r\n" in head
    told = json.loads(body)
    assert list(told) == ["error", "reason", "by", "request_id"]
    _, body = answered(NOBODY, configured(error_detail="full"))
    told = json.loads(body)
    assert (told["endpoint"], told["node"]) == ("nobody", "node-1")
    assert told["hint"] == REASONS["no-tunnel"].advice


def test_a_browser_gets_a_page() -> None:
    head, body = answered(NOBODY[:-2] + PAGE + b"\r\n")
    assert b"\r\nContent-Type: text/html; charset=utf-8\r\n" in head
    assert b"\r\nContent-Security-Policy: default-src 'none'" in head
    page = body.decode()
    assert "<h1>502 No available upstreams</h1>" in page
    assert REASONS["no-tunnel"].meaning in page
    assert "<script" not in page
    assert "http://" not in page


@pytest.mark.parametrize("accept", [b"application/json, text/html", b"*/*", b"text/plain", b"x\r\nA: text/html"])
def test_a_program_does_not(accept: bytes) -> None:
    head, _ = answered(NOBODY[:-2] + b"Accept: " + accept + b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head


def test_what_a_client_sends_is_nowhere_in_the_page() -> None:
    evil = GET.replace(b"e1.example.com", b"x")[:-2] + b'x-pico-endpoint: <script>alert("1")\r\n' + PAGE + b"\r\n"
    head, body = answered(evil, configured(error_detail="full"))
    assert b"text/html" in head
    assert b"<script" not in body
    assert b"&lt;script&gt;" in body


def test_one_id_goes_all_the_way() -> None:
    entry = server_play()
    know(entry, 20)
    client_joins(entry) >> Received(CLIENT, GET) >> Connected(FIRST, "192.0.2.20", 8000)
    (hop,) = [each for each in raw(entry) if isinstance(each, Send)]
    node = server_play()
    know(node, 30, "e9")
    node.agent_registers(AGENT, "e1")
    node >> Accepted(CLIENT, "proxy", "192.0.2.30", 5000) >> Received(CLIENT, joined(hop.data))
    (sent,) = [each.data for each in raw(node) if isinstance(each, Data)]
    node >> Data(AGENT, 2, OK)
    (answer,) = [each for each in node.take() if isinstance(each, Send)]
    entry >> Received(FIRST, joined(answer.data))
    assert entry.take()
    request_id = parse_request_head(sent, HeadLimits()).request_id.decode()
    assert re.fullmatch("[0-9a-f]{16}", request_id)
    assert ids(entry) == ids(node) == [request_id]
    assert [json.loads(b"{" + line + b"}")["hop"] for line in entry.access_log + node.access_log] == ["entry", "tunnel"]
    counted = {play: metrics_text(play.machine.facts, 0.0) for play in (entry, node)}  # type: ignore[attr-defined]
    assert b'pico_proxy_requests_total{status="200",method="GET"} 1\n' in counted[entry]
    assert b"pico_proxy_requests_total{" not in counted[node]
    assert b"pico_proxy_forwarded_requests_total 1\n" in counted[node]


def raw(play: Play) -> Sequence[object]:
    """Return the commands with the IDs that the machine made."""
    assert not play.idle
    return play.take_with_ids()


def test_a_client_does_not_choose_its_id() -> None:
    play = proxy_play() >> Received(CLIENT, GET[:-2] + b"X-Pico-Request-ID: mine\r\nX-Request-ID: kept\r\n\r\n")
    (sent,) = [each.data for each in play.take_with_ids() if isinstance(each, Data)]
    assert b"mine" not in sent
    assert b"\r\nX-Request-ID: kept\r\n" in sent


@pytest.mark.parametrize("name", [b"X-Request-ID", b"x-pico-request-id"])
def test_a_trusted_proxy_does(name: bytes) -> None:
    play = proxy_play(configured(trusted_proxies=[network("192.0.2.7")]))
    play >> Received(CLIENT, GET[:-2] + name + b": edge-1.7_a\r\n\r\n")
    (sent,) = [each.data for each in play.take_with_ids() if isinstance(each, Data)]
    assert b"\r\nX-Pico-Request-ID: edge-1.7_a\r\n" in sent
    play >> Data(AGENT, 2, OK)
    play.take()
    assert ids(play) == ["edge-1.7_a"]


@pytest.mark.parametrize("value", [b'a"b', b"a b", b"x" * 65, b""])
def test_an_id_that_would_break_a_line_is_not_taken_over(value: bytes) -> None:
    play = proxy_play(configured(trusted_proxies=[network("192.0.2.7")]))
    play >> Received(CLIENT, GET[:-2] + b"X-Request-ID: " + value + b"\r\n\r\n")
    play.take()
    play >> Data(AGENT, 2, OK)
    play.take()
    assert re.fullmatch("[0-9a-f]{16}", ids(play)[0])


def test_a_trace_is_logged() -> None:
    trace = b"0af7651916cd43dd8448eb211c80319c"
    play = proxy_play() >> Received(CLIENT, GET[:-2] + b"Traceparent: 00-" + trace + b"-b7ad6b7169203331-01\r\n\r\n")
    (sent,) = [each.data for each in play.take() if isinstance(each, Data)]
    assert b"\r\nTraceparent: 00-" + trace in sent
    play >> Data(AGENT, 2, OK)
    play.take()
    assert json.loads(b"{" + play.access_log[0] + b"}")["trace_id"] == trace.decode()


def test_heads_that_differ_in_their_id_only_are_remembered() -> None:
    reader = RequestReader(HeadLimits())
    start = b"GET /%d HTTP/1.1\r\nHost: a.b\r\nX-Pico-Request-ID: %016x\r\n\r\n"
    heads = []
    for number in range(3):
        read = reader.read(start % (number, number + 10))
        assert read is not None
        heads.append(read[0])
    assert [(head.target, head.request_id) for head in heads] == [
        (b"/%d" % number, b"%016x" % (number + 10)) for number in range(3)
    ]
    heads[0].endpoint_id = "known"
    read = reader.read(b"GET /x HTTP/1.1\r\nHost: a.b\r\nX-Pico-Request-ID: other\r\n\r\n")
    assert read is not None
    assert read[0].request_id == b"other"
    read = reader.read(b"GET /x HTTP/1.1\r\nHost: a.b\r\nX: X-Pico-Request-ID: 0000000000000000\r\n\r\n")
    assert read is not None
    assert read[0].request_id == b""


def test_agents_are_told_where_clients_reach_their_endpoint() -> None:
    play = server_play(configured(public_url="https://{endpoint}.pico.example.com"))
    far = play.agent_registers(AGENT, "web", (b"x-pico-protocol", b"http"))
    assert far is not None
    assert isinstance(play.machine, ServerNode)
    assert (b"x-pico-url", b"https://web.pico.example.com") in play.answers[AGENT]
    play.agent_registers(9, "db", (b"x-pico-protocol", b"tcp"))
    assert b"x-pico-url" not in dict(play.answers[9])
    assert dict(play.answers[9])[b"x-pico-node"] == b"node-1"
