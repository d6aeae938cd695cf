"""The wire: golden bytes, captures of Piko, variants that readers must accept, and bytes that they must refuse."""

import msgspec
import pytest

from pico_core.gossip.wire import writing
from pico_core.gossip.wire.outline import PART_ELEMENTS
from pico_core.gossip.wire.reading import StreamReader, decode_datagram
from pico_core.gossip.wire.records import (
    DELTA,
    DIGEST,
    JOIN,
    LEAVE,
    MAX_ENTRIES,
    MAX_NODES,
    Delta,
    Digest,
    DigestEntry,
    Entry,
    FullState,
    NodeDelta,
    WireError,
)
from pico_core.gossip.wire.walker import Walker
from tests.core.gossip.plays import delta_of, digest_of
from tests.gossip_streams import digest_entries_of, packed_state, reply_of_states, states_of, walked

GOLDEN_DIGEST = bytes.fromhex(
    "010083a76e6f64655f6964a26e31a461646472ad31302e302e302e313a38303033a772657175657374c384a26964a26e31a461646472ad3130"
    "2e302e302e313a38303033a776657273696f6e03a46c656674c284a26964a26e32a461646472ad31302e302e302e323a38303033a776657273"
    "696f6ecd012ca46c656674c3"
)
GOLDEN_DELTA = bytes.fromhex(
    "020083a76e6f64655f6964a26e31a461646472ad31302e302e302e313a38303033a7656e74726965730083a76e6f64655f6964a26e31a46164"
    "6472ad31302e302e302e313a38303033a7656e74726965730385a36b6579aa70726f78795f61646472a576616c7565ad31302e302e302e313a"
    "38303030a776657273696f6e01a8696e7465726e616cc2a764656c65746564c285a36b6579aa656e64706f696e743a65a576616c7565a0a776"
    "657273696f6eccc8a8696e7465726e616cc2a764656c65746564c385a36b6579ae5f696e7465726e616c3a6c656674a576616c7565a0a77665"
    "7273696f6ece00011170a8696e7465726e616cc3a764656c65746564c2"
)
GOLDEN_EMPTY = bytes.fromhex("020083a76e6f64655f6964a26e31a461646472ad31302e302e302e313a38303033a7656e747269657300")
CAPTURED_DIGEST = bytes.fromhex(
    "010083a76e6f64655f6964a66e6f64652d61a461646472ae3132372e302e302e313a38303033a772657175657374c384a26964a66e6f64652d"
    "61a461646472ae3132372e302e302e313a38303033a776657273696f6e02a46c656674c284a26964a66e6f64652d62a461646472ae3132372e"
    "302e302e313a38303133a776657273696f6e02a46c656674c2"
)
CAPTURED_DELTA = bytes.fromhex(
    "020083a76e6f64655f6964a66e6f64652d62a461646472ae3132372e302e302e313a38303133a7656e74726965730083a76e6f64655f6964a6"
    "6e6f64652d62a461646472ae3132372e302e302e313a38303133a7656e74726965730185a36b6579b4656e64706f696e743a6d792d656e6470"
    "6f696e74a576616c7565a131a776657273696f6e03a8696e7465726e616cc2a764656c65746564c2"
)
ADDR = "10.0.0.1:8003"
ENTRIES = [
    Entry("proxy_addr", "10.0.0.1:8000", 1, False, False),
    Entry("endpoint:e", "", 200, False, True),
    Entry("_internal:left", "", 70000, True, False),
]


def packed(*values: object) -> bytes:
    return b"".join(map(msgspec.msgpack.encode, values))


def test_golden_digest() -> None:
    data = writing.digest_head("n1", ADDR, request=True)
    data += writing.digest_entry("n1", ADDR, 3, left=False)
    data += writing.digest_entry("n2", "10.0.0.2:8003", 300, left=True)
    assert data == GOLDEN_DIGEST
    assert decode_datagram(data) == Digest(
        "n1", ADDR, True, [DigestEntry("n1", ADDR, 3, False), DigestEntry("n2", "10.0.0.2:8003", 300, True)]
    )


def test_golden_delta() -> None:
    data = writing.delta_head("n1", ADDR) + writing.delta_node("n1", ADDR, 3, None)
    data += b"".join(map(writing.pack_entry, ENTRIES))
    assert data == GOLDEN_DELTA
    assert decode_datagram(data) == Delta("n1", ADDR, [NodeDelta("n1", ADDR, ENTRIES)])
    assert writing.delta_head("n1", ADDR) == GOLDEN_EMPTY
    assert decode_datagram(GOLDEN_EMPTY) == Delta("n1", ADDR, [])


