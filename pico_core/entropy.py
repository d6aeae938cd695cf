"""Where randomness comes from: the constructor. ``random.Random`` fits, seeded in tests and simulations.

WebSocket clients need less of it for masking: ``websocket.masking.MaskSource``.
"""

from typing import Protocol


class Entropy(Protocol):
    """The part of ``random.Random`` that the core uses."""

    def random(self) -> float:
        """Return a number from 0 up to but not including 1."""

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` random bits."""
