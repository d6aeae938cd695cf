"""Standard streams that take nothing: a pipe that is not read, a stopped terminal. Everything goes on without them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.cli.streams import stuck_pipe
from tests.ports import reserved_port
from tests.runtimes import RUNTIMES
from tests.waiting import PATIENCE_S, catches, connected, wait_until

REQUESTS = 12_000
"""Their lines are more than what a pipe holds and what may wait for it."""


@contextlib.contextmanager
def running(stream: int, *arguments: str, events: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with ``stream`` for its output, and for its events too unless ``events`` is another one."""
    command = [sys.executable, "-m", "pico_tunnel", *arguments]
    process = subprocess.Popen(command, stdout=stream, stderr=stream if events is None else events)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def server_ports() -> Iterator[dict[str, int]]:
    with contextlib.ExitStack() as stack:
        names = ("proxy", "upstream", "admin", "cluster.gossip")
        yield {name: stack.enter_context(reserved_port()) for name in names}


def flags(ports: dict[str, int]) -> list[str]:
    return [f"--{name}.bind-addr=127.0.0.1:{port}" for name, port in ports.items()]


def answer(port: int, path: str) -> tuple[int, str]:
    """Ask as soon as the port is open; the answer must come."""
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.sock = connected(port)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def request_many(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for _ in range(REQUESTS):
        connection.request("GET", "/a/path/of/some/length", headers={"x-pico-endpoint": "nowhere"})
        assert connection.getresponse().read()
    connection.close()


def dropped(admin: int) -> int:
    _, metrics = answer(admin, "/metrics")
    found = re.search(r"^pico_log_lines_dropped_total (\d+)$", metrics, re.MULTILINE)
    assert found is not None
    return int(found[1])


def read_to_end(end: int) -> list[bytes]:
    with os.fdopen(end, "rb") as stream:
        return [line for line in stream.read().splitlines() if line]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_serves_counts_and_stops_while_output_is_not_read(runtime: str) -> None:
    with (
        server_ports() as ports,
        stuck_pipe() as (_, writing),
        running(writing, "server", *flags(ports), "--drain-delay", "0s", "--runtime", runtime) as process,
    ):
        assert answer(ports["admin"], "/health")[0] == 200
        request_many(ports["proxy"])
        assert 0 < dropped(ports["admin"]) < REQUESTS
        assert answer(ports["admin"], "/health")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def lines_once_read(reading: int, writing: int, events: int, ports: dict[str, int]) -> tuple[list[bytes], int]:
    """Ask much of a server with output that is not read, then read it to its end.

    Returns the lines, and how many the server counted as dropped before that.
    """
    lines: list[bytes] = []
    with running(writing, "server", *flags(ports), "--drain-delay", "0s", events=events) as process:
        assert answer(ports["admin"], "/health")[0] == 200
        request_many(ports["proxy"])
        count = dropped(ports["admin"])
        os.close(writing)
        reader = threading.Thread(target=lambda: lines.extend(read_to_end(os.dup(reading))))
        reader.start()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        reader.join(PATIENCE_S)
    return lines, count


def told(lines: list[bytes]) -> list[int]:
    """Return the numbers of lines that are said to be missing. Every line is whole: else this fails."""
    return [record["lines"] for line in lines if (record := json.loads(line)).get("message") == "lines dropped"]


@pytest.mark.slow
def test_when_output_is_read_again_every_line_is_there_or_counted() -> None:
    with server_ports() as ports, stuck_pipe() as (reading, writing):
        lines, count = lines_once_read(reading, writing, subprocess.DEVNULL, ports)
    assert told(lines) == [count]
    assert len(lines) - 1 + count == REQUESTS
    assert b"lines dropped" in lines[-1], "it stands where the others are missing"


@pytest.mark.slow
def test_both_streams_in_one_pipe_do_not_cut_each_others_lines() -> None:
    with server_ports() as ports, stuck_pipe() as (reading, writing):
        lines, count = lines_once_read(reading, writing, writing, ports)
    requests = sum(b"proxy.access" in line for line in lines)
    assert requests + count == REQUESTS
    # Lines about the stop are dropped too if they come before the reader has caught up.
    assert sum(told(lines)) >= count


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "command", [("agent", "http", "my-endpoint", "3000"), ("agent", "tcp", "my-endpoint", "3000"), ("forward", "tcp")]
)
def test_an_agent_and_a_forwarder_stop_while_output_is_not_read(runtime: str, command: tuple[str, ...]) -> None:
    with reserved_port() as port, reserved_port() as local, stuck_pipe() as (_, writing):
        if command[0] == "forward":
            command = (*command, str(local), "my-endpoint")
        url = f"http://127.0.0.1:{port}"
        with running(writing, *command, "--connect.url", url, "--runtime", runtime) as process:
            await_handlers(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0


def await_handlers(pid: int) -> None:
    """Wait until a process takes SIGTERM."""
    wait_until(lambda: catches(pid, signal.SIGTERM), "the process takes SIGTERM")


def test_a_stopped_terminal() -> None:
    ours, theirs = os.openpty()
    try:
        termios.tcflow(theirs, termios.TCOOFF)
        with (
            server_ports() as ports,
            running(theirs, "server", *flags(ports), "--drain-delay", "0s") as process,
        ):
            assert answer(ports["admin"], "/health")[0] == 200
            assert answer(ports["proxy"], "/")[0] == 400
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_an_error_at_the_end_is_not_waited_for() -> None:
    with stuck_pipe() as (_, writing), running(writing, "server", "--log.level", "loud") as process:
        assert process.wait(PATIENCE_S) == 2


def test_a_second_signal_ends_a_server_with_output_that_is_not_read() -> None:
    with (
        server_ports() as ports,
        stuck_pipe() as (_, writing),
        running(writing, "server", *flags(ports), "--drain-delay", "40s") as process,
    ):
        assert answer(ports["admin"], "/health")[0] == 200
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: answer(ports["admin"], "/ready")[1].strip() == "draining", "the server drains")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 1


def test_an_error_that_ends_a_node_is_seen_after_its_log() -> None:
    with reserved_port() as port:
        command = [sys.executable, "-m", "pico_tunnel", "server", f"--proxy.bind-addr=127.0.0.1:{port}"]
        others = [f"--{name}.bind-addr=127.0.0.1:{port}" for name in ("upstream", "admin", "cluster.gossip")]
        done = subprocess.run([*command, *others], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [record["message"] for record in records] == ["listening", "ended"]
    assert records[-1]["reason"].startswith("cannot listen on")
