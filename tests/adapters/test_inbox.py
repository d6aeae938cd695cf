"""Inputs of the program that embeds a driver."""

import os
import signal
import threading
from collections.abc import Iterator

import msgspec
import pytest

from pico_core.boundary import ConfigReloaded, Exit, Input, ShutdownRequested, Tick
from pico_core.errors import LocalProtocolError
from pico_driver.inbox import MAX_WAITING_INPUTS, Inbox
from tests.adapters.machines import Recorder, Server
from tests.adapters.stage import Stage, drive, staged
from tests.adapters.test_lifetime import Signalled, ignore
from tests.waiting import PATIENCE_S


class Numbered(msgspec.Struct, frozen=True):
    """A configuration that is easy to tell from others."""

    source: int
    number: int


def reloaded(number: int, source: int = 0) -> ConfigReloaded:
    return ConfigReloaded(Numbered(source, number))


def heard(machine: Recorder, source: int = 0) -> list[int]:
    """Return the numbers that came from a source, in the order in which the machine got them."""
    configs = [event.config for event in list(machine.events) if isinstance(event, ConfigReloaded)]
    return [config.number for config in configs if isinstance(config, Numbered) and config.source == source]


def test_inputs_put_before_the_start_come_after_the_first_tick_in_their_order(runtime: str) -> None:
    inbox = Inbox()
    for number in range(100):
        inbox.put(reloaded(number))
    with staged(runtime, inbox=inbox) as stage:
        stage.wait_until(lambda: len(heard(stage.machine)) == 100, "all of them")
    assert isinstance(stage.machine.events[0], Tick)
    assert heard(stage.machine) == list(range(100))


def test_inputs_of_another_thread_wake_the_driver(stage: Stage) -> None:
    for number in range(20):
        stage.inbox.put(reloaded(number))
        stage.wait(ConfigReloaded, config=Numbered(0, number))


def test_inputs_of_several_threads_keep_the_order_of_each(stage: Stage) -> None:
    def put(source: int) -> None:
        for number in range(500):
            stage.inbox.put(reloaded(number, source))

    threads = [threading.Thread(target=put, args=(source,)) for source in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    stage.wait_until(lambda: stage.count(ConfigReloaded) == 2_000, "all of them")
    assert [heard(stage.machine, source) for source in range(4)] == [list(range(500))] * 4


def test_inputs_of_the_drivers_own_thread_come_in_a_later_turn(stage: Stage) -> None:
    def put() -> None:
        for number in range(10):
            stage.inbox.put(reloaded(number))
        assert heard(stage.machine) == []

    stage.do(put)
    stage.wait_until(lambda: len(heard(stage.machine)) == 10, "all of them")
    assert heard(stage.machine) == list(range(10))


@pytest.fixture
def notices() -> Iterator[Inbox]:
    """An inbox into which SIGUSR1 puts a request to shut down."""
    inbox = Inbox()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: inbox.put(ShutdownRequested()))
    yield inbox
    signal.signal(signal.SIGUSR1, before)


def test_inputs_of_a_signal_handler(runtime: str, notices: Inbox) -> None:
    assert drive(runtime, Signalled(signal.SIGUSR1), ignore, notices) == Exit(3, "asked to")


def test_a_signal_handler_that_interrupts_put_does_not_block(notices: Inbox) -> None:
    """The signal comes while ``put`` calls the driver's ``wake``."""
    interrupted: list[bool] = []

    def wake() -> None:
        if not interrupted:
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGUSR1)

    notices.open(wake)
    notices.put(reloaded(1))
    assert notices.take() == [reloaded(1), ShutdownRequested()]


def test_an_inbox_that_is_full_refuses_more_until_the_driver_takes_them(runtime: str) -> None:
    inbox = Inbox()
    for number in range(MAX_WAITING_INPUTS):
        inbox.put(reloaded(number))
    with pytest.raises(LocalProtocolError, match="the inbox is full: 4096 inputs wait for the driver"):
        inbox.put(reloaded(-1))
    with staged(runtime, inbox=inbox) as stage:
        stage.wait_until(lambda: len(heard(stage.machine)) == MAX_WAITING_INPUTS, "all of them")
        inbox.put(reloaded(MAX_WAITING_INPUTS))
        stage.wait(ConfigReloaded, config=Numbered(0, MAX_WAITING_INPUTS))
    assert heard(stage.machine) == list(range(MAX_WAITING_INPUTS + 1))


def test_after_the_end_inputs_are_refused(runtime: str) -> None:
    with staged(runtime) as stage:
        stage.do(lambda: stage.inbox.put(reloaded(1)), Exit(0, "done"))
        assert stage.ended() == Exit(0, "done")
        with pytest.raises(LocalProtocolError, match="the driver has ended"):
            stage.inbox.put(reloaded(2))
    assert heard(stage.machine) == [], "the machine hears nothing after Exit"


class Deaf(Recorder):
    """Fails when it gets an input of the embedding program."""

    def handle(self, event: Input, now: float) -> None:
        if isinstance(event, ConfigReloaded):
            raise ZeroDivisionError
        super().handle(event, now)


def test_a_machine_that_fails_at_such_an_input_ends_the_driver(runtime: str) -> None:
    with staged(runtime, Deaf()) as stage:
        stage.inbox.put(reloaded(1))
        assert isinstance(stage.ended(), ZeroDivisionError)


def test_an_inbox_serves_one_driver(stage: Stage) -> None:
    with pytest.raises(LocalProtocolError, match="an inbox serves one driver, once"):
        drive(stage.runtime, Server(), ignore, stage.inbox)
    stage.inbox.put(reloaded(1))
    stage.wait(ConfigReloaded, config=Numbered(0, 1))
