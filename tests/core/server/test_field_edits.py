"""What is remembered of edited fields, which clients choose."""

import pytest

from pico_core.server.field_edits import RememberedFields


@pytest.mark.parametrize("count", [512, 513])
def test_all_results_are_forgotten_when_there_are_too_many(count: int) -> None:
    remembered = RememberedFields[int]()
    for number in range(count):
        remembered.put(b"A: %d" % number, number)
    assert remembered.get(b"A: 0") == (0 if count == 512 else None)
    assert remembered.get(b"A: %d" % (count - 1)) == count - 1


@pytest.mark.parametrize("size", [2_048, 2_049])
def test_long_fields_are_not_remembered(size: int) -> None:
    remembered = RememberedFields[int]()
    remembered.put(b"A: ".ljust(size, b"x"), 1)
    assert remembered.get(b"A: ".ljust(size, b"x")) == (1 if size == 2_048 else None)
