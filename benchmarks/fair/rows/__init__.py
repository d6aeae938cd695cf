"""The rows, by kind of load. A module here is known by its line in this import."""

from benchmarks.fair.rows import capacity, crowds, flooding, gossiping, registering

__all__ = ["capacity", "crowds", "flooding", "gossiping", "registering"]

STABLE = [
    "updates",
    "updates-apart",
    "empty-frames",
    "pipeline",
    "pings",
    "slow-uploads",
    "slow-websockets",
    "slow-answers",
    "descriptors",
    "heads",
    "registrations",
    "gossip-join",
    "gossip-datagrams",
]
"""The rows that CI runs: those of which no broken limit is known. A change that mends a fault adds its row.

``pool`` holds on a quiet machine, but compares requests a second: other work of the machine changes them between two
rounds. So do the rows of saturation, and ``gossip-joins`` and ``endpoints`` have limits that a busy machine breaks.
"""
