"""Frames of WebSocket as they are read, against literal bytes (RFC 6455 section 5, and a capture of Go peers)."""

import pytest

from pico_core.websocket.decoding import CloseReceived, FrameDecoder, FrameError, Item, Ping, Pong
from tests.core.memory import reachable_bytes


def test_decodes_the_masked_frame_of_a_go_agent() -> None:
    frame = bytes.fromhex("828cbec38248bec2824abec3824abec38248")
    assert FrameDecoder(masked=True).receive(frame) == [bytes.fromhex("000100020000000200000000")]


def test_decodes_the_unmasked_frame_of_a_go_server() -> None:
    frame = bytes.fromhex("820c000100010000000200000000")
    assert FrameDecoder(masked=False).receive(frame) == [bytes.fromhex("000100010000000200000000")]


def test_decodes_rfc_6455_section_5_7() -> None:
    assert FrameDecoder(masked=False).receive(b"\x02\x03Hel\x80\x02lo") == [b"Hel", b"lo"]
    assert FrameDecoder(masked=False).receive(b"\x89\x05Hello") == [Ping(b"Hello")]
    assert FrameDecoder(masked=True).receive(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [Pong(b"Hello")]
    assert FrameDecoder(masked=False).receive(b"\x82\x7e\x01\x00" + bytes(256)) == [bytes(256)]
    assert FrameDecoder(masked=False).receive(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + bytes(65536)) == [
        bytes(65536)
    ]


def test_forwards_the_part_of_a_frame_that_has_come() -> None:
    decoder = FrameDecoder(masked=True)
    key = b"\x01\x02\x03\x04"
    plain = b"abcdefghij"
    masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(plain))
    assert decoder.receive(b"\x82\x8a" + key + masked[:3]) == [b"abc"]
    assert decoder.receive(masked[3:5]) == [b"de"]
    assert decoder.receive(masked[5:] + b"\x82\x81\x00\x00\x00\x00x") == [b"fghij", b"x"]


def test_control_frames_come_between_fragments() -> None:
    data = b"\x02\x01a\x89\x00\x00\x00\x80\x01b\x82\x01c"
    assert FrameDecoder(masked=False).receive(data) == [b"a", Ping(b""), b"b", b"c"]


def test_any_cut_gives_the_same() -> None:
    data = b"\x02\x01a\x89\x02pi\x80\x7e\x00\x80" + b"b" * 128 + b"\x88\x04\x03\xe8ok\x82\x01c"
    for at in range(len(data)):
        decoder = FrameDecoder(masked=False)
        items = decoder.receive(data[:at]) + decoder.receive(data[at:])
        payload = b"".join(item for item in items if isinstance(item, bytes))
        assert payload == b"a" + b"b" * 128
        assert [item for item in items if not isinstance(item, bytes)] == [Ping(b"pi"), CloseReceived(1000, "ok")]


def test_frames_without_payload_give_nothing() -> None:
    assert FrameDecoder(masked=False).receive(b"\x82\x00" * 1_000) == []
    assert FrameDecoder(masked=True).receive(b"\x82\x80\x01\x02\x03\x04" * 1_000) == []


def test_large_payload_is_a_view_unless_unmasking_copies_it() -> None:
    def single(items: list[Item]) -> Item:
        assert len(items) == 1
        return items[0]

    payload = bytes(range(256)) * 16
    unmasked = b"\x82\x7e\x10\x00" + payload
    piece = single(FrameDecoder(masked=False).receive(unmasked))
    assert isinstance(piece, memoryview)
    assert piece.obj is unmasked
    assert piece == payload
    zero_key = b"\x82\xfe\x10\x00\x00\x00\x00\x00" + payload
    piece = single(FrameDecoder(masked=True).receive(zero_key))
    assert isinstance(piece, memoryview)
    assert piece == payload
    some_key = b"\x82\xfe\x10\x00\xff\xff\xff\xff" + bytes(byte ^ 255 for byte in payload)
    assert single(FrameDecoder(masked=True).receive(some_key)) == payload
    assert isinstance(single(FrameDecoder(masked=False).receive(b"\x82\x7e\x0f\xff" + payload[1:])), bytes)


@pytest.mark.parametrize(
    ("frame", "item"),
    [
        (b"\x88\x00", CloseReceived(1005, "")),
        (b"\x88\x02\x03\xe8", CloseReceived(1000, "")),
        (b"\x88\x05\x0f\xa1bye", CloseReceived(4001, "bye")),
    ],
)
def test_close_ends_what_the_peer_sends(frame: bytes, item: CloseReceived) -> None:
    decoder = FrameDecoder(masked=False)
    assert decoder.receive(frame + b"\x82\x01x") == [item]
    assert decoder.receive(b"\x82\x01x") == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01x", 1003),
        (b"\x01\x01x", 1003),
        (b"\xc2\x01x", 1002),
        (b"\xa2\x01x", 1002),
        (b"\x92\x01x", 1002),
        (b"\x83\x01x", 1002),
        (b"\x8b\x01x", 1002),
        (b"\x80\x01x", 1002),
        (b"\x02\x01x\x82\x01x", 1002),
        (b"\x02\x01x\x02\x01x", 1002),
        (b"\x82\x81\x00\x00\x00\x00x", 1002),
        (b"\x82\x7e\x00\x7d", 1002),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 1002),
        (b"\x82\x7f\x80\x00\x00\x00\x00\x01\x00\x00", 1002),
        (b"\x89\x7e\x00\x7e", 1002),
        (b"\x09\x00", 1002),
        (b"\x88\x01\x03", 1002),
        (b"\x88\x02\x03\xec", 1002),
        (b"\x88\x02\x03\xed", 1002),
        (b"\x88\x02\x03\xf7", 1002),
        (b"\x88\x02\x13\x88", 1002),
        (b"\x88\x03\x03\xe8\xff", 1007),
    ],
)
def test_refuses_broken_frames(frame: bytes, code: int) -> None:
    decoder = FrameDecoder(masked=False)
    with pytest.raises(FrameError) as caught:
        decoder.receive(b"\x82\x02ok" + frame)
    assert caught.value.code == code
    assert caught.value.items[0] == b"ok"
    assert decoder.receive(b"\x82\x01x") == []


def test_a_server_takes_no_unmasked_frame() -> None:
    with pytest.raises(FrameError) as caught:
        FrameDecoder(masked=True).receive(b"\x82\x01x")
    assert caught.value.code == 1002


def test_nothing_waits_but_a_cut_head_or_control_frame() -> None:
    decoder = FrameDecoder(masked=True)
    idle = reachable_bytes(decoder)
    assert decoder.receive(b"\x89\xfd\x01\x02\x03\x04" + bytes(124)) == []
    assert reachable_bytes(decoder) == idle + 130
    assert decoder.receive(b"\x00") == [Ping((b"\x01\x02\x03\x04" * 32)[:125])]
    assert reachable_bytes(decoder) == idle
