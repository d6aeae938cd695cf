"""Encoding of frames (RFC 6455 section 5).

Clients give ``entropy`` to every function, because they must mask (section 5.3); servers give ``None``.
"""

import struct
from collections.abc import Sequence

from pico_core.boundary import Data
from pico_core.errors import LocalProtocolError
from pico_core.pieces import JOIN_BELOW_BYTES, Piece, join_small
from pico_core.websocket.frame import (
    CLOSE,
    FINAL,
    FINAL_BINARY,
    LENGTH_16,
    LENGTH_64,
    MASKED,
    MAX_CONTROL_BYTES,
    NO_STATUS,
    PONG,
)
from pico_core.websocket.masking import ZERO_MASK, MaskSource, apply_mask, rotated

_HEAD_16 = struct.Struct(">BBH")
_HEAD_64 = struct.Struct(">BBQ")

_SHORT_HEADS = tuple(bytes((FINAL_BINARY, size)) for size in range(LENGTH_16))


def encode_frame(pieces: Sequence[Piece], size: int, entropy: MaskSource | None) -> Data:
    """Return one binary message with the ``size`` bytes of ``pieces``.

    Small messages and small pieces are joined; pieces from ``VIEW_BYTES`` on stay as they are, or are copied once by
    masking.
    """
    if entropy is None:
        head = _head(size, 0)
        if size < JOIN_BELOW_BYTES:
            return head + b"".join(pieces)
        return tuple(join_small((head, *pieces)))
    mask = entropy.getrandbits(32).to_bytes(4, "big")
    head = _head(size, MASKED) + mask
    if size < JOIN_BELOW_BYTES:
        payload = b"".join(pieces)
        return head + (payload if mask == ZERO_MASK else apply_mask(payload, mask))
    if mask == ZERO_MASK:
        return tuple(join_small((head, *pieces)))
    masked: list[Piece] = [head]
    for piece in join_small(pieces):
        masked.append(apply_mask(piece, mask))
        mask = rotated(mask, len(piece))
    return tuple(masked)


def encode_pong(payload: bytes, entropy: MaskSource | None) -> bytes:
    """Return the answer to a ping, with the payload that the ping had."""
    return encode_control(PONG, payload, entropy)


def encode_close(code: int, reason: str, entropy: MaskSource | None) -> bytes:
    """Return a close frame, after which nothing may be sent (RFC 6455 section 5.5.1).

    ``reason`` is cut to the 123 bytes that fit; the code 1005 makes a frame without code and reason.
    """
    if code == NO_STATUS:
        return encode_control(CLOSE, b"", entropy)
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return encode_control(CLOSE, code.to_bytes(2, "big") + text, entropy)


def encode_control(opcode: int, payload: bytes, entropy: MaskSource | None) -> bytes:
    """Return a control frame (RFC 6455 section 5.5).

    Raises ``LocalProtocolError`` if the payload is over 125 bytes.
    """
    if len(payload) > MAX_CONTROL_BYTES:
        raise LocalProtocolError(f"control frame with {len(payload)} bytes")
    if entropy is None:
        return bytes((FINAL | opcode, len(payload))) + payload
    mask = entropy.getrandbits(32).to_bytes(4, "big")
    return bytes((FINAL | opcode, MASKED | len(payload))) + mask + apply_mask(payload, mask)


def _head(size: int, masked: int) -> bytes:
    """Return the head of a binary message up to the masking key; ``masked`` is 0 or ``MASKED``."""
    if size < LENGTH_16:
        return bytes((FINAL_BINARY, masked | size)) if masked else _SHORT_HEADS[size]
    if size < 0x10000:
        return _HEAD_16.pack(FINAL_BINARY, masked | LENGTH_16, size)
    return _HEAD_64.pack(FINAL_BINARY, masked | LENGTH_64, size)
