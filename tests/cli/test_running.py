"""What every long-running command does with the signals and the limits of its process, on every runtime."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pico_tunnel.early_signals import is_long_running
from tests.cli.streams import stuck_pipe
from tests.runtimes import RUNTIMES
from tests.waiting import PATIENCE_S, catches, wait_until

LOW_LIMIT = 256

SPY = """
import signal, sys
real = signal.signal
def spy(number, handler):
    if handler is signal.SIG_DFL and number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        print(signal.Signals(number).name, flush=True)
    return real(number, handler)
signal.signal = spy
from pico_tunnel.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""Runs ``pico``, and prints each signal that gets its default back."""


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["server", "agent http", "agent tcp", "forward tcp"])
def command(request: pytest.FixtureRequest, local_addresses: list[str], unused_port: int) -> list[str]:
    """A command that is never told to stop by its circumstances."""
    server = f"http://127.0.0.1:{unused_port}"
    arguments = {
        "server": [*local_addresses, "--drain-delay", "0s"],
        "agent http": ["my-endpoint", "3000", "--connect.url", server],
        "agent tcp": ["my-endpoint", "3000", "--connect.url", server],
        "forward tcp": ["0", "my-endpoint", "--connect.url", server],
    }
    return [*request.param.split(), *arguments[request.param]]


class Running:
    """A command with a low limit of descriptors. Its log is read line by line."""

    def __init__(self, command: list[str]) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pico_tunnel", *command],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (LOW_LIMIT, hard)),
        )

    def await_log(self, message: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            record: dict[str, Any] = json.loads(line)
            if message in record["message"]:
                return record
        raise AssertionError(f"the process ended with {self.process.wait()} before {message!r}")


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[Running]:
    started = Running(command)
    with started.process:
        try:
            yield started
        finally:
            started.process.kill()


def first_message(command: list[str]) -> str:
    return "cannot reach" if command[0] == "agent" else "listening"


def test_no_signal_ends_it_without_a_word(runtime: str, command: list[str]) -> None:
    with running([*command, "--runtime", runtime]) as started:
        started.await_log(first_message(command))
        started.process.send_signal(signal.SIGHUP)
        assert started.await_log("configuration read again")["level"] == "info"
        started.process.send_signal(signal.SIGPIPE)
        started.process.send_signal(signal.SIGALRM)
        started.process.send_signal(signal.SIGIO)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            started.process.send_signal(number)
            assert started.await_log("signal ignored")["signal"] == number.name
        started.process.send_signal(signal.SIGTERM)
        started.await_log("stopped")
        assert started.process.wait(PATIENCE_S) == 0


def test_signals_that_come_before_it_runs_are_kept(runtime: str, command: list[str], tmp_path: Path) -> None:
    """A pipe in the place of the file holds the start where the configuration is read."""
    path, other = tmp_path / "pico.yaml", tmp_path / "other.yaml"
    os.mkfifo(path)
    other.write_text("")
    with running([*command, "--runtime", runtime, "--config.path", str(path)]) as started:
        with path.open("w"):
            assert catches(started.process.pid, signal.SIGHUP)
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                started.process.send_signal(number)
            other.rename(path)
        started.await_log("configuration read again")
        assert {started.await_log("signal ignored")["signal"] for _ in range(2)} == {"SIGUSR1", "SIGUSR2"}
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("arguments", [[], ["server", "status"], ["server", "check"], ["token"], ["bench", "http"]])
def test_commands_that_end_by_themselves_leave_signals_alone(arguments: list[str]) -> None:
    assert not is_long_running(arguments)
    assert is_long_running(["server"])
    assert is_long_running(["server", "--config.path", "x"])


def test_sigquit_asks_for_an_orderly_stop(runtime: str, command: list[str]) -> None:
    with running([*command, "--runtime", runtime]) as started:
        started.await_log(first_message(command))
        started.process.send_signal(signal.SIGQUIT)
        started.await_log("stopped")
        assert started.process.wait(PATIENCE_S) == 0


def test_signals_that_come_while_it_leaves_change_nothing(runtime: str, command: list[str]) -> None:
    """A reader that is stuck keeps a process for a second longer: time for a signal that would be deadly by default."""
    started = [sys.executable, "-m", "pico_tunnel", *command, "--runtime", runtime]
    with stuck_pipe() as (_, writing), subprocess.Popen(started, stdout=writing, stderr=writing) as process:
        try:
            wait_until(lambda: catches(process.pid, signal.SIGTERM), "the process takes SIGTERM")
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGUSR1)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
        finally:
            process.kill()
    assert process.returncode == 0


def test_no_signal_gets_its_deadly_default_back(runtime: str, command: list[str]) -> None:
    """SIGTERM does at the very end, when nothing is left that would have to end in order."""
    started = [sys.executable, "-c", SPY, *command, "--runtime", runtime]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while first_message(command) not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert (printed.split(), process.returncode) == (["SIGTERM"], 0)


def test_the_limit_of_descriptors_is_raised(command: list[str]) -> None:
    with running([*command, "--log.level", "debug"]) as started:
        told = started.await_log("descriptor limit")
        soft, hard = resource.prlimit(started.process.pid, resource.RLIMIT_NOFILE)
        assert soft == told["descriptors"] == min(hard, 1 << 20)
        assert soft > LOW_LIMIT
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(PATIENCE_S) == 0
