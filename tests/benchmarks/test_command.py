"""The command lines of benchmarks: wrong use is told at once, and an end from outside in one line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as suite
from benchmarks.cases import Case, Run
from benchmarks.command import INTERRUPTED, end_with
from benchmarks.groups import GROUPS
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("benchmarks", ["--json", "/nowhere/figures.json"], "cannot write /nowhere/figures.json: No such file"),
        ("benchmarks", ["--runtime", "curio"], "unknown: curio; there are uvloop, asyncio, trio"),
        ("benchmarks.fair", ["--runtime", "curio"], "unknown: curio; there are uvloop, asyncio, trio"),
        ("benchmarks.fair", ["--nodes", "3"], "unknown: 3; there are 1, 2"),
        ("benchmarks.fair", ["--seconds", "nan"], "wants a number above 0, found 'nan'"),
        ("benchmarks.security", ["--runtime", "curio"], "invalid choice: 'curio'"),
        ("benchmarks.security", ["--fuzz-minutes", "-1"], "wants a number above 0, found '-1'"),
    ],
)
def test_wrong_use(program: str, arguments: list[str], said: str) -> None:
    ran = subprocess.run([sys.executable, "-m", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_interrupt_is_told_in_one_line_and_loses_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(run: Run) -> Iterator[Case]:
        yield Case("server", "first", "us", {"one": [1.0]}, "", "")
        raise KeyboardInterrupt

    group = GROUPS["server"]
    monkeypatch.setitem(GROUPS, "server", group.__class__(interrupted, group.about, group.needs))
    file = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        end_with(lambda: suite.main(["server", "--json", str(file)]))
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"
    assert [case["name"] for case in json.loads(file.read_text())] == ["first"]


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    program = "from benchmarks.command import end_with; end_with(lambda: [print('x' * 80) for _ in range(9999)] and 0)"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(("arguments", "code", "said"), [(["--help"], 0, "two minutes"), (["--nosuch"], 2, "--nosuch")])
def test_a_build_that_is_asked_for_in_a_wrong_way_is_not_begun(arguments: list[str], code: int, said: str) -> None:
    ran = subprocess.run(["scripts/compile", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert ran.returncode == code
    assert said in ran.stdout + ran.stderr
    assert " extensions\n" not in ran.stdout, "it tells how many it has made"


def test_ctrl_c_ends_a_run_and_its_processes() -> None:
    """A terminal sends it to the whole group of processes."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "start", "--runtime", "asyncio"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        wait_until(lambda: has_server(process.pid), "the first server")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (INTERRUPTED, "interrupted\n")


def has_server(pid: int) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(b"pico_tunnel\0server\0" in Path(f"/proc/{each}/cmdline").read_bytes() for each in children)
