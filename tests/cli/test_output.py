"""Outputs: a thread writes the lines, whatever the stream does; what is lost is counted and told in its place."""

import threading
import time

import pytest

from pico_core.config.logs import LogConfig
from pico_core.records import AccessLog, Log
from pico_tunnel.logs import LogWriter
from pico_tunnel.output import OutputWriter
from tests.cli.streams import Stream
from tests.waiting import PATIENCE_S, wait_until


class StuckStream(Stream):
    """Takes nothing until it is released, as a pipe does that is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def write(self, data: memoryview, /) -> int | None:
        assert self.released.wait(PATIENCE_S)
        return super().write(data)


def output_to(stream: Stream, max_waiting_bytes: int = 1 << 20) -> OutputWriter:
    output = OutputWriter(stream, max_waiting_bytes)
    output.describe_gap = lambda lines: b"%d lines are missing\n" % lines
    return output


def closed(output: OutputWriter) -> None:
    output.close(time.monotonic() + PATIENCE_S)


def test_a_slow_stream_gets_everything_in_pieces() -> None:
    stream = Stream(chunk=3)
    output = output_to(stream)
    output.write(b"0123456789\n", 1)
    output.write(b"next\n", 1)
    closed(output)
    assert stream.taken == b"0123456789\nnext\n"
    assert output.dropped == 0


def test_one_that_shares_its_stream_writes_whole_lines_at_once() -> None:
    writes: list[bytes] = []

    class Recorded(Stream):
        def write(self, data: memoryview, /) -> int | None:
            writes.append(bytes(data))
            return super().write(data)

    output = OutputWriter(Recorded(), at_once_bytes=8)
    output.write(b"one\ntwo\nthree\n", 3)
    output.write(b"a long line\nend\n", 2)
    closed(output)
    assert b"".join(writes) == b"one\ntwo\nthree\na long line\nend\n"
    assert writes[:2] == [b"one\ntwo\n", b"three\n"]
    assert all(len(each) <= 8 for each in writes)


@pytest.mark.parametrize("failure", [BrokenPipeError(), OSError(28, "No space left on device"), None, 0])
def test_a_failed_batch_is_lost_and_its_line_is_ended(failure: OSError | int | None) -> None:
    stream = Stream(script=[4, failure])
    output = output_to(stream)
    output.write(b"lost line\nlost too\n", 2)
    wait_until(lambda: output.dropped == 2, "two lines are dropped")
    output.write(b"next\n", 1)
    output.write(b"last\n", 1)
    closed(output)
    assert stream.taken == b"lost\n2 lines are missing\nnext\nlast\n"


def test_what_a_stuck_stream_does_not_take_is_bounded_counted_and_told_in_its_place() -> None:
    stream = StuckStream()
    output = output_to(stream, max_waiting_bytes=30)
    output.write(b"first line\n", 1)
    output.write(b"second line\n", 1)
    output.write(b"a line too many\n", 1)
    output.write(b"x\ny\n", 2)
    assert output.dropped == 3, "there would be room for the last two, but a gap has one place"
    stream.released.set()
    wait_until(lambda: b"missing" in stream.taken, "the loss is told")
    output.write(b"later\n", 1)
    closed(output)
    assert stream.taken == b"first line\nsecond line\n3 lines are missing\nlater\n"
    assert output.dropped == 3


def test_a_batch_above_the_bound_is_written_when_nothing_waits() -> None:
    stream = Stream()
    output = output_to(stream, max_waiting_bytes=3)
    output.write(b"a long line\n", 1)
    closed(output)
    assert stream.taken == b"a long line\n"


def test_the_end_does_not_wait_for_a_stuck_stream() -> None:
    stream = StuckStream()
    output = output_to(stream)
    output.write(b"line\n", 1)
    output.close(time.monotonic() + 0.01)
    assert stream.taken == b""
    stream.released.set()
    wait_until(lambda: stream.taken == b"line\n", "the line is written")


def test_the_other_stream_goes_on_and_the_writer_says_how_many_lines_were_dropped() -> None:
    stuck, events = StuckStream(), Stream()
    writer = LogWriter(
        LogConfig(), OutputWriter(events), OutputWriter(stuck, max_waiting_bytes=1), wall_clock=lambda: 0.0
    )
    assert writer(AccessLog((b'"status":200',))) == 0
    assert writer(AccessLog((b'"status":200', b'"status":200'))) == 2
    assert writer(Log("info", "proxy", "still here", {})) == 2
    wait_until(lambda: b"still here" in events.taken, "the line is written")
    stuck.released.set()
    writer.close()
    first, gap = stuck.taken.splitlines()
    assert first == b'{"time":"1970-01-01T00:00:00.000Z","status":200}'
    assert gap == (
        b'{"time":"1970-01-01T00:00:00.000Z","level":"warning","subsystem":"log","message":"lines dropped","lines":2}'
    )


def test_lines_wait_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    stream = Stream()
    output = output_to(stream, max_waiting_bytes=12)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        output.write(b"first\n", 1)
        output.write(b"second\n", 1)
    output.write(b"third\n", 1)
    closed(output)
    assert stream.taken == b"first\n2 lines are missing\n"
    assert output.dropped == 2
