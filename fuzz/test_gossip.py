"""Gossip against bytes: round trips, cuts, random bytes, and what strangers can do to an engine."""

import random
from collections.abc import Callable

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from pico_core.boundary import SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import Output
from pico_core.gossip.state import Budget, LocalState, NodeState
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import StreamReader, decode_datagram
from pico_core.gossip.wire.records import (
    JOIN,
    LEAVE,
    MAX_NODES,
    MAX_VERSION,
    Delta,
    Digest,
    DigestEntry,
    Entry,
    FullState,
    NodeDelta,
    WireError,
)
from pico_core.gossip.wire.walker import Walker
from tests.core.gossip.plays import prove
from tests.gossip_streams import digest_entries_of, packed_state, states_of, walked

ids = st.text(min_size=1, max_size=40)
addrs = st.text(max_size=40)
versions = st.integers(0, MAX_VERSION)
digest_entries = st.builds(DigestEntry, ids, addrs, versions, st.booleans())
entries = st.builds(Entry, st.text(max_size=60), st.text(max_size=60), versions, st.booleans(), st.booleans())
digests = st.builds(Digest, ids, addrs, st.booleans(), st.lists(digest_entries, max_size=30))
node_deltas = st.builds(NodeDelta, ids, addrs, st.lists(entries, max_size=10), st.none() | versions)
deltas = st.builds(Delta, ids, addrs, st.lists(node_deltas, max_size=6))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=40,
)


def written(message: Digest | Delta) -> bytes:
    if isinstance(message, Digest):
        data = writing.digest_head(message.node_id, message.addr, request=message.request)
        return data + b"".join(writing.digest_entry(e.id, e.addr, e.version, left=e.left) for e in message.entries)
    data = writing.delta_head(message.node_id, message.addr)
    for node in message.nodes:
        data += writing.delta_node(node.id, node.addr, len(node.entries), node.after)
        data += b"".join(map(writing.pack_entry, node.entries))
    return data


@given(digests | deltas)
def test_what_is_written_is_read(message: Digest | Delta) -> None:
    assert decode_datagram(written(message)) == message


def check_cut(error: WireError, length: int, whole: bytes) -> None:
    assert length < len(whole)
    assert str(error)


@given(digests | deltas, st.data())
def test_a_cut_datagram_is_a_beginning(message: Digest | Delta, data: st.DataObject) -> None:
    whole = written(message)
    length = data.draw(st.integers(0, len(whole)))
    try:
        cut = decode_datagram(whole[:length])
    except WireError as error:
        check_cut(error, length, whole)
        return
    assert (cut.node_id, cut.addr) == (message.node_id, message.addr)
    if isinstance(cut, Digest):
        assert isinstance(message, Digest)
        assert cut.entries == message.entries[: len(cut.entries)]
    else:
        assert isinstance(message, Delta)
        for ours, theirs in zip(cut.nodes, message.nodes, strict=False):
            assert ours.id == theirs.id
            assert ours.entries == theirs.entries[: len(ours.entries)]


@given(st.lists(values, max_size=8), st.data())
def test_the_walker_agrees_with_a_whole_decoder(parts: list[object], data: st.DataObject) -> None:
    packed = [msgspec.msgpack.encode(part) for part in parts]
    whole = b"".join(packed)
    walker = Walker(0)
    length = 0
    while length < len(whole):
        length = data.draw(st.integers(length + 1, len(whole)))
        walker.walk(whole[:length], 1 << 20)
    assert walker.whole == len(parts)
    assert walker.whole_end == len(whole)


def outcome_of(decode: Callable[[bytes], object], data: bytes) -> object:
    """Return what was decoded, or the error that says why not."""
    try:
        return decode(data)
    except WireError as error:
        return error


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x01\x00", b"\x02\x00", b"\x01\x00\x83", b"\x02\x00\x83\xa7node_id"]),
)
def test_random_bytes_raise_nothing_else(tail: bytes, head: bytes) -> None:
    assert isinstance(outcome_of(decode_datagram, head + tail), Digest | Delta | WireError)


@given(digests | deltas, st.data())
def test_broken_datagrams_raise_nothing_else(message: Digest | Delta, data: st.DataObject) -> None:
    broken = bytearray(written(message))
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(outcome_of(decode_datagram, bytes(broken)), Digest | Delta | WireError)


@given(ids, addrs, st.lists(entries, max_size=10), st.lists(digest_entries, max_size=10), st.lists(st.integers(1, 50)))
def test_streams_in_any_pieces(
    node_id: str, addr: str, own: list[Entry], listed: list[DigestEntry], steps: list[int]
) -> None:
    state = packed_state(node_id, addr, [writing.pack_entry(each) for each in own])
    digest = [writing.digest_entry(e.id, e.addr, e.version, left=e.left) for e in listed]
    data = writing.join_request(node_id, addr, state, digest)
    reader = StreamReader(is_request=True, max_bytes=1 << 20)
    for step in steps:
        piece, data = data[:step], data[step:]
        if piece:
            assert walked(reader, piece) == (not data)
    if data:
        assert walked(reader, data)
    assert reader.sender() == (node_id, addr)
    assert states_of(reader) == [FullState(node_id, addr, own)]
    assert digest_entries_of(reader) == listed


@given(st.binary(max_size=200), st.sampled_from([b"", JOIN, LEAVE, JOIN + b"\x82\xa7node_id"]))
def test_random_streams_raise_nothing_else(tail: bytes, head: bytes) -> None:
    for is_request in (True, False):
        reader = StreamReader(is_request=is_request, max_bytes=150)

        def read(data: bytes, reader: StreamReader = reader) -> object:
            return (reader.sender(), states_of(reader), digest_entries_of(reader)) if walked(reader, data) else None

        outcome = outcome_of(read, head + tail)
        assert isinstance(outcome, WireError | tuple) or outcome is None


