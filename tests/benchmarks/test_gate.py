"""The judgement of ``benchmarks.gate``: what is worse than stored, and what is not."""

import json
import subprocess
import sys

import pytest

from benchmarks.gate import SLACK, STORED, TOLERANCE, judge, worse
from benchmarks.gate_loads import LOADS

BEFORE = {"server": {"instructions": 1_000_000.0, "peak_bytes": 1_000_000.0, "left_blocks": 0.0}}


@pytest.mark.parametrize(
    ("kind", "now", "found"),
    [
        ("instructions", 1_019_000, 0),
        ("instructions", 1_021_000, 1),
        ("instructions", 500_000, 0),
        ("peak_bytes", 1_029_000, 0),
        ("peak_bytes", 1_031_000, 1),
        ("left_blocks", 64, 0),
        ("left_blocks", 65, 1),
    ],
)
def test_only_more_than_the_tolerance_is_worse(
    kind: str, now: float, found: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge({"server": {**BEFORE["server"], kind: now, "wall_s": 1e9}}, BEFORE) == found
    printed = capsys.readouterr().out
    assert printed.count("WORSE") == found
    assert "not judged" in printed


def test_a_load_that_is_not_stored_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge({"new": {**BEFORE["server"], "wall_s": 1.0}}, BEFORE) == 0
    assert capsys.readouterr().out.count("not stored") == len(TOLERANCE)


def test_a_small_peak_may_grow_by_a_page() -> None:
    assert not worse("peak_bytes", 1_000 + SLACK["peak_bytes"], 1_000)


def test_every_load_has_stored_figures() -> None:
    for version in json.loads(STORED.read_text()).values():
        assert set(version["figures"]) == set(LOADS)
        assert all(set(kinds) == set(TOLERANCE) for kinds in version["figures"].values())


def test_memory_is_the_same_in_two_runs() -> None:
    command = [sys.executable, "-m", "benchmarks.gate_loads", "measure"]
    one, two = (
        json.loads(
            subprocess.run(
                command, env={"PYTHONHASHSEED": "0"}, cwd=STORED.parents[1], check=True, capture_output=True
            ).stdout
        )
        for _ in range(2)
    )
    for name, kinds in one.items():
        assert kinds["peak_bytes"] == pytest.approx(two[name]["peak_bytes"], rel=0.01)
        assert kinds["left_blocks"] == pytest.approx(two[name]["left_blocks"], abs=SLACK["left_blocks"])
