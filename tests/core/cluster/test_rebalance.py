"""Shedding brings a cluster to level and then stops; a node at the average never sheds."""

import random

import pytest

from pico_core.cluster.rebalance import tunnels_to_shed
from pico_core.config.ports import RebalanceConfig

CONFIG = RebalanceConfig(threshold=0.2, shed_rate=0.005, min_conns=50)


@pytest.mark.parametrize(
    ("own", "others", "shed"),
    [
        (1000, [0, 0], 5),
        (100, [100, 100], 0),
        (120, [90, 90], 0),  # 20 % above the average of 100 is the threshold itself
        (121, [90, 89], 1),
        (60, [40, 40], 1),  # never more than what is above the average, and at least one
        (49, [0, 0], 0),  # too few to say anything
        (1000, [], 0),  # no other node to shed to
        (10_000, [0, 0, 0], 50),
    ],
)
def test_how_many(own: int, others: list[int], shed: int) -> None:
    assert tunnels_to_shed(own, others, CONFIG) == shed


def test_off_unless_a_threshold_is_set() -> None:
    assert tunnels_to_shed(1000, [0], RebalanceConfig()) == 0


@pytest.mark.parametrize("seed", range(5))
def test_it_converges_and_then_rests(seed: int) -> None:
    """Shed tunnels land on any node, also on the one they came from, as they do behind a load balancer."""
    entropy = random.Random(seed)
    tunnels = [3000, 200, 0, 400]
    resting = 0
    for _ in range(2000):
        moves = [tunnels_to_shed(own, tunnels[:at] + tunnels[at + 1 :], CONFIG) for at, own in enumerate(tunnels)]
        resting = 0 if any(moves) else resting + 1
        for at, count in enumerate(moves):
            for _ in range(count):
                tunnels[at] -= 1
                tunnels[entropy.randrange(len(tunnels))] += 1
    average = sum(tunnels) / len(tunnels)
    assert resting > 500
    assert max(tunnels) <= average * 1.2
