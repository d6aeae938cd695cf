"""The lines of the log: the two formats, the filter, and the standard streams."""

import json
import os
import subprocess
import sys
import time

import pytest

from pico_core.config.logs import LogConfig
from pico_core.records import AccessLog, Log
from pico_tunnel.logs import LogWriter, utc_time
from pico_tunnel.output import OutputWriter
from tests.cli.streams import Stream

NOON = 1_764_072_001.123


def written(
    *records: Log | AccessLog,
    config: LogConfig | None = None,
    terminal: bool = False,
    access_terminal: bool = False,
    colour: bool = False,
    node_id: str = "",
) -> tuple[Stream, Stream]:
    """Write records, and return what the streams of events and of requests got."""
    events, access = Stream(), Stream()
    writer = LogWriter(
        config or LogConfig(),
        OutputWriter(events),
        OutputWriter(access),
        terminal=terminal,
        access_terminal=access_terminal,
        colour=colour,
        node_id=node_id,
        wall_clock=lambda: NOON,
    )
    for record in records:
        writer(record)
    writer.close()
    return events, access


def test_time() -> None:
    assert utc_time(0.0) == "1970-01-01T00:00:00.000Z"
    assert utc_time(NOON) == "2025-11-25T12:00:01.123Z"
    assert utc_time(0.9999) == "1970-01-01T00:00:01.000Z"


def test_json_lines() -> None:
    events, access = written(Log("info", "proxy", "listening", {"port": 8000, "ok": True, "ratio": 0.5, "host": "::"}))
    assert events.taken == (
        b'{"time":"2025-11-25T12:00:01.123Z","level":"info","subsystem":"proxy","message":"listening",'
        b'"port":8000,"ok":true,"ratio":0.5,"host":"::"}\n'
    )
    assert (events.calls, access.calls) == (1, 0)


def test_nothing_breaks_a_json_line() -> None:
    events, _ = written(Log("error", "a\n", "b\x1b[31m\x7f\x9b", {"peer\r": 'said "x"\u2028\ud800', "level": "mine"}))
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


def test_every_json_line_of_a_node_says_which_one() -> None:
    about = Log("info", "workers", "worker started", {"node_id": "own-1-1"})
    lines = AccessLog((b'"subsystem":"proxy.access"', b'"status":200'))
    events, access = written(Log("info", "proxy", "listening", {}), about, lines, node_id='100%"')
    assert [json.loads(line)["node_id"] for line in events.taken.splitlines()] == ['100%"', "own-1-1"]
    assert [json.loads(line)["node_id"] for line in access.taken.splitlines()] == ['100%"'] * 2
    people, _ = written(Log("info", "proxy", "listening", {}), terminal=True, node_id="n1")
    assert b"n1" not in people.taken


def local(now: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(now))


def test_readable_lines() -> None:
    events, _ = written(
        Log("info", "proxy", "listening", {"port": 8000, "host": "::", "why": "so it is", "empty": "", "on": False}),
        Log("warning", "gossip", 'the "peer"', {}),
        terminal=True,
    )
    first, second = events.taken.decode().splitlines()
    assert first == f'{local(NOON)}.123 INFO    proxy  listening  port=8000 host=:: why="so it is" empty="" on=false'
    assert second == f'{local(NOON)}.123 WARNING gossip  the "peer"'


def test_nothing_a_peer_says_reaches_a_terminal_as_control() -> None:
    events, _ = written(Log("info", "a\x1b", "b\n\x9b", {"x\x07": "y\x1b[2J\x7f"}), terminal=True)
    assert events.taken.decode() == (f"{local(NOON)}.123 INFO    a\\u001b  b\\n\\u009b  x\\u0007=y\\u001b[2J\\u007f\n")


def test_colour() -> None:
    events, _ = written(Log("error", "proxy", "no", {}), terminal=True, colour=True)
    assert events.taken.decode() == f"{local(NOON)}.123 \x1b[31mERROR  \x1b[0m proxy  no\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_form_may_be_chosen(terminal: bool) -> None:
    records = Log("info", "proxy", "one", {}), AccessLog((b'"status":200,"client":"192.0.2.1"',))
    for form, begins in (("text", local(NOON).encode()), ("json", b'{"time":')):
        config = LogConfig(format=form)
        events, access = written(*records, config=config, terminal=terminal, access_terminal=terminal)
        assert events.taken.startswith(begins)
        assert access.taken.startswith(begins)


