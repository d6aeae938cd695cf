"""Undoes the content codings of a body, as far as the standard library knows them (RFC 9110 section 8.4.1)."""

import zlib
from typing import Final

from pico_core.agent.inspector.searching import STEP_BYTES, Steps

GZIP_BITS: Final = 31
DEFLATE_BITS: Final = 15
RAW_BITS: Final = -15

IDENTITY = (b"", b"identity")
MAX_CODINGS = 4
"""A body has one; more than a few are an attack on those that undo them."""


class UnknownCodingError(Exception):
    """The body is in a coding that cannot be undone here, or is damaged."""


def codings_of(value: bytes) -> list[bytes]:
    """Return the codings that a Content-Encoding names, in the order in which they were applied."""
    return [each for part in value.split(b",") if (each := part.strip().lower()) not in IDENTITY]


def decode(data: bytes, codings: list[bytes], most_bytes: int) -> Steps[tuple[bytes, bool]]:
    """Return in steps the content, at most ``most_bytes`` of it, and whether that is all.

    Of a body that is cut, what can be decoded is returned. Raises ``UnknownCodingError``.
    """
    if len(codings) > MAX_CODINGS:
        raise UnknownCodingError
    is_all = True
    for coding in reversed(codings):
        if coding in (b"gzip", b"x-gzip"):
            data, whole = yield from _inflate(data, GZIP_BITS, most_bytes)
        elif coding == b"deflate":
            # RFC 9110 section 8.4.1.2: some senders leave the zlib wrapper out.
            has_wrapper = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            data, whole = yield from _inflate(data, DEFLATE_BITS if has_wrapper else RAW_BITS, most_bytes)
        else:
            raise UnknownCodingError
        is_all = is_all and whole
    return data, is_all


def _inflate(data: bytes, bits: int, most_bytes: int) -> Steps[tuple[bytes, bool]]:
    out = bytearray()
    member = zlib.decompressobj(bits)
    while True:
        try:
            piece = member.decompress(data, min(STEP_BYTES, most_bytes - len(out) + 1))
        except zlib.error:
            if not out:
                raise UnknownCodingError from None
            return bytes(out[:most_bytes]), False
        out += piece
        yield len(piece)
        if len(out) > most_bytes:
            return bytes(out[:most_bytes]), False
        data = member.unconsumed_tail
        if member.eof:  # a body may have several members, one behind the other (RFC 1952 section 2.2)
            data = member.unused_data
            if not data.strip(b"\0"):
                return bytes(out), True
            member = zlib.decompressobj(bits)
        elif not data and not piece:
            return bytes(out), False
