"""Of one kind of log line there are only so many in a while."""

import pytest

from pico_core.boundary import Command
from pico_core.machine.logs import MAX_KINDS, LogLimits
from pico_core.records import Log
from pico_core.timers import Timers


class Journal:
    """A log with its timers, and the fields of its lines."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.timers = Timers()
        self.limits = LogLimits(self.timers, self.commands.append, 50)

    def write(self, count: int, now: float, level: str = "info", message: str = "tunnel opened") -> None:
        for number in range(count):
            self.limits.log(Log(level, "upstream", message, {"number": number}), now)

    @property
    def fields(self) -> list[dict[str, str | int | float | bool]]:
        lines = [each.fields for each in self.commands if isinstance(each, Log)]
        self.commands.clear()
        return lines


def test_a_flood_of_one_kind_is_fifty_lines_and_one_that_counts_the_rest() -> None:
    journal = Journal()
    journal.write(11_700, 3.0)
    assert journal.fields == [{"number": number} for number in range(50)]
    assert journal.timers.deadline() == 13.0
    journal.timers.fire(13.0)
    assert journal.commands == [Log("info", "upstream", "tunnel opened", {"suppressed": 11_650})]
    assert journal.limits.suppressed == 11_650


def test_a_window_begins_with_its_first_line() -> None:
    journal = Journal()
    journal.write(50, 3.0)
    journal.write(1, 12.9)
    journal.write(50, 13.0)
    assert len(journal.fields) == 100
    journal.timers.fire(13.0)
    assert journal.fields == [{"suppressed": 1}]


def test_a_flood_that_goes_on_is_told_of_every_ten_seconds() -> None:
    journal = Journal()
    for second in range(30):
        journal.timers.fire(float(second))
        journal.write(100, float(second))
    assert [each["suppressed"] for each in journal.fields if "suppressed" in each] == [950, 950]


def test_kinds_do_not_share_their_lines() -> None:
    journal = Journal()
    journal.write(51, 0.0)
    journal.write(1, 0.0, message="tunnel closed")
    journal.write(1, 0.0, level="warning")
    assert len(journal.fields) == 52


@pytest.mark.parametrize("level", ["error", "debug"])
def test_errors_and_debug_lines_are_never_held_back(level: str) -> None:
    journal = Journal()
    journal.write(1_000, 0.0, level=level)
    assert len(journal.fields) == 1_000
    assert journal.limits.suppressed == 0


def test_only_so_many_kinds_are_known_at_a_time() -> None:
    journal = Journal()
    journal.write(50, 0.0)
    for number in range(MAX_KINDS - 1):
        journal.write(1, 0.0, message=f"reason {number}")
    journal.write(1, 0.0)
    assert len(journal.fields) == 50 + MAX_KINDS - 1, "there is room for all, so the first kind is still held back"
    journal.write(1, 0.0, message="one more")
    journal.write(1, 0.0)
    assert len(journal.fields) == 2, "the first kind was forgotten"


def test_texts_without_number_keep_the_table_small() -> None:
    journal = Journal()
    journal.write(60, 0.0)
    for number in range(300):
        journal.write(1, 0.0, message=f"reason {number}")
    journal.write(1, 0.0)
    assert len(journal.fields) == 50 + 300 + 1
    journal.timers.fire(10.0)
    assert journal.fields == [{"suppressed": 10}]
