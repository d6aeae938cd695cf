"""Where gossip's random choices come from: the constructor. ``random.Random`` fits, seeded in simulations."""

from typing import Protocol


class Entropy(Protocol):
    """The part of ``random.Random`` that gossip uses."""

    def random(self) -> float:
        """Return a number from 0 up to but not including 1."""
