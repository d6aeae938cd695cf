"""Hostile peers: their conditions find what they are there for, and histories without them stay as they are."""

import pytest

from tests.sim import hostile_peers
from tests.sim.__main__ import run_seed
from tests.sim.hostile_peers import Plan
from tests.sim.world import Violation

CALM = 850082
SHORT_MINUTES = 0.2


def test_some_histories_have_hostile_peers_and_half_of_those_are_calm() -> None:
    plans = [Plan.of(seed) for seed in range(1_000)]
    there = [plan for plan in plans if plan is not None]
    assert 0.8 * hostile_peers.SHARE < len(there) / len(plans) < 1.2 * hostile_peers.SHARE
    assert 0.4 < sum(plan.calm for plan in there) / len(there) < 0.6


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("SOON_S", -10.0, "too slow because of hostile peers"),
        ("OWN_BYTES", -(1 << 40), "bytes with"),
        ("LINES_PER_WINDOW", 0, "log lines in"),
    ],
)
def test_a_condition_that_cannot_hold_is_a_violation(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, found: str
) -> None:
    monkeypatch.setattr(hostile_peers, name, value)
    with pytest.raises(Violation, match=found):
        run_seed(CALM, SHORT_MINUTES)
