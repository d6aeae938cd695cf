"""The queue of spans: bounded, and never waited for."""

import re
import socket
import threading
import time
from contextlib import closing

import pytest

from pico_core.config.tracing import TracingConfig
from pico_core.records import Log, Span, Spans
from pico_tunnel.tracing import LAST_S, MAX_WAITING_SPANS, TIMEOUT_S, Exporter
from tests.waiting import wait_until

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
        assert time.monotonic() - began < TIMEOUT_S, "no span waited for a request to the collector"
        assert lost[: batches - 1] == [0] * (batches - 1)
        assert lost[-1] >= 400
        assert [record.message for record in told] == ["spans were lost"]
        began = time.monotonic()
        exporter.close()
        assert time.monotonic() - began < LAST_S + TIMEOUT_S, "of the eight requests, none was waited for"
        assert sum(int(record.fields["spans"]) for record in told) == (batches + 5) * 100, "the end tells the rest"
    wait_until(lambda: "pico-traces" not in {each.name for each in threading.enumerate()}, "the thread is over")


def test_what_was_lost_is_told_without_another_span() -> None:
    told: list[Log] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as refusing:
        url = f"http://127.0.0.1:{refusing.getsockname()[1]}/v1/traces"
        answering = threading.Thread(target=refuse_once, args=(refusing,))
        answering.start()
        with closing(Exporter(TracingConfig(endpoint=url), "pico-server", told.append)) as exporter:
            assert exporter.take(Spans((SPAN,))) == 0
            wait_until(lambda: exporter.take(Spans(())) == 1, "the loss is counted")
        answering.join()
    assert [record.fields["spans"] for record in told] == [1]
    assert [record.fields["reason"] for record in told] == ["the collector answered 400"]


def test_the_reason_is_that_of_the_first_failure() -> None:
    """A refused connection, a name that does not exist, TLS at a port without it; no credentials of the URL."""
    with closing(socket.create_server(("127.0.0.1", 0))) as plain:
        threading.Thread(target=refuse_once, args=(plain,)).start()
        port = plain.getsockname()[1]
        for url, reason in (
            ("http://user:CANARY@127.0.0.1:1/v1/traces", "connection refused"),
            ("http://nowhere.invalid:4318/v1/traces", "name or service not known|temporary failure in name resolution"),
            (
                f"https://127.0.0.1:{port}/v1/traces",
                "TLS: (wrong version number|.*record layer.*|http request)",
            ),
        ):
            told: list[Log] = []
            exporter = Exporter(TracingConfig(endpoint=url), "pico-server", told.append)
            exporter.take(Spans((SPAN,)))
            exporter.close()
            assert re.fullmatch(reason, str(told[0].fields["reason"]))
            assert "CANARY" not in str(told[0].fields["reason"])


def refuse_once(server: socket.socket) -> None:
    """Answer one request with 400."""
    connection, _ = server.accept()
    with closing(connection):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_the_sdk_writes_no_line_of_its_own(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Such as a header field that it cannot read, which is a credential more often than not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization Bearer CANARY")
    with closing(Exporter(TracingConfig(endpoint="http://127.0.0.1:1/v1/traces"), "pico-server", print)):
        pass
    assert "CANARY" not in "".join(capfd.readouterr())
