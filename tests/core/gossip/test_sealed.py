"""Gossip under a key: literal bytes, and what happens to packets and streams that are not meant for the receiver."""

import contextlib
import random

import pytest

from pico_core.boundary import SendDatagram
from pico_core.errors import LocalProtocolError
from pico_core.gossip.counters import Counters
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import Output, SealRefused
from pico_core.gossip.keys import LEFT_KEY
from pico_core.gossip.sealing.keys import TAG_BYTES, Keyring
from pico_core.gossip.sealing.packets import NO_RECEIVER, OVERHEAD_BYTES, PacketSeal
from pico_core.gossip.sealing.proofs import Proofs
from pico_core.gossip.sealing.refusals import ALTERED, NO_KEY_THERE, OTHER_KEY, SealError
from pico_core.gossip.sealing.streams import LENGTH_BYTES, InboundSeal, OutboundSeal
from pico_core.gossip.sealing.window import WINDOW, Window
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import Entry, WireError
from tests.core.gossip.plays import (
    HOSTS,
    A,
    B,
    accepted,
    delta,
    digest,
    drain,
    engine,
    entries_of,
    events,
    joined,
    status_of,
)
from tests.gossip_streams import packed_state, received

KEY, NEXT, OTHER = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
HERE, THERE = ("10.0.0.1", 8003), ("10.0.0.2", 8003)


class End:
    """A seal, with what it emits and counts."""

    def __init__(self, seed: int, *keys: bytes) -> None:
        self.keyring = Keyring(keys or (KEY,))
        self.counters = Counters()
        self.outputs: list[Output] = []
        self.seal = PacketSeal(self.keyring, random.Random(seed), self.counters, self.outputs.append)

    def sent(self) -> list[bytes]:
        found = [each.data for each in self.outputs if isinstance(each, SendDatagram)]
        self.outputs.clear()
        return found


def met() -> tuple[End, End]:
    """Return two ends that know each other's session: ``here`` has sent, was answered by a hello, and sent again."""
    here, there = End(1), End(2)
    assert there.seal.open(here.seal.seal(b"first", THERE), HERE) is None
    (hello,) = there.sent()
    assert len(hello) == OVERHEAD_BYTES
    assert here.seal.open(hello, THERE) is None
    (again,) = here.sent()
    assert there.seal.open(again, HERE) == b"first"
    return here, there


# --- bytes ---


def test_the_layout_of_a_packet() -> None:
    """Golden bytes: key ID, session, receiver, number, then the text and its tag."""
    here = End(1)
    packet = here.seal.seal(b"hello", THERE)
    assert packet[:2] == b"\xf0\x00"
    assert packet[2:6] == here.keyring.first.id == bytes.fromhex("a12ad4a4")
    assert packet[18:26] == NO_RECEIVER
    assert packet[26:32] == b"\x00\x00\x00\x00\x00\x01"
    assert len(packet) == 5 + OVERHEAD_BYTES
    assert packet.hex() == (
        "f000a12ad4a4d8f16adf91b7584a2265b1f500000000000000000000000000019d317dae35aca3ae2286709f20e199b0c36cc5be96"
    )


def test_the_layout_of_a_stream() -> None:
    """Golden bytes: hellos, then frames with a length before each."""
    client = OutboundSeal(Keyring([KEY]), random.Random(1), Counters())
    server = InboundSeal(Keyring([KEY]), random.Random(2), Counters())
    assert client.hello.hex() == ("f100a12ad4a4cd613e30d8f16adf91b7584a2265b1f5")
    assert server.receive(client.hello) == b""
    hello = server.take_hello()
    assert client.receive(hello) == b""
    frame = client.seal(b"request")
    assert len(frame) == LENGTH_BYTES + len(b"request") + TAG_BYTES
    assert frame.hex() == ("00176de63a2ff5e325857dfea97d02b2d2acb4c0052659c1a1")
    assert server.receive(frame) == b"request"
    assert client.receive(server.seal(b"answer")) == b"answer"


# --- packets ---


def test_what_was_met_is_sealed_for_it_at_once() -> None:
    here, there = met()
    assert there.seal.open(here.seal.seal(b"second", THERE), HERE) == b"second"
    assert here.seal.open(there.seal.seal(b"third", HERE), THERE) == b"third"
    assert here.outputs == there.outputs == []


def test_a_replayed_packet_is_dropped() -> None:
    here, there = met()
    packet = here.seal.seal(b"x", THERE)
    assert there.seal.open(packet, HERE) == b"x"
    assert there.seal.open(packet, HERE) is None
    assert there.counters.replays_refused == 1
    assert there.outputs == []


def test_a_reflected_packet_is_dropped() -> None:
    here, _ = met()
    assert here.seal.open(here.seal.seal(b"x", THERE), THERE) is None
    assert here.counters.replays_refused == 1


def test_a_packet_for_another_node_is_answered_by_a_hello_and_not_taken() -> None:
    here, _ = met()
    third = End(3)
    assert third.seal.open(here.seal.seal(b"x", THERE), HERE) is None
    assert third.counters.seals_for_others == 1
    assert [len(each) for each in third.sent()] == [OVERHEAD_BYTES]


