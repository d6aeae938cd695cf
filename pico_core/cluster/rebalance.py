"""How many tunnels a node sheds: towards the average of the cluster, slowly, and never below it."""

from collections.abc import Sequence

from pico_core.config.ports import RebalanceConfig


def tunnels_to_shed(own: int, others: Sequence[int], config: RebalanceConfig) -> int:
    """Return how many tunnels to shed this second.

    ``others`` are the tunnels of the other nodes that are alive. Nothing is shed at or below the threshold above the
    average, so nodes at the same level never shed. Nor is more shed than would bring us to the average, since shed
    tunnels may come back to us.
    """
    if not config.threshold or not others or own < config.min_conns:
        return 0
    average = (own + sum(others)) / (1 + len(others))
    if own <= average * (1 + config.threshold):
        return 0
    return min(max(int(own * config.shed_rate), 1), int(own - average))
