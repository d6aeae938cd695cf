"""Whether time grows in proportion to the input: measured in CPU time, small and large in turn, until it is certain."""

import time
from collections.abc import Callable

ROUNDS = 100
FACTOR = 4
TOLERANCE = 9
"""Four times the input takes four times the time if that is linear, sixteen times if it is quadratic."""


def grows_linearly(work: Callable[[int], object], size: int) -> bool:
    """Say whether ``work(4 * size)`` ever takes less than nine times what ``work(size)`` takes.

    Other work on the machine can only make a round slower, so one round that is fast enough proves it.
    """
    small_s = large_s = float("inf")
    for _ in range(ROUNDS):
        small_s = min(small_s, _seconds(work, size))
        large_s = min(large_s, _seconds(work, FACTOR * size))
        if large_s < TOLERANCE * small_s + 0.001:
            return True
    return False


def _seconds(work: Callable[[int], object], size: int) -> float:
    started = time.thread_time()
    work(size)
    return time.thread_time() - started
