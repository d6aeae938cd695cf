"""The resources of a process, under the names that Prometheus's own clients give it: they have no prefix of Pico's."""

from pico_core.plain.exposition import Exposition
from pico_core.records import ProcessMeasured


def process_text(measured: ProcessMeasured) -> bytes:
    """Return the metrics of the process that this program runs in; what the system does not tell is left out."""
    out = Exposition("process_")
    out.counter("cpu_seconds_total", "User and system time of this process.", {"": measured.cpu_s})
    gauges = (
        ("resident_memory_bytes", "Memory that this process has.", measured.resident_bytes),
        ("virtual_memory_bytes", "Address space of this process.", measured.virtual_bytes),
        ("open_fds", "Descriptors that this process has open.", measured.open_files),
        ("max_fds", "The most descriptors that it may have open.", measured.max_open_files),
        ("start_time_seconds", "When this process started, in seconds since the epoch.", measured.started_at_s),
    )
    for name, meaning, value in gauges:
        if value:
            out.gauge(name, meaning, {"": value})
    return out.text() + (_spans(measured.spans_dropped) if measured.spans_dropped >= 0 else b"")


def _spans(dropped: int) -> bytes:
    out = Exposition()
    out.counter("spans_dropped_total", "Spans lost because the collector did not take them in time.", {"": dropped})
    return out.text()
