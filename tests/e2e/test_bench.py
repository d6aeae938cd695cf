"""``pico bench http`` against a server with an agent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import Fleet
from tests.e2e.origin import Origin
from tests.waiting import PATIENCE_S


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pico_tunnel", "bench", "http", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(
    "load", [(), ("--rate", "100"), ("--new-connections", "--method", "POST", "--body-bytes", "9")]
)
def test_a_load_is_answered(stack: Stack, runtime: str, load: tuple[str, ...]) -> None:
    url = f"http://127.0.0.1:{stack.port}"
    done = bench(url, "--endpoint", "origin", "--path", "/describe?{n}", "--duration", "300ms", "--clients", "3",
                 "--runtime", runtime, "--json", *load)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert figures["failures"] == {}
    assert figures["statuses"] == {"200": figures["responses"]}
    assert figures["responses"] > 3
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"] <= figures["latency_ms"]["max"]
    assert (figures["connections"] <= 3) is ("--new-connections" not in load)


def test_its_report_is_readable(stack: Stack) -> None:
    done = bench(f"http://127.0.0.1:{stack.port}", "--endpoint", "nobody", "--duration", "1200ms", "--rate", "20")
    assert done.returncode == 0
    assert "with an error status" in done.stderr
    assert "    502 " in done.stdout
    assert "latency, from when a request was due" in done.stdout
    assert done.stdout.isascii()


def test_a_server_that_asks_for_tokens(fleet: Fleet, tmp_path: Path, origin: Origin) -> None:
    key = "key-" * 8
    server = fleet.server("--proxy.auth.hmac-secret-key", key)
    fleet.agent(server, "origin", origin.port)
    (tmp_path / "key").write_text(key)
    made = subprocess.run(
        [sys.executable, "-m", "pico_tunnel", "token", "create", "--key", str(tmp_path / "key"), "--expires", "1h"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    (tmp_path / "token").write_text(made.stdout)
    load = [f"http://127.0.0.1:{server.proxy_port}", "--endpoint", "origin", "--duration", "200ms", "--json"]
    for token_flags, statuses in (
        (("--server.token-file", str(tmp_path / "token")), {"200"}),
        (("--server.token", made.stdout.strip()), {"200"}),
        ((), {"401"}),
    ):
        assert set(json.loads(bench(*load, *token_flags).stdout)["statuses"]) == statuses
    both = bench(*load, "--server.token", made.stdout.strip(), "--server.token-file", str(tmp_path / "token"))
    assert (both.returncode, both.stdout) == (2, "")
    assert "exclude each other" in both.stderr
