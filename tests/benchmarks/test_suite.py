"""The entry point of the benchmarks: arguments, ratios, the page, and another commit beside the checkout."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import checked, main, options_text
from benchmarks.cases import Case, Run, alternate, case
from benchmarks.groups import GROUPS, GroupRow
from benchmarks.page import as_page, bars
from benchmarks.processes import first_number
from benchmarks.services import MESSAGE_BYTES, Echo, WebSocket
from benchmarks.streams import MESSAGES
from benchmarks.traffic import BROWSER, NUMBER, TRAFFIC, request
from benchmarks.trees import ROOT, trees
from pico_core.websocket.decoding import FrameDecoder

VALUES = {
    "fixed reply": [10.0, 20.0, 10.0],
    "nginx": [20.0, 50.0, 20.0],
    "server uvloop": [30.0, 80.0, 40.0],
    "server uvloop at abc1234": [15.0, 40.0, 40.0],
}


def shown(values: dict[str, list[float]]) -> Case:
    run = Run(trees=(), command=" --rounds 3")
    return case(run, "traffic", "same head", "us", values, "50 clients, 2 s each")


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    assert shown(VALUES).ratios("server uvloop") == {
        "fixed reply": 4.0,
        "nginx": 1.6,
        "server uvloop at abc1234": 2.0,
    }
    assert shown(VALUES).ratios("fixed reply") == {"nginx": 0.5}


def test_a_ratio_is_to_the_reference_of_the_same_tree() -> None:
    machine = Case("server", "", "us", {"a": [1.0], "b": [2.0], "a at x": [4.0], "b at x": [2.0]}, "", "", ("a",))
    assert machine.ratios("b") == {"a": 2.0, "b at x": 1.0}
    assert machine.ratios("b at x") == {"a at x": 0.5}


def test_a_reference_that_cost_nothing_gives_no_ratio() -> None:
    assert shown({"nginx": [0.0], "server uvloop": [1.0]}).ratios("server uvloop") == {}


def test_a_case_tells_its_conditions_and_its_command() -> None:
    lines = "\n".join(shown(VALUES).lines())
    assert re.search(r"50 clients, 2 s each; cpython 3\.\d+; rounds 3, load average [\d.]+", lines)
    assert lines.endswith("again: python -m benchmarks traffic --rounds 3")
    assert "2.00 x at abc1234" in lines


def test_nothing_measured_is_told() -> None:
    with pytest.raises(SystemExit, match="traffic: nothing was measured for same head"):
        shown({})


def test_measures_take_turns() -> None:
    order: list[str] = []

    def measure(name: str) -> dict[str, float]:
        order.append(name)
        return {name: float(len(order))}

    assert alternate(2, [lambda: measure("a"), lambda: measure("b")]) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert order == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "unknown groups: nothing; there are server, agent,"),
        (["--runtime", "curio"], "argument --runtime: unknown: curio; there are uvloop, asyncio, trio"),
        (["--rounds", "0"], "argument --rounds: invalid positive value: '0'"),
        (["--seconds", "two"], "argument --seconds: invalid positive value: 'two'"),
    ],
)
def test_arguments_that_make_no_run(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        checked(["server", *arguments])
    assert end.value.code == 2
    assert told in capsys.readouterr().err


def test_a_program_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(GROUPS, "server", GroupRow(lambda _run: [], "nothing", ("no-such-program",)))
    with pytest.raises(SystemExit):
        checked(["server"])
    assert "not installed: no-such-program" in capsys.readouterr().err


def test_a_group_is_run_once_and_all_without_a_name() -> None:
    assert checked(["server", "server"]).groups == ["server"]


def test_the_command_names_what_is_not_the_default() -> None:
    assert options_text(checked(["server"])) == ""
    repeated = "--runtime trio --rounds 3 --against HEAD --short"
    assert options_text(checked(["server", *repeated.split()])) == f" {repeated}"


def test_json_has_figures_medians_and_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(GROUPS, "server", GroupRow(lambda _run: [shown(VALUES)], "made up"))
    main(["server", "--json", str(tmp_path / "out.json")])
    (found,) = json.loads((tmp_path / "out.json").read_text())
    assert found["values"] == VALUES
    assert found["medians"]["server uvloop"] == 40
    assert found["ratios"]["server uvloop"]["nginx"] == 1.6
    assert found["conditions"].startswith("50 clients")
    assert "traffic: same head" in capsys.readouterr().out


def test_the_page_has_a_table_a_chart_and_the_command() -> None:
    page = as_page([shown(VALUES)])
    assert "| server uvloop | 40.0 | 30.0 | 4.00 | 1.60 | 2.00 |" in page
    assert "Again: `python -m benchmarks traffic --rounds 3`" in page
    assert page.count("## traffic\n") == 1
    assert "load average" in page


def test_the_page_tells_that_its_runs_were_short() -> None:
    long = shown(VALUES)
    assert "These are short runs" not in as_page([long])
    assert "These are short runs" in as_page([long, replace(long, command="python -m benchmarks traffic --short")])


def test_bars_are_in_proportion() -> None:
    assert [bar.count("#") for bar in bars({"a": 40.0, "b": 10.0, "c": 0.0})] == [40, 10, 1]
    assert [bar.count("#") for bar in bars({"a": 0.0})] == [1]


def test_heads_of_traffic_are_what_their_names_say() -> None:
    fields = {name: text.partition("\r\n\r\n")[0].count("\r\n") for name, text in TRAFFIC.items()}
    assert fields["same 3-field head"] == fields["path new each time, 3 fields"] == 3
    assert fields["same 14-field browser head"] == 14
    assert fields["browser head, path and request ID new each time"] == 14
    assert {name for name, text in TRAFFIC.items() if NUMBER in text} == {
        "path new each time, 3 fields",
        "browser head, path and request ID new each time",
    }
    post = request("/basket", BROWSER, 1024)
    assert first_number(r"Content-Length: (\d+)", post) == len(post.partition("\r\n\r\n")[2]) == 1024


def test_another_commit_is_exported_without_its_benchmarks(tmp_path: Path) -> None:
    git = ["git", "-C", str(ROOT)]
    if subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("not a checkout of git")
    with trees("HEAD") as (own, other):
        folder = Path(other.environment["PYTHONPATH"].split(":")[0])
        assert (folder / "pico_core").is_dir()
        assert not (folder / "benchmarks").exists()
        assert own.suffix == ""
        assert re.fullmatch(r" at [0-9a-f]{7,}", other.suffix)
    assert not folder.exists()


def test_processes_of_a_run_find_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with trees(None) as (own,):
        folder = own.environment["PYTHONPYCACHEPREFIX"]
        assert "PYTHONDONTWRITEBYTECODE" not in own.environment
        command = [sys.executable, "-P", "-v", "-c", "import pico_tunnel.start, pico_core.server.node, trio"]
        ran = subprocess.run(command, env=own.environment, capture_output=True, text=True, check=True, timeout=60)
        assert f"matches {ROOT}/pico_core/server/node.py" in ran.stderr
        assert f"code object from '{folder}" in ran.stderr
        assert f"created '{folder}" not in ran.stderr
    assert not Path(folder).exists()


@pytest.mark.parametrize("commit", ["no-such-commit", "--upload-pack=x"])
def test_a_commit_that_git_does_not_know(commit: str) -> None:
    with pytest.raises(SystemExit, match=r"git rev-parse|wants a commit"), trees(commit):
        pass


def test_messages_of_both_sides_have_the_size_that_is_counted() -> None:
    for kind in (Echo, WebSocket):
        assert len(kind.answer) == MESSAGE_BYTES
    frame = MESSAGES["websocket"]
    assert len(frame) == len(MESSAGES["echo"]) == MESSAGE_BYTES
    for data, masked, payload_bytes in ((frame, True, MESSAGE_BYTES - 8), (WebSocket.answer, False, MESSAGE_BYTES - 4)):
        payload = FrameDecoder(masked=masked).receive(data)
        pieces = [bytes(piece) for piece in payload if isinstance(piece, (bytes, memoryview))]
        assert b"".join(pieces) == bytes(payload_bytes)


@pytest.mark.debian
def test_a_group_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["streams", "--runtime", "uvloop", "--rounds", "1", "--seconds", "1", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert [case["name"] for case in found] == ["server-sent events", "WebSocket", "TCP"]
    assert all({"server uvloop", "agent uvloop"} <= set(case["values"]) for case in found)
    assert "again: python -m benchmarks streams --runtime uvloop --rounds 1 --seconds 1" in capsys.readouterr().out