def test_the_form_changes_while_a_process_runs() -> None:
    events = Stream()
    writer = LogWriter(LogConfig(), OutputWriter(events), OutputWriter(None), wall_clock=lambda: NOON)
    writer(Log("info", "proxy", "one", {}))
    writer.configure(LogConfig(format="text"))
    writer(Log("info", "proxy", "two", {}))
    writer.close()
    assert [line[:1] for line in events.taken.splitlines()] == [b"{", local(NOON).encode()[:1]]


def test_filter() -> None:
    events, _ = written(
        Log("warning", "proxy", "no", {}),
        Log("debug", "gossip.udp", "yes", {}),
        config=LogConfig(level="error", subsystems=("gossip",)),
    )
    assert [json.loads(line)["message"] for line in events.taken.splitlines()] == ["yes"]


def test_access_log_is_one_write_a_batch() -> None:
    events, access = written(
        AccessLog((b'"status":200', b'"status":502')), AccessLog(()), config=LogConfig(level="error"), terminal=True
    )
    assert access.taken == (
        b'{"time":"2025-11-25T12:00:01.123Z","status":200}\n{"time":"2025-11-25T12:00:01.123Z","status":502}\n'
    )
    assert (events.calls, access.calls) == (0, 1)


def test_a_stream_that_was_closed_at_the_start_costs_only_its_lines() -> None:
    events = Stream()
    writer = LogWriter(LogConfig(), OutputWriter(events), OutputWriter(None), wall_clock=lambda: NOON)
    writer(AccessLog((b'"status":200',)))
    writer(Log("info", "proxy", "still here", {}))
    writer.close()
    assert [json.loads(line)["message"] for line in events.taken.splitlines()] == ["still here"]


SPEAK = """
from pico_tunnel.logs import standard_log_writer
from pico_core.records import AccessLog, Log
from pico_core.config.logs import LogConfig
writer = standard_log_writer(LogConfig())
writer(AccessLog((b'"client":"192.0.2.7","status":400',)))
writer(Log("info", "proxy", "still here", {}))
writer.close()
"""


def speak(stdout: int, redirection: str = "") -> tuple[str, str]:
    """Run a process whose log writer writes one request and one event; return its output."""
    command = ["sh", "-c", f'exec "{sys.executable}" -c "$0" {redirection}', SPEAK]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stdout or "", done.stderr


def test_standard_streams() -> None:
    out, err = speak(subprocess.PIPE)
    assert out.endswith(',"status":400}\n')
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
    assert "not a request, from 192.0.2.7" in said
    assert "proxy  still here" in said
    assert ("\x1b[" in said) is coloured


SERVED = (
    b'"subsystem":"agent.access","method":"GET","path":"/items","endpoint":"web","status":200,"client":"192.0.2.7",'
    b'"duration_ms":4.321,"request_bytes":0,"response_bytes":199,"request_id":"5f0c9a31d2b84e17","hop":"agent","tries":0'
)
FAILED = SERVED.replace(b":200,", b":502,") + b',"reason":"service-refused","by":"agent"'


def test_requests_on_a_terminal() -> None:
    _, access = written(AccessLog((SERVED, FAILED)), access_terminal=True)
    clock = local(NOON)
    assert access.taken.decode().splitlines() == [
        f"{clock}  200  web  GET     /items  4 ms  199 B",
        f"{clock}  502  web  GET     /items  4 ms  199 B  service-refused  5f0c9a31d2b84e17",
    ]


def test_the_status_has_a_colour() -> None:
    _, access = written(AccessLog((FAILED,)), access_terminal=True, colour=True)
    assert b"\x1b[31m502\x1b[0m" in access.taken


def test_nothing_of_a_client_reaches_a_terminal_as_a_control_sequence() -> None:
    hostile = SERVED.replace(b"/items", b"/\\u001b[2J\\u00ff\\u000a")
    _, access = written(AccessLog((hostile,)), access_terminal=True)
    assert access.taken.isascii()
    assert access.taken.count(b"\n") == 1
    assert b"\x1b" not in access.taken


def test_a_long_path_is_cut_in_its_middle() -> None:
    _, access = written(AccessLog((SERVED.replace(b"/items", b"/a" + b"x" * 200 + b"z"),)), access_terminal=True)
    assert b"/axxx" in access.taken
    assert b"...xx" in access.taken
    assert b"xz  4 ms" in access.taken
    assert len(access.taken) < 110


def test_what_was_not_a_request_on_a_terminal() -> None:
    line = b'"status":400,"client":"192.0.2.7","request_id":"5f","reason":"bad-request","by":"server"'
    _, access = written(AccessLog((line,)), access_terminal=True)
    assert access.taken.decode() == f"{local(NOON)}  400  not a request, from 192.0.2.7  bad-request  5f\n"
