"""The driver's checks: a machine that breaks the contract of ``pico_core.boundary`` is found at that command."""

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Command,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Input,
    Listen,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendDatagram,
    SendEof,
)
from tests.sim.hand import Hand
from tests.sim.script import Script
from tests.sim.world import Violation


class Answering(Script):
    """A script that gives commands as soon as it is told of the loss of a connection."""

    def __init__(self, *upon_loss: Command) -> None:
        super().__init__()
        self._upon_loss = upon_loss

    def handle(self, event: Input, now: float) -> None:
        super().handle(event, now)
        if isinstance(event, ConnectionLost):
            self.commands += self._upon_loss


def accepted(script: Script) -> Hand:
    """Return a driver of a machine with connection 1."""
    hand = Hand(script)
    assert hand.accept("port") == 1
    return hand


def gives(hand: Hand, script: Script, *commands: Command) -> None:
    script.commands += commands
    hand.finish_turn()


@pytest.mark.parametrize(
    ("commands", "finding"),
    [
        ((Send(3, b"x"),), "names a connection that never was"),
        ((Connect(1, "host", 80, 5.0),), "asks for a connection under a used number"),
        ((Connect(2, "host", 80, 5.0), Connect(2, "host", 80, 5.0)), "asks for a connection under a used number"),
        ((Connect(2, "host", 80, 5.0), Send(2, b"x")), "names a connection that never was"),
        ((SendEof(1), Send(1, b"x")), "sends after its own end of stream"),
        ((SendEof(1), SendEof(1)), "sends a second end of stream"),
        ((Close(1), Send(1, b"x")), "has closed the connection before"),
        ((Close(1), Close(1)), "has closed the connection before"),
        ((Abort(1), Close(1)), "has aborted the connection before"),
        ((Abort(1), Abort(1)), "has aborted the connection before"),
        ((PauseReading(1), PauseReading(1)), "has paused the connection before"),
        ((ResumeReading(1),), "has not paused the connection"),
        ((SendDatagram("gossip", bytes(1401), "10.0.0.1", 8003),), "I9: sends a datagram of 1401 bytes"),
    ],
)
def test_a_command_that_breaks_the_contract_is_found(commands: tuple[Command, ...], finding: str) -> None:
    script = Script()
    hand = accepted(script)
    with pytest.raises(Violation, match=f"machine {finding}"):
        gives(hand, script, *commands)


def test_a_command_after_the_loss_is_found() -> None:
    script = Answering(Close(1))
    with pytest.raises(Violation, match="was told that the connection is gone"):
        accepted(script).lose(1)


def test_a_command_that_crossed_with_the_loss_is_none_of_these() -> None:
    script = Script()
    hand = accepted(script)
    hand.forget(1)
    gives(hand, script, Send(1, b"x"), Close(1))
    hand.tell(ConnectionLost(1, "reset"))
    with pytest.raises(Violation, match="was told that the connection is gone"):
        gives(hand, script, Abort(1))


def test_a_command_from_an_earlier_input_of_the_same_turn_is_none_of_these() -> None:
    script = Answering(Close(1))
    hand = accepted(script)
    hand.handle(Received(1, b"x"))
    hand.lose(1)
    assert script.told[2:] == [Received(1, b"x"), ConnectionLost(1, "reset")]


def test_answers_come_after_all_commands_of_the_turn() -> None:
    script = Script()
    hand = accepted(script)
    gives(hand, script, Listen("port", "", 80), Send(1, b"x"), Listen("other", "", 81))
    assert script.told[2:] == [Listening("port", "127.0.0.1", 80), Listening("other", "127.0.0.1", 81)]
    assert hand.ends[1].output == b"x"


def test_a_dial_is_answered_though_it_was_aborted() -> None:
    script = Script()
    hand = accepted(script)
    gives(hand, script, Connect(2, "host", 80, 5.0), Abort(2))
    hand.answer_dial(2, succeeds=False)
    assert script.told[2:] == [ConnectFailed(2, "refused")]


def test_a_dial_may_still_succeed_after_its_abort() -> None:
    script = Script()
    hand = accepted(script)
    gives(hand, script, Connect(2, "host", 80, 5.0), Abort(2))
    hand.answer_dial(2, succeeds=True)
    gives(hand, script, Abort(2))
    hand.lose(2)
    assert script.told[2:] == [Connected(2, "192.0.2.9", 80), ConnectionLost(2, "reset")]


def test_a_dial_may_be_given_up_in_the_turn_that_opens_it() -> None:
    script = Script()
    hand = accepted(script)
    gives(hand, script, Connect(2, "host", 80, 5.0))
    script.commands += (Abort(2), Abort(2))
    hand.answer_dial(2, succeeds=True)
    with pytest.raises(Violation, match="has aborted the connection before"):
        gives(hand, script, Abort(2), Abort(2))


def test_a_machine_that_raises_is_found() -> None:
    class Raising(Script):
        def handle(self, event: Input, now: float) -> None:
            raise KeyError(event)

    with pytest.raises(Violation, match=r"raised KeyError\(Tick\(.*\)\) on Tick\(.*\)"):
        Hand(Raising())
