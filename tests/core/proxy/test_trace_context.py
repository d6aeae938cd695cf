"""Which ``traceparent`` is valid (W3C Trace Context, section 3.2)."""

import pytest

from pico_core.config.tracing import TracingConfig
from pico_core.proxy.trace_context import TraceParent, trace_parent, without_trace_parent
from tests.core.proxy.test_tracing import ANSWER, request, served

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"

INVALID = [
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE}-{PARENT.upper()}-01",
    f"00-{TRACE[1:]}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01-",
    f"00-{TRACE}-{PARENT}",
    "",
]


def lines(*values: str, name: str = "traceparent") -> bytes:
    return b"Host: a\r\n" + "".join(f"{name}: {value}\r\n" for value in values).encode()


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TraceParent", "TRACEPARENT"])
def test_a_valid_one(name: str) -> None:
    fields = lines(f"00-{TRACE}-{PARENT}-01", name=name)
    assert trace_parent(fields) == TraceParent(TRACE, PARENT, is_sampled=True)
    assert without_trace_parent(fields) == b"Host: a\r\n"


def test_one_that_was_not_sampled() -> None:
    assert trace_parent(lines(f"00-{TRACE}-{PARENT}-02")) == TraceParent(TRACE, PARENT, is_sampled=False)


@pytest.mark.parametrize("value", INVALID)
def test_an_invalid_one(value: str) -> None:
    assert trace_parent(lines(value)) is None
    assert without_trace_parent(lines(value)) == b"Host: a\r\n"


def test_two_are_as_none() -> None:
    assert trace_parent(lines(*[f"00-{TRACE}-{PARENT}-01"] * 2)) is None


def test_the_access_log_names_no_trace_that_is_invalid() -> None:
    for value in INVALID:
        play = served(TracingConfig()) >> request(f"traceparent: {value}")
        play.take()
        play >> ANSWER
        play.take()
        assert len(play.access_log) == 1
        assert "trace_id" not in play.access_log[-1].decode()