def test_an_empty_digest_of_42_bytes() -> None:
    data = writing.digest_head("n1", ADDR, request=True)
    assert len(data) == 42
    assert decode_datagram(data) == Digest("n1", ADDR, True, [])


def test_captures_of_the_reference() -> None:
    a, b = "127.0.0.1:8003", "127.0.0.1:8013"
    data = writing.digest_head("node-a", a, request=True)
    data += writing.digest_entry("node-a", a, 2, left=False) + writing.digest_entry("node-b", b, 2, left=False)
    assert data == CAPTURED_DIGEST
    data = writing.delta_head("node-b", b) + writing.delta_node("node-b", b, 1, None)
    data += writing.pack_entry(Entry("endpoint:my-endpoint", "1", 3, False, False))
    assert data == CAPTURED_DELTA
    assert digest_of(decode_datagram(CAPTURED_DIGEST)).entries[1].id == "node-b"
    assert delta_of(decode_datagram(CAPTURED_DELTA)).nodes[0].entries[0].value == "1"


def test_where_the_entries_follow_on() -> None:
    data = writing.delta_head("n1", ADDR) + writing.delta_node("n2", ADDR, 1, 300) + writing.pack_entry(ENTRIES[0])
    assert decode_datagram(data) == Delta("n1", ADDR, [NodeDelta("n2", ADDR, [ENTRIES[0]], 300)])


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "cc80"),
        (255, "ccff"),
        (256, "cd0100"),
        (65535, "cdffff"),
        (65536, "ce00010000"),
        (2**32 - 1, "ceffffffff"),
        (2**32, "cf0000000100000000"),
    ],
)
def test_numbers_take_the_shortest_unsigned_form(number: int, data: str) -> None:
    assert writing.pack_unsigned(number).hex() == data


def test_text_never_uses_str8() -> None:
    assert writing.pack_text("a" * 31)[0] == 0xBF
    assert writing.pack_text("a" * 32)[:3] == b"\xda\x00\x20"
    assert writing.pack_text("a" * 65536)[:5] == b"\xdb\x00\x01\x00\x00"


def test_counts_as_go_writes_them() -> None:
    """Above 127 a signed number of 16 bits, above 32767 one of 32."""
    heads = [writing.delta_node("n", "a", count, None)[-3:].hex() for count in (127, 128, 32767)]
    assert heads == ["65737f", "d10080", "d17fff"]
    assert writing.delta_node("n", "a", 32768, None)[-5:].hex() == "d200008000"


def test_a_datagram_may_be_cut_anywhere() -> None:
    whole = delta_of(decode_datagram(GOLDEN_DELTA))
    for length in range(len(GOLDEN_DELTA)):
        try:
            cut = delta_of(decode_datagram(GOLDEN_DELTA[:length]))
        except WireError:
            assert length < len(GOLDEN_EMPTY)
            continue
        for node in cut.nodes:
            assert node.entries == whole.nodes[0].entries[: len(node.entries)]


def test_any_key_order_unknown_and_missing_keys_any_width_and_str8() -> None:
    entry = {"left": True, "extra": {"nested": [1, None, 2.5, b"bin"]}, "version": 7, "id": "n" * 40}
    data = b"\x01\x00" + packed({"request": False, "addr": ADDR, "node_id": "n1"}, entry, {"addr": "no id"})
    assert decode_datagram(data) == Digest("n1", ADDR, False, [DigestEntry("n" * 40, "", 7, True)])
    wide = GOLDEN_DIGEST.replace(b"version\x03", b"version\xcf\0\0\0\0\0\0\0\x03")
    assert digest_of(decode_datagram(wide)).entries[0].version == 3
    signed = GOLDEN_DELTA.replace(b"entries\x03", b"entries\xd1\x00\x03")
    assert decode_datagram(signed) == decode_datagram(GOLDEN_DELTA)


