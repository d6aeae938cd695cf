"""The targets of the coverage-guided mode, on their corpus, on mutations of it, and on anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets import CORPUS, MAX_BYTES, TARGETS, seeds

SMALL_BYTES = 64 * 1024


def test_each_target_has_a_corpus_and_the_whole_is_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    files = [file for folder in CORPUS.iterdir() for file in folder.iterdir()]
    assert all(seeds(name) for name in TARGETS)
    assert sum(file.stat().st_size for file in files) < SMALL_BYTES
    assert all(file.stat().st_size <= MAX_BYTES for file in files)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_a_target_raises_nothing(name: str, data: st.DataObject) -> None:
    begun = bytearray(data.draw(st.sampled_from(seeds(name)) | st.binary(max_size=300)))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(begun)))
        change = data.draw(st.binary(max_size=4))
        begun[place : place + data.draw(st.integers(0, 8))] = change
    TARGETS[name](bytes(begun))
