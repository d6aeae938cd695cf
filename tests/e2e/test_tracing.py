"""Traces between real processes: what a collector gets by OTLP over HTTP, and that requests never wait for it."""

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pico_tunnel.tracing import TIMEOUT_S
from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin
from tests.e2e.test_wrong_use import complaint
from tests.e2e.wire import request
from tests.waiting import wait_until

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector:
    """A collector: takes spans by HTTP, decodes them, and keeps them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.paths: set[tuple[str, str | None]] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.paths.add((self.path, self.headers.get("authorization")))
                collector.take(trace_service.ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((LOCAL, 0), Handler)
        self.url = f"http://{LOCAL}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, message: Any) -> None:
        for resource in message.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.spans += [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]

    def of(self, trace_id: str) -> list[tuple[str, Any]]:
        return [(name, span) for name, span in list(self.spans) if span.trace_id.hex() == trace_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_one_trace_through_two_nodes_and_the_agent(
    fleet: Fleet, origin: Origin, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    flags = ("--tracing.endpoint", collector.url)
    first = fleet.server("--cluster.node-id", "n1", *flags)
    join = f"{LOCAL}:{first.process.port('gossip')}"
    second = fleet.server("--cluster.node-id", "n2", "--cluster.join", join, *flags)
    fleet.agent(second, "web", origin.port, *flags)
    wait_until(lambda: request(first.proxy_port, "web", "/describe")[0].status == 200, "the route is known")

    fields = f"traceparent: 00-{TRACE}-{PARENT}-01\r\n"
    assert request(first.proxy_port, "web", "/describe", fields=fields)[0].status == 200
    wait_until(lambda: len(collector.of(TRACE)) == 3, "three spans")
    found = {attributes(span)["pico.hop"]: (name, span) for name, span in collector.of(TRACE)}
    entry, tunnel, agent = (found[hop][1] for hop in ("entry", "tunnel", "agent"))
    assert [found[hop][0] for hop in ("entry", "tunnel", "agent")] == ["pico-server", "pico-server", "pico-agent"]
    assert entry.parent_span_id.hex() == PARENT
    assert tunnel.parent_span_id == entry.span_id
    assert agent.parent_span_id == tunnel.span_id
    assert len({attributes(span)["pico.request_id"] for span in (entry, tunnel, agent)}) == 1
    assert [attributes(span).get("pico.node") for span in (entry, tunnel, agent)] == ["n1", "n2", None]
    assert entry.start_time_unix_nano <= tunnel.start_time_unix_nano <= agent.start_time_unix_nano + 5_000_000
    assert abs(entry.end_time_unix_nano / 1e9 - time.time()) < 60
    assert {"http.request.method": "GET", "http.response.status_code": 200, "url.path": "/describe"}.items() <= (
        attributes(entry).items()
    )
    assert collector.paths == {("/v1/traces", "secret")}

    before = len(collector.spans)
    failed = request(second.proxy_port, "nobody", "/")[0]["x-pico-request-id"]
    wait_until(lambda: len(collector.spans) > before, "a span of the failure")
    (span,) = [span for _, span in collector.spans if attributes(span)["pico.request_id"] == failed]
    assert (attributes(span)["error.type"], span.status.code) == ("no-tunnel", 2)


def test_what_is_left_is_sent_at_the_end(fleet: Fleet, collector: Collector) -> None:
    server = fleet.server("--tracing.endpoint", collector.url, "--tracing.service-name", "edge")
    assert request(server.proxy_port, "nobody", "/")[0].status == 502
    server.process.stop()
    assert [name for name, _ in collector.spans] == ["edge"]


def test_a_collector_that_does_not_answer_holds_up_nothing(fleet: Fleet, origin: Origin) -> None:
    with closing(socket.create_server((LOCAL, 0))) as silent:
        url = f"http://{LOCAL}:{silent.getsockname()[1]}"
        server = fleet.server("--tracing.endpoint", url)
        fleet.agent(server, "web", origin.port)
        for _ in range(20):
            began = time.monotonic()
            assert request(server.proxy_port, "web", "/describe")[0].status == 200
            assert time.monotonic() - began < TIMEOUT_S, "it did not wait for the collector"
        began = time.monotonic()
        server.process.stop()
        assert time.monotonic() - began < 10


def test_lost_spans_are_counted_and_told(fleet: Fleet) -> None:
    port = fleet.reserve_port()
    server = fleet.server("--tracing.endpoint", f"http://{LOCAL}:{port}")

    def lost() -> int:
        request(server.proxy_port, "nobody", "/")
        with urllib.request.urlopen(f"http://{LOCAL}:{server.admin_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        rows = [line for line in text.splitlines() if line.startswith("pico_spans_dropped_total ")]
        return int(float(rows[0].split()[1])) if rows else 0

    wait_until(lambda: lost() > 0, "lost spans are counted", 30)
    told = server.process.await_log("spans were lost", subsystem="tracing")
    assert told["spans"] > 0


def test_without_the_sdk_it_says_what_to_install(fleet: Fleet, tmp_path: Any) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[0] = 'pico'; "
        "from pico_tunnel.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "server", "--dev", "--tracing.endpoint", "http://localhost:1"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'pico-tunnel[otel]'" in done.stderr


def test_a_wrong_url(fleet: Fleet) -> None:
    wrong = complaint(fleet.start("server", "--dev", "--tracing.endpoint", "collector:4318"), 2)
    assert wrong.startswith("--tracing.endpoint: wants a URL such as http://collector:4318/v1/traces")


def test_nothing_of_it_is_imported_where_it_is_off() -> None:
    code = (
        "import sys; import pico_tunnel.start, pico_core.server.node, pico_core.agent.machine; "
        "print([name for name in sys.modules if 'opentelemetry' in name or name == 'pico_tunnel.tracing'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
