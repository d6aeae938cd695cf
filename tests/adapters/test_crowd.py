"""Many connections of one client at once, and a client that comes alone behind them."""

import socket
import threading

import pytest

from pico_core.boundary import Accepted, StopListening
from pico_driver import listeners
from pico_driver.sockets import ACCEPTS_PER_TURN
from tests.adapters.stage import Stage
from tests.waiting import PATIENCE_S, wait_until

MANY = 400
OTHER = "127.0.0.66"


def come(stage: Stage, port: int, count: int, host: str = OTHER) -> list[socket.socket]:
    """Connect so many peers from one address."""
    return [
        stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S, source_address=(host, 0)))
        for _ in range(count)
    ]


def hold(stage: Stage) -> threading.Event:
    """Have the driver do nothing until the event is set: peers wait in the kernel meanwhile."""
    began, over = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert over.wait(PATIENCE_S)

    stage.do(wait)
    assert began.wait(PATIENCE_S)
    return over


def hosts(stage: Stage) -> list[str]:
    """Return where the connections came from, in the order in which the machine was told of them."""
    return [event.host for event in stage.machine.events if isinstance(event, Accepted)]


def test_a_client_that_comes_alone_does_not_wait_for_the_many_of_another(stage: Stage) -> None:
    port = stage.listen()
    over = hold(stage)
    come(stage, port, MANY)
    come(stage, port, 1, "127.0.0.1")
    come(stage, port, MANY)
    over.set()
    wait_until(lambda: len(hosts(stage)) == 2 * MANY + 1, "all are accepted")
    assert hosts(stage).index("127.0.0.1") <= ACCEPTS_PER_TURN + 1


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_all_are_accepted_also_where_descriptors_are_few(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    monkeypatch.setattr(listeners, "GATHERED_PART", part)
    port = stage.listen()
    over = hold(stage)
    come(stage, port, MANY)
    over.set()
    wait_until(lambda: len(hosts(stage)) == MANY, "all are accepted")
    come(stage, port, 1, "127.0.0.1")
    wait_until(lambda: hosts(stage)[-1] == "127.0.0.1", "and those that come later")


def test_those_that_wait_when_a_listener_stops_are_accepted(stage: Stage) -> None:
    port = stage.listen()
    over = hold(stage)
    come(stage, port, MANY)
    stage.do(StopListening("tcp"))
    over.set()
    wait_until(lambda: len(hosts(stage)) == MANY, "all are accepted")
