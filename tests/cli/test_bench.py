"""``pico bench http``: wrong use is told in one line."""

import subprocess
import sys

import pytest

from pico_tunnel.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["localhost:8000"], "argument [URL]: wants"),
        (["--duration", "10"], "--duration: wants a duration"),
        (["--timeout", "0s"], "--timeout: wants a duration"),
        (["--clients", "0"], "'--clients'"),
        (["--rate", "nan"], "--rate wants a number"),
        (["--method", "get"], "--method wants capital letters, such as POST"),
        (["--path", "here"], "--path must begin with /"),
        (["--path", "/a b"], "--path must begin with / and be written as in %20"),
        (["--header", "no colon"], "--header wants a name, a colon and a value"),
        (["--header", "a: b\r\nc: d"], "--header wants a name, a colon and a value"),
        (["--endpoint", "a/b"], "wants"),
        (["--endpont", "a"], "did you mean '--endpoint'?"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["bench", "http", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_nothing_listens(capsys: pytest.CaptureFixture[str], unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}"
    assert main(["bench", "http", url, "--duration", "100ms", "--clients", "1", "--runtime", "asyncio"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"pico: no response from {url}: no connection: connection refused\n"


def test_fields_of_requests_are_not_in_the_list_of_processes(unused_port: int) -> None:
    field = "Authorization: Bearer canary-of-a-token"
    command = [sys.executable, "-m", "pico_tunnel", "bench", "http", f"http://127.0.0.1:{unused_port}"]
    started = [*command, "--endpoint", "a", "--header", field, "--duration", "20s"]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "it has begun"
            with open(f"/proc/{process.pid}/cmdline", "rb") as arguments:
                shown = arguments.read()
        finally:
            process.kill()
    assert b"bench" in shown
    assert b"canary" not in shown
