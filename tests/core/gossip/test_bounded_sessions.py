"""Sessions and packets that a sealed node remembers, at their bounds and one beyond."""

import random

import pytest

from pico_core.boundary import SendDatagram
from pico_core.gossip.address import HostPort
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import Output
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.packets import NO_RECEIVER, PacketSeal
from pico_core.gossip.sealing.proofs import Proofs

KEYRING = Keyring((bytes(range(32)),))
HERE: HostPort = ("10.0.0.1", 8003)
SESSIONS = 8_192
HELD = 256


class Node:
    """A seal, and the packets that it sends by itself."""

    def __init__(self, seed: int) -> None:
        self.outputs: list[Output] = []
        self.seal = PacketSeal(KEYRING, random.Random(seed), Counters(), self.outputs.append)

    def sent(self) -> list[bytes]:
        found = [each.data for each in self.outputs if isinstance(each, SendDatagram)]
        self.outputs.clear()
        return found


def address(number: int) -> HostPort:
    return f"10.1.{number // 256}.{number % 256}", 8003


def meets(here: Node, number: int) -> None:
    """Let another process send a packet, which is told this session first."""
    other = Node(number + 2)
    assert here.seal.open(other.seal.seal(b"x", HERE), address(number)) is None
    (hello,) = here.sent()
    other.seal.open(hello, HERE)
    (again,) = other.sent()
    assert here.seal.open(again, address(number)) == b"x"


def session_and_receiver(here: Node, to: HostPort) -> tuple[bytes, bytes]:
    packet = here.seal.seal(b"x", to)
    return packet[6:18], packet[18:26]


def test_sessions_are_remembered_up_to_a_bound_and_then_this_one_ends() -> None:
    """Without the numbers of a session its packets could be replayed, so all that was sealed for this one is void."""
    here = Node(1)
    own, _ = session_and_receiver(here, ("192.0.2.1", 8003))
    for number in range(SESSIONS):
        meets(here, number)
    session, receiver = session_and_receiver(here, address(0))
    assert session == own
    assert receiver != NO_RECEIVER
    meets(here, SESSIONS)
    session, receiver = session_and_receiver(here, address(0))
    assert session != own
    assert receiver == NO_RECEIVER, "the address that was met first is forgotten"
    assert session_and_receiver(here, address(1))[1] != NO_RECEIVER


@pytest.mark.parametrize("others", [HELD - 1, HELD])
def test_packets_wait_for_a_hello_up_to_a_bound(others: int) -> None:
    here, there = Node(1), Node(2)
    first = here.seal.seal(b"waits", address(0))
    for number in range(1, 1 + others):
        here.seal.seal(b"x", address(number))
    there.seal.open(first, HERE)
    (hello,) = there.sent()
    assert here.seal.open(hello, address(0)) is None
    assert [there.seal.open(each, HERE) for each in here.sent()] == [b"waits"] * (others < HELD)


def test_senders_of_proofs_are_remembered_up_to_a_bound() -> None:
    """Beyond it the node takes another mark, which voids what was made for the one before."""
    here = Proofs(KEYRING, random.Random(1))
    mark = here.mark
    senders = [Proofs(KEYRING, random.Random(number + 2)) for number in range(SESSIONS + 1)]
    assert all(here.takes(each.make(mark)) for each in senders[:SESSIONS])
    assert here.mark == mark
    here.takes(senders[SESSIONS].make(mark))
    assert here.mark != mark
