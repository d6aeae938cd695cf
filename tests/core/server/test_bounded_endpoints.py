"""What a node remembers of endpoints that clients ask for, at its bounds and one beyond."""

from typing import Any

import pytest

from pico_core.config.ports import ProxyConfig
from pico_core.server.retries import RetryBudget
from pico_core.server.routeless import Routeless
from pico_core.timers import Timers

ENDPOINTS = 4_096


class Host:
    """The part of the machine that waiting needs."""

    def __init__(self) -> None:
        self.timers = Timers()


@pytest.mark.parametrize("others", [ENDPOINTS - 1, ENDPOINTS])
def test_used_budgets_of_retries_are_remembered_up_to_a_bound(others: int) -> None:
    budget = RetryBudget()
    while budget.has_left("e1"):
        budget.take("e1")
    for number in range(others):
        budget.take(f"other-{number}")
    assert budget.has_left("e1") is (others == ENDPOINTS)


@pytest.mark.parametrize("others", [ENDPOINTS - 1, ENDPOINTS])
def test_lost_endpoints_are_remembered_up_to_a_bound(others: int) -> None:
    nothing: Any = None
    routeless = Routeless(Host(), {}, nothing, nothing)
    routeless.configure(ProxyConfig())
    routeless.lost("e1", 1.0)
    for number in range(others):
        routeless.lost(f"other-{number}", 1.0)
    assert routeless.was_lost("e1", 1.1) is (others < ENDPOINTS)
