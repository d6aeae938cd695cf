"""Masking of WebSocket payload (RFC 6455 section 5.3)."""

import pytest
from websockets.utils import apply_mask as slow_apply_mask

from pico_core.websocket.masking import ZERO_MASK, apply_mask, rotated
from tests.masks import ZeroMask

KEY = b"\x01\x02\xf3\x04"


@pytest.mark.parametrize("size", [0, 1, 5, 64, 4_099])
def test_masks_alike_with_and_without_the_compiled_helper(size: int) -> None:
    payload = memoryview(bytes(range(256)) * 17)[:size]
    masked = bytes(byte ^ KEY[at % 4] for at, byte in enumerate(payload))
    assert apply_mask(payload, KEY) == slow_apply_mask(payload, KEY) == masked


def test_the_key_is_rotated_to_where_the_next_piece_begins() -> None:
    assert [rotated(KEY, size) for size in (0, 1, 2, 3, 4, 4_099)] == [
        b"\x01\x02\xf3\x04",
        b"\x02\xf3\x04\x01",
        b"\xf3\x04\x01\x02",
        b"\x04\x01\x02\xf3",
        b"\x01\x02\xf3\x04",
        b"\x04\x01\x02\xf3",
    ]


def test_a_zero_mask_is_the_key_that_changes_nothing() -> None:
    assert ZeroMask().getrandbits(32).to_bytes(4, "big") == ZERO_MASK
    assert apply_mask(b"payload", ZERO_MASK) == b"payload"
