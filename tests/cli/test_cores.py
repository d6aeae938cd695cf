"""``--workers auto``: the quotas of control groups, of both versions, are counted as the kernel applies them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_tunnel.cores import usable_cores

CORES = len(os.sched_getaffinity(0))


def counted(folder: Path, own: str, files: dict[str, str]) -> int:
    """Count the cores of a process whose /proc/self/cgroup is ``own``, with these files below /sys/fs/cgroup."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "own").write_text(own + "\n")
    return usable_cores(str(folder / "own"), str(folder / "groups"))


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param("0::/", {"cpu.max": "25000 100000"}, 1, id="a container with a quarter of a core"),
        pytest.param("0::/", {"cpu.max": "max 100000"}, CORES, id="no quota"),
        pytest.param("0::/", {"cpu.max": "9900000 100000"}, CORES, id="more than there are"),
        pytest.param("0::/", {}, CORES, id="the root of a host"),
        pytest.param("0::/pico.service", {"pico.service/cpu.max": "100000 100000"}, 1, id="a unit of systemd"),
        pytest.param("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 1, id="a group above"),
        pytest.param("0::/kubepods/pod1", {"cpu.max": "100000 100000"}, 1, id="a path of the host"),
        pytest.param(
            "4:memory:/x\n1:cpu,cpuacct:/x\n0::/x",
            {"cpu/x/cpu.cfs_quota_us": "100000", "cpu/x/cpu.cfs_period_us": "100000"},
            1,
            id="version 1",
        ),
        pytest.param(
            "1:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            CORES,
            id="version 1, no quota",
        ),
    ],
)
def test_the_quota_of_a_control_group(tmp_path: Path, own: str, files: dict[str, str], expected: int) -> None:
    assert counted(tmp_path, own, files) == expected


def test_two_and_a_half_cores_are_three(tmp_path: Path) -> None:
    assert counted(tmp_path, "0::/", {"cpu.max": "250000 100000"}) == min(3, CORES)


def test_no_control_groups(tmp_path: Path) -> None:
    assert usable_cores(str(tmp_path / "none"), str(tmp_path)) == CORES


@contextlib.contextmanager
def one_core() -> Iterator[Path]:
    """A real control group with a quota of one core, for the length of a test."""
    root = Path("/sys/fs/cgroup")
    is_second = (root / "cgroup.controllers").exists()
    folder = (root if is_second else root / "cpu") / f"pico-cores-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (folder / ("cpu.max" if is_second else "cpu.cfs_quota_us")).write_text("100000")
        except OSError as error:
            pytest.skip(f"the control group takes no quota: {error}")
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.skipif(CORES < 2, reason="there is one core only")
def test_the_quota_of_this_machines_kernel() -> None:
    with one_core() as folder:
        script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        count = "from pico_tunnel.cores import usable_cores; print(usable_cores())"
        command = ["sh", "-c", script, str(folder), sys.executable, "-c", count]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert usable_cores() == CORES