def test_what_was_recorded_before_a_restart_is_worth_nothing_after_it() -> None:
    here, there = met()
    recorded = [here.seal.seal(b"%d" % number, THERE) for number in range(3)]
    assert there.seal.open(recorded[0], HERE) == b"0"
    restarted = End(4)
    for packet in recorded:
        assert restarted.seal.open(packet, HERE) is None
    hellos = restarted.sent()
    assert len(hellos) == 3
    assert here.seal.open(hellos[0], THERE) is None
    assert restarted.seal.open(here.seal.seal(b"new", THERE), HERE) == b"new"


def test_a_restarted_sender_is_not_locked_out() -> None:
    _, there = met()
    restarted = End(5)
    assert there.seal.open(restarted.seal.seal(b"new", THERE), HERE) is None
    (hello,) = there.sent()
    restarted.seal.open(hello, THERE)
    (again,) = restarted.sent()
    assert there.seal.open(again, HERE) == b"new"


@pytest.mark.parametrize("at", [2, 6, 18, 26, 31, 32, 40, -1])
def test_an_altered_packet_is_dropped(at: int) -> None:
    here, there = met()
    packet = bytearray(here.seal.seal(b"some text", THERE))
    packet[at] ^= 1
    assert there.seal.open(bytes(packet), HERE) is None
    assert there.counters.seals_refused == 1
    assert there.outputs == [SealRefused("10.0.0.1", OTHER_KEY if at == 2 else ALTERED)]


def test_a_truncated_packet_is_dropped() -> None:
    here, there = met()
    packet = here.seal.seal(b"some text", THERE)
    for size in range(len(packet)):
        assert there.seal.open(packet[:size], HERE) is None
    assert not there.sent()


def test_a_node_without_a_key_is_told_of() -> None:
    _, there = met()
    assert there.seal.open(writing.digest_head("a", A, request=True), HERE) is None
    assert there.outputs == [SealRefused("10.0.0.1", NO_KEY_THERE)]
    assert there.counters.unsealed == 1


def test_keys_are_changed_while_packets_are_on_their_way() -> None:
    here, there = met()
    there.keyring.take([KEY, NEXT])
    there.seal.keys_changed()
    before = here.seal.seal(b"old key", THERE)
    here.keyring.take([NEXT, KEY])
    here.seal.keys_changed()
    after = here.seal.seal(b"new key", THERE)
    assert there.seal.open(after, HERE) == b"new key"
    assert there.seal.open(before, HERE) == b"old key"
    assert there.seal.open(after, HERE) is None
    there.keyring.take([NEXT])
    there.seal.keys_changed()
    assert there.seal.open(here.seal.seal(b"x", THERE), HERE) == b"x"


