"""Records that mean something by themselves, wherever they pass: log lines, what a process measures of itself."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of every input and command: immutable, and not tracked by the garbage collector (42 ns to create)."""


class Log(Record, frozen=True, gc=False):
    """One event for people and for log pipelines; ``fields`` are scalars and never hold secrets.

    ``level`` is ``debug``, ``info``, ``warning`` or ``error``.
    """

    level: str
    subsystem: str
    message: str
    fields: dict[str, str | int | float | bool]


class UseLogConfig(Record, frozen=True, gc=False):
    """A machine asks its process to write logs as ``config``, a ``LogConfig``, says; it is not answered."""

    config: msgspec.Struct


class MeasureProcess(Record, frozen=True, gc=False):
    """A machine asks what its process uses. Answered by one ``ProcessMeasured``."""

    query: int


class ProcessMeasured(Record, frozen=True, gc=False):
    """Answer to ``MeasureProcess``: what the process uses now, and may use; 0 where the system does not tell.

    ``cpu_s`` is user and system time since ``started_at_s``, which is in seconds since the epoch. ``virtual_bytes`` is
    address space. ``open_files`` counts descriptors. ``spans_dropped`` is how many spans the exporter has lost, and -1
    where there is no exporter.
    """

    query: int
    cpu_s: float = 0.0
    resident_bytes: int = 0
    virtual_bytes: int = 0
    open_files: int = 0
    max_open_files: int = 0
    started_at_s: float = 0.0
    spans_dropped: int = -1


class AccessLog(Record, frozen=True, gc=False):
    """A batch of access log lines: each is the inside of a JSON object, without braces and time."""

    lines: tuple[bytes, ...]


class Span(Record, frozen=True, gc=False):
    """The part of a trace that one process had in a request that is over: W3C IDs in hexadecimal, wall time in seconds.

    ``parent_id`` is empty where the trace begins here, ``error`` where the request did not fail.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    started_at_s: float
    ended_at_s: float
    error: str
    attributes: dict[str, str | int]


class Spans(Record, frozen=True, gc=False):
    """A batch of spans, for the part that exports them; it is not answered, and may be lost."""

    spans: tuple[Span, ...]


Sink: TypeAlias = Callable[[Log | AccessLog], int | None]
"""Where a driver hands log records; it is called on the loop's thread, so it must not block.

It returns how many lines it has dropped since the start, or ``None`` if it does not count them. When the number has
grown, the driver tells the machine with ``LogLinesDropped``.
"""
