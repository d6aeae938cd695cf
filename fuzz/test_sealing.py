"""Sealed packets and streams against bytes: what is altered, cut or made up is never taken, and never raises."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pico_core.boundary import SendDatagram
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import Output
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.packets import PacketSeal
from pico_core.gossip.sealing.proofs import Proofs
from pico_core.gossip.sealing.refusals import SealError
from pico_core.gossip.sealing.streams import InboundSeal, OutboundSeal
from pico_core.gossip.sealing.window import WINDOW, Window

KEY = bytes(range(32))
HERE, THERE = ("10.0.0.1", 8003), ("10.0.0.2", 8003)


def seals() -> tuple[PacketSeal, PacketSeal]:
    """Return two seals that know each other's session."""
    outputs: list[Output] = []
    here, there = (PacketSeal(Keyring([KEY]), random.Random(seed), Counters(), outputs.append) for seed in (1, 2))
    there.open(here.seal(b"x", THERE), HERE)
    hello = outputs.pop()
    assert isinstance(hello, SendDatagram)
    here.open(hello.data, THERE)
    again = outputs.pop()
    assert isinstance(again, SendDatagram)
    assert there.open(again.data, HERE) == b"x"
    return here, there


def agreed() -> tuple[OutboundSeal, InboundSeal]:
    client = OutboundSeal(Keyring([KEY]), random.Random(1), Counters())
    server = InboundSeal(Keyring([KEY]), random.Random(2), Counters())
    server.receive(client.hello)
    client.receive(server.take_hello())
    return client, server


@given(st.binary(min_size=1, max_size=1400))
def test_what_is_sealed_is_opened_once(data: bytes) -> None:
    here, there = seals()
    packet = here.seal(data, THERE)
    assert there.open(packet, HERE) == data
    assert there.open(packet, HERE) is None


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xf0\x00", b"\x01\x00", b"\xf0\x00" + Keyring([KEY]).first.id]))
def test_bytes_are_not_taken_for_packets(data: bytes, head: bytes) -> None:
    _, there = seals()
    assert there.open(head + data, HERE) is None


@given(st.binary(min_size=1, max_size=100), st.data())
def test_an_altered_packet_is_not_opened(text: bytes, data: st.DataObject) -> None:
    here, there = seals()
    packet = bytearray(here.seal(text, THERE))
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    assert there.open(bytes(packet), HERE) is None


@given(st.lists(st.binary(min_size=1, max_size=40_000), min_size=1, max_size=4), st.data())
def test_a_stream_may_be_cut_anywhere(parts: list[bytes], data: st.DataObject) -> None:
    client, server = agreed()
    sealed = b"".join(client.seal(part) for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sealed)), max_size=8)))
    pieces = [sealed[start:end] for start, end in zip([0, *cuts], [*cuts, len(sealed)], strict=True)]
    assert b"".join(server.receive(piece) for piece in pieces) == b"".join(parts)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4), st.data())
def test_of_an_altered_stream_only_a_true_beginning_is_taken(parts: list[bytes], data: st.DataObject) -> None:
    client, server = agreed()
    sealed = bytearray(b"".join(client.seal(part) for part in parts))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    taken = b""
    try:
        for at in range(len(sealed)):
            taken += server.receive(bytes(sealed[at : at + 1]))
    except SealError:
        pass
    whole = b"".join(parts)
    assert whole.startswith(taken)
    assert taken != whole


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xf1\x00", b"\x03\x00"]))
def test_bytes_to_a_port_are_refused_or_waited_for(data: bytes, head: bytes) -> None:
    for seal in (
        InboundSeal(Keyring([KEY]), random.Random(1), Counters()),
        OutboundSeal(Keyring([KEY]), random.Random(1), Counters()),
    ):
        with contextlib.suppress(SealError):
            assert seal.receive(head + data) == b""


@given(st.lists(st.integers(1, 3 * WINDOW), max_size=200))
def test_the_window_takes_each_counter_once(counters: list[int]) -> None:
    window, taken, newest = Window(), set(), 0
    for counter in counters:
        expected = counter not in taken and counter > newest - WINDOW
        assert window.take(counter) is expected
        if expected:
            taken.add(counter)
            newest = max(newest, counter)


@given(st.binary(max_size=120) | st.from_regex(rb"[0-9a-f]{32}-[0-9]{1,16}-[0-9a-f]{32}", fullmatch=True))
def test_a_proof_that_is_made_up_counts_for_nothing(proof: bytes) -> None:
    assert not Proofs(Keyring([KEY]), random.Random(1)).takes(proof)


@pytest.mark.parametrize("size", [1, 16_384, 16_385])
def test_the_largest_frame(size: int) -> None:
    client, server = agreed()
    assert server.receive(client.seal(bytes(size))) == bytes(size)
