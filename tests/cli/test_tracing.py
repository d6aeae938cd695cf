"""The queue of spans: bounded, and never waited for."""

import socket
import time
from contextlib import closing

import pytest

from pico_core.config.tracing import TracingConfig
from pico_core.records import Log, Span, Spans
from pico_tunnel.tracing import LAST_S, MAX_WAITING_SPANS, Exporter

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

SPAN = Span("1" * 32, "2" * 16, "", "GET", 1.0, 2.0, "", {})


def test_a_collector_that_never_answers_costs_a_bounded_queue() -> None:
    told: list[Log] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        exporter = Exporter(TracingConfig(endpoint=url), "pico-server", told.append)
        began = time.monotonic()
        batches = MAX_WAITING_SPANS // 100
        lost = [exporter.take(Spans((SPAN,) * 100)) for _ in range(batches + 5)]
        assert time.monotonic() - began < 1
        assert lost[: batches - 1] == [0] * (batches - 1)
        assert lost[-1] >= 400
        assert [record.message for record in told] == ["spans were lost"]
        began = time.monotonic()
        exporter.close()
        assert time.monotonic() - began < LAST_S + 1
