"""Sends the spans of requests to a collector, by OTLP over HTTP with the SDK of OpenTelemetry, in a thread of its own.

The loop only puts spans into a queue. What the collector has not taken yet is bounded: spans above the bound are
lost and counted. The SDK is imported by the thread, since that takes a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from pico_core import __version__
from pico_core.errors import ConfigError
from pico_core.records import Log

if TYPE_CHECKING:
    from pico_core.config.tracing import TracingConfig
    from pico_core.records import Span, Spans

MAX_WAITING_SPANS: Final = 4_096
"""Spans that wait for the collector: some megabytes, and a second of a busy node."""

MAX_BATCH: Final = 512
"""Spans in one request, as the SDK's own processor has it."""

GATHER_S: Final = 1.0
"""How long spans are gathered for one request."""

TIMEOUT_S: Final = 5.0
"""How long one request may take, its repetitions included."""

LAST_S: Final = 2.0
"""How long the end of the process waits for the last spans."""

TELL_S: Final = 60.0
"""How often it is told that spans were lost."""

NEEDED = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def check_installed() -> None:
    """Raise ``ConfigError`` where the SDK is not installed."""
    try:
        found = find_spec(NEEDED)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigError("tracing.endpoint: needs the extra otel: pip install 'pico-tunnel[otel]'")


class Exporter:
    """Takes the spans of a process. Next: hand ``take`` to a driver, and ``close`` it when the driver has ended.

    ``tell`` takes log records, on the thread that calls ``take``. Raises ``ConfigError`` where there is no SDK.
    """

    def __init__(self, config: TracingConfig, service_name: str, tell: Callable[[Log], object]) -> None:
        check_installed()
        self._endpoint = config.endpoint
        self._service_name = config.service_name or service_name
        self._tell = tell
        self._queue: SimpleQueue[Spans | None] = SimpleQueue()
        self._closing = threading.Event()
        self._exporter: Any = None
        # Each counter has one writer, so that none needs a lock.
        self._put = 0
        self._done = 0
        self._sent = 0
        self._refused = 0
        self._failed = 0
        self._why = ""
        self._told = 0
        self._told_at = -TELL_S
        self._thread = threading.Thread(target=self._work, name="pico-traces", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many spans were lost: because too many waited, or because the collector did not take them."""
        return self._refused + self._failed

    def take(self, batch: Spans) -> int:
        """Have spans sent; return at once, with the number of those that were lost so far. There may be none."""
        count = len(batch.spans)
        if count and self._put - self._done + count > MAX_WAITING_SPANS:
            self._refused += count
            self._note(f"more than {MAX_WAITING_SPANS} spans waited")
        elif count:
            self._put += count
            self._queue.put(batch)
        dropped = self.dropped
        now = time.monotonic()
        if dropped != self._told and now - self._told_at >= TELL_S:
            self._told_at = now
            self._tell_lost(dropped)
        return dropped

    def close(self) -> None:
        """Send what waits, for a bounded time, and tell what was lost."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(LAST_S)
        if self._exporter is not None:
            self._exporter.shutdown()  # the thread tries nothing again
        lost = self._put + self._refused - self._sent
        if lost != self._told:
            self._tell_lost(lost)

    def _tell_lost(self, lost: int) -> None:
        why = self._why or "they were not taken in time"
        fields: dict[str, str | int | float | bool] = {
            "spans": lost - self._told,
            "collector": self._endpoint,
            "reason": why,
        }
        self._told, self._why = lost, ""
        self._tell(Log("warning", "tracing", "spans were lost", fields))

    def _note(self, why: str) -> None:
        """Keep the first reason since the last line: what waits too long waits for that."""
        self._why = self._why or why

    # --- the thread ---

    def _work(self) -> None:
        # What it logs itself would stand among the lines of this process in another form, with header fields that it
        # cannot read, which may be credentials. The losses are told.
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False

        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        from pico_tunnel.tracing_session import noting_session

        resource = Resource.create({"service.name": self._service_name, "service.version": __version__})
        session = noting_session(self._note)
        exporter = self._exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=TIMEOUT_S, session=session)
        is_over = False
        while not is_over:
            spans, is_over = self._gather()
            for start in range(0, len(spans), MAX_BATCH):
                self._send(exporter, resource, spans[start : start + MAX_BATCH])
            self._done += len(spans)
            self._closing.wait(GATHER_S)

    def _gather(self) -> tuple[list[Span], bool]:
        """Wait for spans; return all that there are, and whether they are the last ones."""
        spans: list[Span] = []
        item = self._queue.get()
        while item is not None:
            spans += item.spans
            try:
                item = self._queue.get_nowait()
            except Empty:
                return spans, False
        return spans, True

    def _send(self, exporter: Any, resource: Any, spans: Sequence[Span]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            sent = exporter.export([readable(each, resource) for each in spans]) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises: spans are lost, and requests are not
            sent = False
            self._note(f"the exporter failed ({type(error).__name__})")
        if sent:
            self._sent += len(spans)
        else:
            self._failed += len(spans)


def readable(span: Span, resource: Any) -> Any:
    """Return a span as the SDK has it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str, *, is_remote: bool) -> SpanContext:
        return SpanContext(int(span.trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))

    attributes: dict[str, str | int] = dict(span.attributes)
    if span.error:
        attributes["error.type"] = span.error
    return ReadableSpan(
        name=span.name,
        context=context(span.span_id, is_remote=False),
        parent=context(span.parent_id, is_remote=True) if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER,
        instrumentation_scope=InstrumentationScope("pico", __version__),
        status=Status(StatusCode.ERROR) if span.error else Status(StatusCode.UNSET),
        start_time=int(span.started_at_s * 1e9),
        end_time=int(span.ended_at_s * 1e9),
    )
