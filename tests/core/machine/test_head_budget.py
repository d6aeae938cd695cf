"""What all heads that have not come whole may have together; ``tests/core/server`` has it in a server."""

from pico_core.machine.head_budget import HeadBudget


class Holder:
    """A connection with a part of a head; counts how often it was refused."""

    def __init__(self) -> None:
        self.refused = 0

    def head_over_budget(self, now: float) -> None:
        self.refused += 1


def test_the_longest_are_refused_until_an_eighth_is_free() -> None:
    budget = HeadBudget(64)
    holders = [Holder() for _ in range(8)]
    for holder in holders:
        budget.hold(holder, 8, 0.0)
    assert (budget.used_bytes, budget.refused) == (64, 0), "all of it may be used"
    budget.hold(holders[3], 9, 0.0)
    assert [each.refused for each in holders] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert (budget.used_bytes, budget.refused) == (56, 1)


def test_agents_have_16_mib_for_heads() -> None:
    budget = HeadBudget()
    first, second = Holder(), Holder()
    budget.hold(first, 16_777_215, 0.0)
    budget.hold(second, 1, 0.0)
    assert first.refused == 0
    budget.hold(second, 2, 0.0)
    assert (first.refused, second.refused) == (1, 0)


def test_what_was_released_is_not_counted() -> None:
    budget, holder = HeadBudget(64), Holder()
    budget.hold(holder, 60, 0.0)
    budget.release(holder)
    budget.release(holder)
    assert budget.used_bytes == 0
