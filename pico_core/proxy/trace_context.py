"""The header ``traceparent`` of W3C Trace Context: which trace a request belongs to, and which span it comes from."""

import re
from typing import NamedTuple

SAMPLED = 1

_LINE = re.compile(rb"(?im)^traceparent:[^\r\n]*\r\n")
_TRACE_PARENT = re.compile(
    rb"(?m)^(?i:traceparent):[ \t]*"
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})[ \t]*\r$"
)
"""Section 3.2.2: digits are in lower case; version ``ff`` and IDs of zeros alone are invalid."""


class TraceParent(NamedTuple):
    """A valid ``traceparent``: the trace, the span of the hop before, and whether that hop recorded it."""

    trace_id: str
    parent_id: str
    is_sampled: bool


def trace_parent(fields: bytes) -> TraceParent | None:
    """Return what the ``traceparent`` among field lines says; None if none is valid, or several are (section 3.2.1)."""
    if not _may_have_one(fields):
        return None
    found = _TRACE_PARENT.findall(fields)
    if len(found) != 1:
        return None
    trace_id, parent_id, flags = found[0]
    return TraceParent(trace_id.decode(), parent_id.decode(), bool(int(flags, 16) & SAMPLED))


def without_trace_parent(fields: bytes) -> bytes:
    """Return field lines without those of ``traceparent``, valid or not."""
    return _LINE.sub(b"", fields) if _may_have_one(fields) else fields


def _may_have_one(fields: bytes) -> bool:
    return b"arent" in fields or b"ARENT" in fields
