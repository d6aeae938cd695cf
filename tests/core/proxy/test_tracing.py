"""Spans of requests: how they are joined over the processes on the way, and what becomes of ``traceparent``."""

import random
import re
from typing import Any

import pytest
from msgspec.structs import replace

from pico_core.boundary import Connected, Received, Tick
from pico_core.config.server import ServerConfig
from pico_core.config.tracing import TracingConfig
from pico_core.http.message import RequestHead
from pico_core.proxy.tracing import Tracer
from pico_core.records import Span, Spans
from tests.core.agent.scene import GET, SERVICE, agent_config, asked, registered
from tests.core.proxy.scene import CLIENT, client_joins
from tests.play import Data, Play, server_play

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
WALL_S = 1_764_072_001.0

ON = TracingConfig(endpoint="http://collector:4318/v1/traces")


def served(config: TracingConfig = ON) -> Play:
    play = server_play(ServerConfig(tracing=config)) >> Tick(WALL_S)
    play.agent_registers(1, "e1")
    return client_joins(play)


def request(*fields: str) -> Received:
    head = "".join(f"{field}\r\n" for field in ("Host: e1.example.com", *fields))
    return Received(CLIENT, f"GET /a?secret=1 HTTP/1.1\r\n{head}\r\n".encode())


def sent_on(play: Play) -> bytes:
    return b"".join(each.data for each in play.take() if isinstance(each, Data))


def traceparents(head: bytes) -> list[str]:
    return re.findall(r"(?im)^traceparent: *([^\r]*)\r$", head.decode())


def spans(play: Play) -> list[Span]:
    return [span for each in play.take() if isinstance(each, Spans) for span in each.spans]


ANSWER = Data(1, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_trace_that_goes_on() -> None:
    play = served() >> request(f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b")
    head = sent_on(play)
    (told,) = traceparents(head)
    version, trace_id, span_id, flags = told.split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert b"tracestate: a=b\r\n" in head
    play >> 0.25 >> ANSWER
    (span,) = spans(play)
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE, span_id, PARENT)
    assert (span.name, span.error) == ("GET", "")
    assert span.ended_at_s - span.started_at_s == pytest.approx(0.25)
    assert span.ended_at_s == pytest.approx(WALL_S + 0.25)
    expected = {
        "http.request.method": "GET", "http.response.status_code": 200, "url.path": "/a",
        "server.address": "e1.example.com", "client.address": "192.0.2.7", "http.response.body.size": 2,
        "pico.endpoint": "e1", "pico.hop": "entry", "pico.tries": 1, "pico.node": "node-1",
    }  # fmt: skip
    assert expected.items() <= span.attributes.items()
    assert "secret" not in str(span)
    assert f'"trace_id":"{TRACE}"' in play.access_log[-1].decode()


def test_a_trace_that_begins_here() -> None:
    play = served() >> request()
    (told,) = traceparents(sent_on(play))
    play >> ANSWER
    (span,) = spans(play)
    assert told == f"00-{span.trace_id}-{span.span_id}-01"
    assert span.parent_id == ""


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (ON, f"traceparent: 00-{TRACE}-{PARENT}-00"),
        (TracingConfig(), f"traceparent: 00-{TRACE}-{PARENT}-01"),
        (replace(ON, sample_ratio=0.0), "traceparent: nonsense"),
        (replace(ON, sample_ratio=0.0), f"traceparent: 00-{'0' * 32}-{PARENT}-01"),
    ],
)
def test_what_is_not_traced_passes_as_it_came(config: TracingConfig, field: str) -> None:
    play = served(config) >> request(field)
    assert field.encode() + b"\r\n" in sent_on(play)
    play >> ANSWER
    assert spans(play) == []


def test_two_parents_are_as_none() -> None:
    play = served() >> request(*[f"traceparent: 00-{TRACE}-{PARENT}-01"] * 2)
    (told,) = traceparents(sent_on(play))
    assert TRACE not in told


def test_a_request_that_fails() -> None:
    play = client_joins(server_play(ServerConfig(tracing=ON)) >> Tick(WALL_S)) >> request()
    (span,) = spans(play)
    assert (span.error, span.attributes["http.response.status_code"]) == ("no-tunnel", 502)
    assert span.attributes["pico.reason"] == "no-tunnel"


def test_an_agent_continues_the_trace() -> None:
    play = registered(replace(agent_config(), tracing=ON))
    line = f"traceparent: 00-{TRACE}-{PARENT}-01\r\n".encode()
    asked(play, request=GET.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n"))
    play.take()
    play >> Connected(SERVICE, "127.0.0.1", 3000)
    (told,) = traceparents(b"".join(bytes(each.data) for each in play.take() if hasattr(each, "data")))
    play >> Received(SERVICE, b"HTTP/1.1 204 No Content\r\n\r\n")
    (span,) = spans(play)
    assert told == f"00-{TRACE}-{span.span_id}-01"
    assert (span.parent_id, span.attributes["pico.hop"], span.attributes["pico.endpoint"]) == (PARENT, "agent", "e1")


def test_a_part_of_the_requests() -> None:
    play = served(replace(ON, sample_ratio=0.5))
    found = 0
    for _ in range(40):
        play >> request()
        play.take()
        play >> ANSWER
        found += len(spans(play))
    assert 5 < found < 35


class InFlight:
    """A request, as the tracer sees one that it begins or does not begin to trace."""

    def __init__(self, head: RequestHead) -> None:
        self.head = head


def test_requests_beyond_those_whose_spans_are_kept_pass_untraced() -> None:
    host: Any = None
    tracer = Tracer(host, ON, random.Random(1), "node")
    head = RequestHead(b"GET", b"/", 1, b"e1.example.com", b"", keep_alive=True)
    begun: list[Any] = [InFlight(head) for _ in range(65_537)]
    for each in begun:
        tracer.begin(each)
    assert sum(each.head is not head for each in begun) == 65_536
    assert begun[-1].head is head


@pytest.mark.parametrize("size", [256, 257])
def test_a_longer_path_is_cut(size: int) -> None:
    path = "/".ljust(size, "x")
    play = served() >> Received(CLIENT, f"GET {path} HTTP/1.1\r\nHost: e1.example.com\r\n\r\n".encode())
    play.take()
    play >> ANSWER
    (span,) = spans(play)
    assert span.attributes["url.path"] == path[:256]