def test_names_of_keys_inside_texts_do_not_confuse_the_reader() -> None:
    data = writing.digest_head("n1", ADDR, request=True) + writing.digest_entry("\u00a2id", "a:1", 1, left=False)
    assert digest_of(decode_datagram(data)).entries == [DigestEntry("\u00a2id", "a:1", 1, False)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01\x01" + GOLDEN_DIGEST[2:],
        b"\x05\x00" + GOLDEN_DIGEST[2:],
        b"\x01\x00",
        b"\x02\x00",
        b"\x01\x00" + packed({"addr": "no sender"}),
        b"\x02\x00" + packed({"addr": "no sender"}),
        b"\x01\x00" + packed([1, 2]),
        b"\x01\x00" + packed({"node_id": 7}),
        b"\x01\x00" + packed({"node_id": "n" * 256}),
        b"\x01\x00" + packed({"node_id": "n", "addr": "a" * 256}),
        b"\x01\x00" + packed({"node_id": "n"}, {"id": "x", "version": -1}),
        b"\x01\x00" + packed({"node_id": "n"}, {"id": "x", "version": 2**62 + 1}),
        b"\x02\x00" + packed({"node_id": "n"}, {"node_id": "x", "entries": 1}, {"key": "k" * 513}),
        b"\x02\x00" + packed({"node_id": "n"}, {"node_id": "x", "entries": 1}, {"value": "v" * 1025}),
        b"\x02\x00" + packed({"node_id": "n"}, {"node_id": "x", "entries": -1}),
        b"\x01\x00\xc1",
        b"\x01\x00\x81\xa7node_id\xa2\xff\xfe",
        b"\x01\x00" + b"\x91" * 5000 + b"\xc0",
        b"\x01\x00\xdf\xff\xff\xff\xff\xa1",
    ],
)
def test_bytes_that_are_not_gossip_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_datagram(data)


@pytest.mark.parametrize(
    "value",
    [
        0, 127, -1, -32, 200, 70000, 2**40, -200, -70000, -(2**40), 1.5, None, True, False, "", "a" * 31, "a" * 32,
        "a" * 300, "a" * 70000, b"", b"a" * 300, b"a" * 70000, [], [1] * 15, [1] * 16, [[1] * 70000], {},
        {"a": {"b": [{}]}}, {str(n): n for n in range(16)}, {str(n): n for n in range(70000)},
        msgspec.msgpack.Ext(1, b"a"), msgspec.msgpack.Ext(1, b"ab"), msgspec.msgpack.Ext(1, b"abcd"),
        msgspec.msgpack.Ext(1, b"a" * 8), msgspec.msgpack.Ext(1, b"a" * 16), msgspec.msgpack.Ext(1, b"a" * 17),
        msgspec.msgpack.Ext(1, b"a" * 300), msgspec.msgpack.Ext(1, b"a" * 70000),
    ],
)  # fmt: skip
def test_the_walker_finds_the_end_of_every_type(value: object) -> None:
    one = msgspec.msgpack.encode(value)
    walker = Walker(0)
    walker.walk(one + one + b"\x93", 9)
    assert (walker.whole, walker.whole_end) == (2, 2 * len(one))
    for length in {0, 1, 2, 3, len(one) - 1} & set(range(len(one))):
        walker = Walker(0)
        walker.walk(one[:length], 9)
        assert walker.whole == 0
        walker.walk(one, 9)
        assert walker.whole == 1


def test_single_precision_floats_too() -> None:
    walker = Walker(0)
    walker.walk(b"\xca\x00\x00\x00\x00\x01", 9)
    assert walker.whole == 2


def read(data: bytes, step: int, *, is_request: bool = True, max_bytes: int = 1 << 20) -> StreamReader:
    reader = StreamReader(is_request=is_request, max_bytes=max_bytes)
    for at in range(0, len(data), step):
        assert walked(reader, data[at : at + step]) == (at + step >= len(data))
    return reader


def all_of(reader: StreamReader) -> tuple[tuple[str, str], list[FullState], list[DigestEntry]]:
    return reader.sender(), states_of(reader), digest_entries_of(reader)


STATE = packed_state("n1", ADDR, [writing.pack_entry(each) for each in ENTRIES])


@pytest.mark.parametrize("step", [1, 7, 10000])
def test_streams_come_in_pieces(step: int) -> None:
    join = writing.join_request("n1", ADDR, STATE, [writing.digest_entry("n1", ADDR, 3, left=False)])
    state = FullState("n1", ADDR, ENTRIES)
    assert all_of(read(join, step)) == (("n1", ADDR), [state], [DigestEntry("n1", ADDR, 3, False)])
    leave = writing.leave_request("n1", ADDR, STATE)
    assert all_of(read(leave, step)) == (("n1", ADDR), [state], [])
    reply = reply_of_states("n2", ADDR, [STATE] * 20)
    assert all_of(read(reply, step, is_request=False)) == (("n2", ADDR), [state] * 20, [])


def test_the_reply_to_a_leave_is_one_value() -> None:
    reader = StreamReader(is_request=False, max_bytes=100, values=1)
    assert walked(reader, writing.leave_reply("n2", ADDR))


