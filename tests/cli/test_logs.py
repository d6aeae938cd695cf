"""The log sink: the two formats, the filter, and outputs that fail."""

import json
import os
import subprocess
import sys
import time

import pytest

from pico_core.boundary import AccessLog, Log
from pico_core.config.logs import LogConfig
from pico_tunnel.logs import Output, Sink, utc_time

NOON = 1_764_072_001.123


class Stream:
    """Takes at most ``chunk`` bytes a call, after the answers in ``script`` are used up."""

    def __init__(self, chunk: int = 1 << 20, script: list[int | OSError | None] | None = None) -> None:
        self.taken = b""
        self.calls = 0
        self._chunk = chunk
        self._script = script or []

    def write(self, data: memoryview, /) -> int | None:
        self.calls += 1
        answer = self._script.pop(0) if self._script else min(len(data), self._chunk)
        if isinstance(answer, OSError):
            raise answer
        self.taken += data[: answer or 0]
        return answer


def sinking(
    config: LogConfig | None = None, *, terminal: bool = False, colour: bool = False
) -> tuple[Sink, Stream, Stream]:
    events, access = Stream(), Stream()
    sink = Sink(
        config or LogConfig(),
        Output(events),
        Output(access),
        terminal=terminal,
        colour=colour,
        wall_clock=lambda: NOON,
    )
    return sink, events, access


def test_time() -> None:
    assert utc_time(0.0) == "1970-01-01T00:00:00.000Z"
    assert utc_time(NOON) == "2025-11-25T12:00:01.123Z"
    assert utc_time(0.9999) == "1970-01-01T00:00:01.000Z"


def test_json_lines() -> None:
    sink, events, access = sinking()
    sink(Log("info", "proxy", "listening", {"port": 8000, "ok": True, "ratio": 0.5, "host": "::"}))
    assert events.taken == (
        b'{"time":"2025-11-25T12:00:01.123Z","level":"info","subsystem":"proxy","message":"listening",'
        b'"port":8000,"ok":true,"ratio":0.5,"host":"::"}\n'
    )
    assert (events.calls, access.calls) == (1, 0)


def test_nothing_breaks_a_json_line() -> None:
    sink, events, _ = sinking()
    sink(Log("error", "a\n", "b\x1b[31m\x7f\x9b", {"peer\r": 'said "x"\u2028\ud800', "level": "mine"}))
    assert events.taken.isascii()
    assert events.taken.count(b"\n") == 1
    assert not any(byte < 0x20 or byte == 0x7F for byte in events.taken[:-1])
    assert json.loads(events.taken) == {
        "time": "2025-11-25T12:00:01.123Z",
        "level": "error",
        "subsystem": "a\n",
        "message": "b\x1b[31m\x7f\x9b",
        "peer\r": 'said "x"\u2028\ud800',
    }


def local(now: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(now))


def test_readable_lines() -> None:
    sink, events, _ = sinking(terminal=True)
    sink(Log("info", "proxy", "listening", {"port": 8000, "host": "::", "why": "so it is", "empty": "", "on": False}))
    sink(Log("warning", "gossip", 'the "peer"', {}))
    first, second = events.taken.decode().splitlines()
    assert first == f'{local(NOON)}.123 INFO    proxy  listening  port=8000 host=:: why="so it is" empty="" on=false'
    assert second == f'{local(NOON)}.123 WARNING gossip  the "peer"'


def test_nothing_a_peer_says_reaches_a_terminal_as_control() -> None:
    sink, events, _ = sinking(terminal=True)
    sink(Log("info", "a\x1b", "b\n\x9b", {"x\x07": "y\x1b[2J\x7f"}))
    assert events.taken.decode() == (f"{local(NOON)}.123 INFO    a\\u001b  b\\n\\u009b  x\\u0007=y\\u001b[2J\\u007f\n")


def test_colour() -> None:
    sink, events, _ = sinking(terminal=True, colour=True)
    sink(Log("error", "proxy", "no", {}))
    assert events.taken.decode() == f"{local(NOON)}.123 \x1b[31mERROR  \x1b[0m proxy  no\n"


def test_filter() -> None:
    sink, events, _ = sinking(LogConfig(level="error", subsystems=("gossip",)))
    sink(Log("warning", "proxy", "no", {}))
    sink(Log("debug", "gossip.udp", "yes", {}))
    assert [json.loads(line)["message"] for line in events.taken.splitlines()] == ["yes"]


def test_access_log_is_one_write_a_batch() -> None:
    sink, events, access = sinking(LogConfig(level="error"), terminal=True)
    sink(AccessLog((b'"status":200', b'"status":502')))
    sink(AccessLog(()))
    assert access.taken == (
        b'{"time":"2025-11-25T12:00:01.123Z","status":200}\n{"time":"2025-11-25T12:00:01.123Z","status":502}\n'
    )
    assert (events.calls, access.calls) == (0, 1)


def test_a_slow_stream_gets_everything_in_pieces() -> None:
    stream = Stream(chunk=3)
    Output(stream).write(b"0123456789\n")
    assert stream.taken == b"0123456789\n"


@pytest.mark.parametrize("failure", [BrokenPipeError(), OSError(28, "No space left on device"), None, 0])
def test_a_failed_batch_is_lost_and_its_line_is_ended(failure: OSError | int | None) -> None:
    stream = Stream(script=[4, failure])
    output = Output(stream)
    output.write(b"lost line\n")
    output.write(b"next\n")
    output.write(b"last\n")
    assert stream.taken == b"lost\nnext\nlast\n"


def test_a_stream_that_was_closed_at_the_start_costs_only_its_lines() -> None:
    events = Stream()
    sink = Sink(LogConfig(), Output(events), Output(None), wall_clock=lambda: NOON)
    sink(AccessLog((b'"status":200',)))
    sink(Log("info", "proxy", "still here", {}))
    assert [json.loads(line)["message"] for line in events.taken.splitlines()] == ["still here"]


SPEAK = """
from pico_tunnel.logs import standard_sink
from pico_core.boundary import AccessLog, Log
from pico_core.config.logs import LogConfig
sink = standard_sink(LogConfig())
sink(AccessLog((b'"status":200',)))
sink(Log("info", "proxy", "still here", {}))
"""


def speak(stdout: int, redirection: str = "") -> tuple[str, str]:
    """Run a process whose standard sink logs one request and one event; return its output."""
    command = ["sh", "-c", f'exec "{sys.executable}" -c "$0" {redirection}', SPEAK]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stdout or "", done.stderr


def test_standard_streams() -> None:
    out, err = speak(subprocess.PIPE)
    assert out.endswith(',"status":200}\n')
    assert json.loads(err)["message"] == "still here"


def test_a_reader_that_is_gone_costs_nothing_but_its_lines() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    _, err = speak(writing)
    os.close(writing)
    assert json.loads(err)["message"] == "still here"


def test_a_process_without_standard_output() -> None:
    _, err = speak(subprocess.PIPE, ">&-")
    assert json.loads(err)["message"] == "still here"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal(no_color: str, coloured: bool) -> None:
    ours, theirs = os.openpty()
    environ = {**os.environ, "NO_COLOR": no_color}
    subprocess.run([sys.executable, "-c", SPEAK], stdout=theirs, stderr=theirs, env=environ, timeout=60, check=True)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert '"status":200}' in said
    assert "proxy  still here" in said
    assert ("\x1b[" in said) is coloured
