"""The named scenarios: each within its bounds, for two seeds. ``python -m tests.sim --stage all`` shows the figures."""

import pytest

from tests.sim.__main__ import run_stage
from tests.sim.stages import STAGES

SLOW = ("halves", "many-endpoints", "tokens-are-renewed")
CASES = [(name, seed) for name in STAGES for seed in (1, 2) if seed == 1 or name not in SLOW]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_stage(name: str, seed: int) -> None:
    assert run_stage(name, seed)