def test_nil_is_an_empty_list() -> None:
    head = {"node_id": "n1", "addr": ADDR}
    data = JOIN + packed(head, None, None)
    assert all_of(read(data, 5)) == (("n1", ADDR), [], [])
    data = packed(head, [{"id": "n2", "addr": ADDR, "entries": None}])
    assert states_of(read(data, 5, is_request=False)) == [FullState("n2", ADDR, [])]
    assert all_of(read(LEAVE + packed(head, None), 5)) == (("n1", ADDR), [], [])


def test_keys_of_a_state_come_in_any_order_and_unknown_ones_too() -> None:
    entry = {"version": 1, "value": "v", "new": [1, {"a": 2}], "key": "k", "internal": False, "deleted": False}
    state = {"entries": [entry], "new": {"a": [1, 2]}, "addr": ADDR, "id": "n2"}
    data = packed({"addr": ADDR, "node_id": "n1"}, [state])
    assert states_of(read(data, 5, is_request=False)) == [FullState("n2", ADDR, [Entry("k", "v", 1, False, False)])]


def test_many_states_in_one_stream() -> None:
    data = reply_of_states("n2", ADDR, [packed_state(f"n{n}", ADDR, []) for n in range(MAX_NODES)])
    assert len(states_of(read(data, len(data), is_request=False, max_bytes=1 << 22))) == MAX_NODES


def test_many_entries_in_one_stream() -> None:
    entries = [Entry(f"k{number}", "v", number, False, False) for number in range(1, 10_001)]
    data = JOIN + packed({"node_id": "n", "addr": ADDR}) + b"\x91"
    data += packed_state("n", ADDR, list(map(writing.pack_entry, entries))) + b"\x90"
    reader = read(data, 65_536)
    (state,) = reader.states()
    parts = list(state.entries())
    assert max(map(len, parts)) == PART_ELEMENTS
    assert [each for part in parts for each in part] == entries
    assert state.size_bytes == len(data) - data.index(b"\x83\xa2id") - 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x07\x00",
        JOIN + packed({}, [], []),
        JOIN + packed({"node_id": "n"}, [1], []),
        JOIN + packed({"node_id": "n"}, [{"entries": [1]}], []),
        JOIN + packed({"node_id": "n"}, [], [2]),
        JOIN + b"\xdd\xff\xff\xff\xff",
        JOIN + packed({"node_id": "n"}, [{"entries": [{}]}], []),
        JOIN + packed({"node_id": "n"}, 1, 2),
        LEAVE + packed({"node_id": "n"}, "x"),
        LEAVE + packed({"node_id": "n"}, {"x": 1}),
        JOIN + b"\xc1",
    ],
)
def test_streams_that_are_not_gossip(data: bytes) -> None:
    with pytest.raises(WireError):
        all_of(read(data, len(data)))


HEAD = b"\x81\xa7node_id\xa1n"
MANY_STATES = MAX_NODES + 1
MANY_ENTRIES = MAX_ENTRIES + 1


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\xdd" + MANY_STATES.to_bytes(4, "big"),
        HEAD + b"\x90\xdd" + MANY_STATES.to_bytes(4, "big"),
        HEAD + b"\x91\x81\xa7entries\xdd" + MANY_ENTRIES.to_bytes(4, "big"),
        HEAD + b"\x92\x81\xa7entries\xdd\x00\x01\xf4\x00" + b"\x81\xa3key\xa0" * 128_000 + b"\x81\xa7entries\x91",
        HEAD + b"\x91\x81\xa7entries\x91\xdf\x00\x00\x01\x00",
        HEAD + b"\x91" * 10,
    ],
)
def test_more_values_than_any_node_has_are_refused_by_the_head_that_announces_them(data: bytes) -> None:
    reader = StreamReader(is_request=True, max_bytes=1 << 20)
    with pytest.raises(WireError, match=r"more values|too deeply"):
        walked(reader, JOIN + data)


def test_streams_are_bounded() -> None:
    reader = StreamReader(is_request=True, max_bytes=100)
    assert not walked(reader, JOIN + b"\x81")
    with pytest.raises(WireError, match="longer"):
        reader.receive(b"\x00" * 100)


def test_a_datagram_of_many_tiny_values_is_refused_by_their_number() -> None:
    for data in (DIGEST + b"\x80" * 1398, DELTA + b"\x80" * 1398, DIGEST + b"\x81\xa2id\xa0" * 279):
        with pytest.raises(WireError, match="more values"):
            decode_datagram(data)
