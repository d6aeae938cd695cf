"""The command line as a process of its own: exit codes, streams, no traceback, and the cost of its start."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.ports import reserved_port
from tests.runtimes import RUNTIMES
from tests.waiting import PATIENCE_S, connected


def pico(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pico_tunnel", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environ or {})},
    )


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["server", "--config.path", "missing.yaml"], "cannot read 'missing.yaml'"),
        (["server", "--log.level", "loud"], "--log.level: wants one of"),
        (["server", "--proxy.bind-addr", "nowhere"], "the port is missing"),
        (["server", "--runtime", "twisted"], "'twisted' is not one of"),
        (["server", "--proxy.tmeout", "1s"], "did you mean '--proxy.timeout'?"),
        (["agent", "http", "a/b", "3000"], "it contains '/'"),
    ],
)
def test_one_line_and_exit_code_2(arguments: list[str], part: str) -> None:
    done = pico(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("pico: ")
    assert part in done.stderr


def test_files_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text("cluster:\n  node_id_prefix: ${POD_NAME}-\n  jion: [pico]\n")
    done = pico("server", "--config.path", str(path), "--config.expand-env", environ={"POD_NAME": "pico-0"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pico: {path}:3: unknown key 'cluster.jion'; did you mean 'cluster.join'?\n"
    path.write_text("cluster:\n  node_id_prefix: ${POD_NAME}-\n  node_id: ${POD_NAME}\n")
    done = pico("server", "--config.path", str(path), "--config.expand-env", environ={"POD_NAME": "pico-0"})
    assert "exclude each other" in done.stderr
    done = pico("server", "--config.path", str(path), "--config.expand-env", environ={"POD_NAME": "a\x07b"})
    assert r"found 'a\x07b': only visible ASCII characters are allowed" in done.stderr


def test_an_environment_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text("cluster:\n  node_id: ${ODD}\n")
    done = pico("server", "--config.path", str(path), "--config.expand-env", environ={"ODD": "\udcff"})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_help_into_a_closed_pipe() -> None:
    command = f"{sys.executable} -m pico_tunnel server --help | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_closed_streams() -> None:
    command = f"{sys.executable} -m pico_tunnel server --log.level loud >&- 2>&-; echo $?"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "2\n"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_agent_and_a_server_that_were_started_without_standard_streams(runtime: str) -> None:
    with reserved_port() as port, reserved_port() as gossip:
        ports = " ".join(f"--{name}.bind-addr 127.0.0.1:0" for name in ("proxy", "upstream"))
        ports += f" --cluster.gossip.bind-addr 127.0.0.1:{gossip}"
        for line in (
            f"agent http e1 1 --connect.url http://127.0.0.1:1 --admin.bind-addr 127.0.0.1:{port}",
            f"server {ports} --admin.bind-addr 127.0.0.1:{port} --drain-delay 0s",
        ):
            command = f"exec {sys.executable} -m pico_tunnel {line} --runtime {runtime} <&- >&- 2>&-"
            with subprocess.Popen(command, shell=True) as process:
                with connected(port) as admin:
                    admin.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert admin.recv(12) == b"HTTP/1.1 200"
                opened = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0
            assert opened == [os.devnull] * 3


@pytest.mark.parametrize("line", ["server --help", "--version", "completion bash", "token key --help"])
def test_a_full_disk_behind_standard_output(line: str) -> None:
    command = f"{sys.executable} -m pico_tunnel {line} >/dev/full; echo $?"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "pico: cannot write the answer: No space left on device\n")


def test_a_full_disk_behind_standard_error() -> None:
    command = f"{sys.executable} -m pico_tunnel server --log.level loud 2>/dev/full; echo $?"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "2\n"


def test_an_interrupt_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    os.mkfifo(path)
    command = [sys.executable, "-m", "pico_tunnel", "server", "--config.path", str(path)]
    # Where the tests run in the background of a shell, the signal is ignored, and children inherit that.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    with process, path.open("w"):  # opens when the process opens it to read, and holds it there
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "pico: interrupted\n")


def started_and_stopped(*arguments: str) -> str:
    """Run a command until its first log record, and stop it, which must go well; return the message of the record."""
    command = [sys.executable, "-m", "pico_tunnel", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        record = json.loads(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert all(line.startswith("{") for line in rest.splitlines())
    return str(record["message"])


def test_a_server_runs_until_it_is_told_to_stop(local_addresses: list[str]) -> None:
    assert started_and_stopped("server", *local_addresses, "--drain-delay", "0s") == "listening"


@pytest.mark.parametrize("arguments", [["http", "my-endpoint", "3000", "--timeout=1s"], ["tcp", "my-endpoint", "3000"]])
def test_an_agent_runs_until_it_is_told_to_stop(unused_port: int, arguments: list[str]) -> None:
    message = started_and_stopped("agent", *arguments, "--connect.url", f"http://127.0.0.1:{unused_port}")
    assert message == "cannot reach the server: connection refused"


def test_a_forwarder_runs_until_it_is_told_to_stop() -> None:
    assert started_and_stopped("forward", "tcp", "0", "my-endpoint") == "listening"


def test_help_imports_nothing_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pico_tunnel", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint({"asyncio", "trio", "uvloop", "yaml", "msgspec", "wsproto", "h11", "pico_core.boundary"})
