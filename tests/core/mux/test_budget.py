"""The budget for streams that a peer opens without a use."""

from pico_core.mux.budget import ResetBudget

BURST = 4_096


def test_a_burst_is_allowed_and_not_one_more() -> None:
    budget = ResetBudget()
    assert [budget.spend(0.0) for _ in range(BURST)] == [True] * BURST
    assert budget.spend(0.0) is False


def test_a_spent_budget_grows_by_a_thousand_a_second() -> None:
    budget = ResetBudget()
    for _ in range(BURST):
        budget.spend(0.0)
    assert [budget.spend(0.5) for _ in range(501)] == [True] * 500 + [False]


def test_a_budget_never_grows_beyond_the_burst() -> None:
    budget = ResetBudget()
    assert [budget.spend(1_000_000.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
