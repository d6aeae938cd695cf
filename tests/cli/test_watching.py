"""``--watch``: a status command that asks again and again."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pico_tunnel.cli import main
from tests.waiting import wait_until

COMMAND = (sys.executable, "-m", "pico_tunnel", "server", "status", "upstream", "endpoints", "--watch", "1")


class Counting(ThreadingHTTPServer):
    """An admin port whose answer is the number of the question; those in ``failing`` get a 503."""

    failing: tuple[int, ...] = ()
    asked = 0
    rows = 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Counting)
        server.asked += 1
        is_well = server.asked not in server.failing
        answer = {f"e{row}": server.asked for row in range(server.rows)} if is_well else {"error": "not now"}
        body = json.dumps(answer).encode()
        self.send_response(200 if is_well else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def counting(*failing: int, rows: int = 1) -> Iterator[Counting]:
    with Counting(("127.0.0.1", 0), Handler) as server:
        server.failing, server.rows = failing, rows
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def piped(server: Counting, questions: int, *flags: str) -> tuple[int, str, str]:
    """Run the command until it has asked so often, then do what Ctrl-C does."""
    with subprocess.Popen(
        [*COMMAND, "--server.url", server.url, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: server.asked > questions, f"it has asked {questions} times, and has shown the answers")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def test_documents_follow_each_other_in_a_pipe() -> None:
    with counting() as server:
        code, out, error = piped(server, 2)
    assert (code, error) == (0, "")
    assert out.startswith("e0: 1\n---\ne0: 2\n")


def test_json_documents_follow_each_other_in_a_pipe() -> None:
    with counting() as server:
        code, out, error = piped(server, 2, "--json")
    assert (code, error) == (0, "")
    first, length = json.JSONDecoder().raw_decode(out)
    second, _ = json.JSONDecoder().raw_decode(out[length:].lstrip())
    assert (first, second) == ({"e0": 1}, {"e0": 2})


def test_a_server_that_is_away_for_a_while() -> None:
    with counting(2) as server:
        code, out, error = piped(server, 3)
    assert code == 0
    assert out.startswith("e0: 1\n---\ne0: 3\n")
    assert error == f"pico: {server.url} answered 503: not now\n"


def test_the_first_question_has_to_be_answered(capsys: pytest.CaptureFixture[str]) -> None:
    with counting(1) as server:
        assert main((*COMMAND[3:], "--server.url", server.url)) == 1
    assert capsys.readouterr().err == f"pico: {server.url} answered 503: not now\n"


def test_it_ends_when_nobody_reads() -> None:
    with (
        counting() as server,
        subprocess.Popen([*COMMAND, "--server.url", server.url], stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"e0: 1\n"
        process.stdout.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("seconds", ["0", "0.5", "3601", "soon"])
def test_the_rate_is_bounded(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert main((*COMMAND[3:-1], seconds)) == 2
    assert "--watch" in capsys.readouterr().err


def test_a_terminal_shows_one_table_in_its_place() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "LINES": "8"}
    seen = b""
    with counting(rows=20) as server:
        command = [*COMMAND, "--server.url", server.url]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            while seen.count(b"\x1b[J") < 2:
                seen += os.read(ours, 4096)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    os.close(ours)
    first, second = seen.decode().replace("\r\n", "\n").split("\x1b[J")[:2]
    assert first.startswith("\x1b[H\x1b[2J\x1b[H")
    assert second.startswith("\x1b[H")
    head, blank, *rows = second.removeprefix("\x1b[H").split("\x1b[K\n")
    assert head.endswith(", every 1 s, Ctrl-C to stop")
    assert (blank, rows) == ("", ["e0: 2", "e1: 2", "e2: 2", "e3: 2", "... 16 lines more\x1b[K"])