writes = st.lists(
    st.tuples(st.sampled_from(["set", "set", "set", "delete", "jump"]), st.integers(0, 9), st.text(max_size=3))
)


@given(st.lists(st.tuples(writes, st.integers(0, 12)), max_size=12))
def test_a_peer_that_takes_deltas_cut_anywhere_has_no_gap(
    history: list[tuple[list[tuple[str, int, str]], int]],
) -> None:
    """I2: at version v, a peer holds exactly what the owner wrote up to v and has not overwritten since."""
    owner, peer = LocalState(Budget(1 << 30)), NodeState(Budget(1 << 30))
    for batch, taken in history:
        for act, key, value in batch:
            if act == "set":
                owner.set(f"k{key}", value)
            elif act == "delete":
                owner.delete(f"k{key}")
            else:
                owner.supersede(owner.version + key)
        delta = owner.after(peer.version)
        assert peer.follows(delta, peer.version)
        peer.apply(delta[:taken])
        held = set(peer.entries.values())
        assert all(entry in held for entry in owner.entries.values() if entry.version <= peer.version)
    peer.apply(owner.after(peer.version))
    assert peer.entries == owner.entries
    assert list(peer.entries) == list(owner.entries)


HOSTS = ("10.0.0.2", "10.0.0.3", "10.0.0.99")
names = st.sampled_from(["a", "b", "c", "d", "e\n", "\u00e9" * 250])
places = st.sampled_from(["10.0.0.1:8003", "10.0.0.2:8003", "10.0.0.3:8003", "[::1]:80", "pico:8003", "", ":"])
internal_keys = ["left", "compact", "pico:silent", "pico:version", "pico:draining"]
keys = st.sampled_from(["proxy_addr", "endpoint:e", "", *(f"_internal:{key}" for key in internal_keys)])
some_versions = st.integers(0, 12) | st.sampled_from([1 << 40, 1 << 53, MAX_VERSION])
some_entries = st.builds(
    Entry, keys, st.sampled_from(["", "1", "9", "a\nb\nc"]), some_versions, st.booleans(), st.booleans()
)
some_digest_entries = st.builds(DigestEntry, names, places, some_versions, st.booleans())
some_digests = st.builds(Digest, names, places, st.booleans(), st.lists(some_digest_entries, max_size=6))
some_deltas = st.builds(
    Delta,
    names,
    places,
    st.lists(
        st.builds(NodeDelta, names, places, st.lists(some_entries, max_size=6), st.none() | some_versions), max_size=3
    ),
)
acts = st.lists(
    st.tuples(
        st.sampled_from(HOSTS),
        some_digests | some_deltas | st.binary(max_size=30),
        st.sampled_from([0.0, 0.1, 3.0, 70.0]),
    ),
    max_size=25,
)


def drain(engine: Gossip) -> list[Output]:
    outputs = []
    while (output := engine.poll()) is not None:
        outputs.append(output)
    return outputs


@given(acts)
def test_whatever_strangers_send_the_engine_keeps_its_own_state_and_its_bounds(
    history: list[tuple[str, Digest | Delta | bytes, float]],
) -> None:
    engine = Gossip("a", entropy=random.Random(1))
    engine.set_endpoint("mine", 1, 0.0)
    engine.start("10.0.0.1:8003", 0.0)
    now = 0.0
    for host, message, pause_s in history:
        data = message if isinstance(message, bytes) else written(message)
        engine.receive_datagram(data, host, 8003, now)
        replies = [each for each in drain(engine) if isinstance(each, SendDatagram) and each.host == host]
        assert len(replies) <= 4
        assert all(len(each.data) <= 1400 for each in replies)
        end = now + pause_s
        while now < end:
            now += min(0.5, pause_s)
            engine.tick(now)
        drain(engine)
        own = {entry.key: entry.value for entry in engine.entries("a") or ()}
        assert own["endpoint:mine"] == "1"
        assert "_internal:left" not in own
        assert len(engine.snapshot(now)) <= MAX_NODES


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x01\x00", b"\x02\x00\x83\xa7node_id\xa1b\xa4addr\xad10.0.0.2:8003"]),
)
def test_random_bytes_change_no_third_node(tail: bytes, head: bytes) -> None:
    """I9"""
    engine = Gossip("a", entropy=random.Random(1))
    engine.start("10.0.0.1:8003", 0.0)
    prove(engine, "c", "10.0.0.3:8003", at=0.0)
    before = engine.entries("c")
    engine.receive_datagram(head + tail, "10.0.0.2", 8003, 0.1)
    assert engine.entries("c") == before
    assert {row.id: row.status for row in engine.snapshot(0.1)}["c"] == "active"


@given(some_digests)
@example(
    Digest(
        "b",
        "10.0.0.2:8003",
        False,
        [DigestEntry("a", "10.0.0.1:8003", 0, False), DigestEntry("c", "10.0.0.2:8003", 0, False)],
    )
)
def test_strangers_get_no_more_than_they_sent(digest: Digest) -> None:
    engine = Gossip("a", entropy=random.Random(1))
    for number in range(20):
        engine.set_endpoint(f"endpoint-{number}", 1, 0.0)
    engine.start("10.0.0.1:8003", 0.0)
    data = written(digest)
    engine.receive_datagram(data, "10.0.0.2", 8003, 0.1)
    replies = [each for each in drain(engine) if isinstance(each, SendDatagram)]
    assert sum(len(each.data) for each in replies) <= len(data)
