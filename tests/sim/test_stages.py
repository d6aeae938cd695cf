"""The named scenarios: each within its bounds, for two seeds, the second in the group ``slow``.

``python -m tests.sim --stage all`` shows the figures.
"""

import pytest

from tests.sim.__main__ import run_stage
from tests.sim.stages import STAGES

ONCE = ("halves", "many-endpoints", "tokens-are-renewed")
CASES = [
    pytest.param(name, seed, marks=pytest.mark.slow if seed == 2 or name in ONCE[:2] else ())
    for name in STAGES
    for seed in (1, 2)
    if seed == 1 or name not in ONCE
]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_stage(name: str, seed: int) -> None:
    assert run_stage(name, seed)