def test_numbers_that_are_used_up_begin_anew_in_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that came twice under one session would give away what was sealed with it."""
    here, there = met()
    monkeypatch.setattr(here.seal, "_counter", (1 << 48) - 2)  # all but one: nobody can wait for so many packets
    last, first = here.seal.seal(b"last", THERE), here.seal.seal(b"first", THERE)
    assert (last[26:32], first[26:32]) == (b"\xff" * 6, b"\0\0\0\0\0\1")
    assert last[6:18] != first[6:18]
    assert [there.seal.open(each, HERE) for each in (last, first)] == [b"last", b"first"]


def test_the_window() -> None:
    window = Window()
    assert [window.take(each) for each in (1, 3, 2, 3, 1)] == [True, True, True, False, False]
    assert window.take(5000)
    assert [window.take(each) for each in (5000 - WINDOW, 5001 - WINDOW, 4999, 4999)] == [False, True, True, False]


# --- streams ---


def agreed() -> tuple[OutboundSeal, InboundSeal]:
    client = OutboundSeal(Keyring([KEY]), random.Random(1), Counters())
    server = InboundSeal(Keyring([OTHER, KEY]), random.Random(2), Counters())
    server.receive(client.hello)
    client.receive(server.take_hello())
    return client, server


def test_long_data_is_cut_into_frames_that_may_come_in_any_pieces() -> None:
    client, server = agreed()
    data = random.Random(1).randbytes(100_000)
    sealed = client.seal(data)
    pieces = [sealed[at : at + 777] for at in range(0, len(sealed), 777)]
    assert b"".join(server.receive(each) for each in pieces) == data


def test_frames_that_are_repeated_left_out_moved_or_turned_round_do_not_open() -> None:
    for order in ((0, 0), (1,), (1, 0)):
        client, server = agreed()
        frames = [client.seal(b"first"), client.seal(b"second")]
        with pytest.raises(SealError, match="does not open"):
            server.receive(b"".join(frames[number] for number in order))
    client, server = agreed()
    with pytest.raises(SealError, match="does not open"):
        client.receive(client.seal(b"x"))


def test_a_recorded_stream_does_not_open_again() -> None:
    client, _ = agreed()
    recorded = client.hello + client.seal(b"request")
    again = InboundSeal(Keyring([KEY]), random.Random(9), Counters())
    with pytest.raises(SealError, match="does not open"):
        again.receive(recorded)


def test_a_stream_under_another_key_is_refused_by_both_ends() -> None:
    client = OutboundSeal(Keyring([KEY]), random.Random(1), Counters())
    server = InboundSeal(Keyring([OTHER]), random.Random(2), Counters())
    with pytest.raises(SealError, match=OTHER_KEY) as refused:
        server.receive(client.hello)
    with pytest.raises(SealError, match=OTHER_KEY):
        client.receive(refused.value.answer)


def test_a_stream_to_a_node_without_a_key_is_told_by_both_ends() -> None:
    plain = engine("a")
    plain.start(A, 0.0)
    client = OutboundSeal(Keyring([KEY]), random.Random(1), Counters())
    with pytest.raises(SealError, match="this node too") as refused:
        received(accepted(plain, HOSTS["b"], 0.1), client.hello, 0.1)
    with pytest.raises(SealError, match="there too"):
        client.receive(refused.value.answer)


def test_a_stream_without_a_key_is_told_by_both_ends() -> None:
    sealed = sealed_engine("a")
    joining = writing.join_request("b", B, packed_state("b", B, []), [])
    with pytest.raises(SealError, match="there too"):
        received(accepted(sealed, HOSTS["b"], 0.1), joining, 0.1)
    assert sealed.counters.unsealed == 1


# --- proofs ---


def test_a_proof_counts_once_and_for_one_process() -> None:
    here, there = Proofs(Keyring([KEY]), random.Random(1)), Proofs(Keyring([OTHER, KEY]), random.Random(2))
    proof = here.make(there.mark)
    assert not here.takes(proof)
    assert not Proofs(Keyring([KEY]), random.Random(3)).takes(proof)
    assert there.takes(proof)
    assert not there.takes(proof)
    assert not Proofs(Keyring([NEXT]), random.Random(2)).takes(here.make(there.mark))
    assert not there.takes(here.make(there.mark)[:-1] + b"x")
    assert not there.takes(b"")


# --- the engine ---


def sealed_engine(name: str, *keys: bytes) -> Gossip:
    made = Gossip(name, entropy=random.Random(name), keys=keys or (KEY,))
    made.start(f"{HOSTS[name]}:8003", 0.0)
    return made


def test_whether_there_are_keys_cannot_change() -> None:
    with pytest.raises(LocalProtocolError):
        engine("a").take_keys([KEY])
    with pytest.raises(LocalProtocolError):
        sealed_engine("a").take_keys([])
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        sealed_engine("a").take_keys([b"short"])


ATTACKS = (
    ("endpoint:e1", "9", 3),
    (LEFT_KEY, "", 3),
    ("proxy_addr", "192.0.2.66:8000", 1 << 61),
)
"""Those of a stranger: it takes an endpoint over, removes a node, and writes what the node itself can never replace."""


@pytest.mark.parametrize(("key", "value", "version"), ATTACKS)
@pytest.mark.parametrize("source", ["192.0.2.66", "10.0.0.2"])
def test_a_stranger_changes_nothing_of_another_node(key: str, value: str, version: int, source: str) -> None:
    """Over UDP and TCP, from an address of its own; over UDP also from the node's own host and another port."""
    first, _ = joined()
    before = entries_of(first, "b")
    packed = writing.pack_entry(Entry(key, value, version, key == LEFT_KEY, False))
    news = writing.delta_head("b", B) + writing.delta_node("b", B, 1, 2) + packed
    first.receive_datagram(news, source, 9999, 0.2)
    first.receive_datagram(digest("b", B), source, 9999, 0.2)
    if source != "10.0.0.2":
        state = packed_state("b", B, [packed])
        for data in (writing.leave_request("b", B, state), writing.join_request("b", B, state, [])):
            with contextlib.suppress(WireError):  # a version out of bounds
                received(accepted(first, source, 0.2), data, 0.2)
    assert events(drain(first)) == []
    assert entries_of(first, "b") == before
    assert status_of(first, "b") == "active"


@pytest.mark.parametrize(("key", "value", "version"), ATTACKS)
@pytest.mark.parametrize("source", ["192.0.2.66", "10.0.0.2"])
def test_a_stranger_changes_nothing_where_there_is_a_key(key: str, value: str, version: int, source: str) -> None:
    """Also from the exact address of the node."""
    first = sealed_engine("a")
    entry = Entry(key, value, version, key == LEFT_KEY, False)
    drain(first)
    for data in (delta("b", B, "b", B, entry), digest("b", B)):
        first.receive_datagram(data, source, 8003, 0.2)
    assert drain(first) == [SealRefused(source, NO_KEY_THERE)] * 2
    assert status_of(first, "b") is None


def test_versions_above_the_bound_are_refused() -> None:
    first, _ = joined()
    entry = Entry("proxy_addr", "192.0.2.66:8000", (1 << 53) + 1, False, False)
    first.receive_datagram(delta("b", B, "b", B, entry), "10.0.0.2", 8003, 0.2)
    assert first.counters.malformed == 1
    assert [each.value for each in entries_of(first, "b") if each.key == "proxy_addr"] == ["10.0.0.2:8000"]
