"""The figures that a machine gets of its process, on every runtime: those that the system has."""

import os
import resource
import time

from pico_core.records import MeasureProcess, ProcessMeasured
from pico_driver import process
from tests.adapters.stage import Stage


def test_a_machine_learns_what_its_process_uses(stage: Stage) -> None:
    stage.do(MeasureProcess(7))
    found = stage.wait(ProcessMeasured, query=7)
    assert 0 < found.cpu_s <= time.process_time()
    assert 1_000_000 < found.resident_bytes < found.virtual_bytes
    assert abs(found.open_files - len(os.listdir("/proc/self/fd"))) <= 2
    assert found.max_open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert time.time() - 86_400 < found.started_at_s < time.time()


def test_each_file_counts() -> None:
    before = process.measure(1).open_files
    with open(__file__, "rb"):
        assert process.measure(1).open_files == before + 1
