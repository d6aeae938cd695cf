"""Masking of a client's frames (RFC 6455 section 5.3)."""

from typing import Protocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform: slow, and the same bytes
    from websockets.utils import apply_mask

__all__ = ["ZERO_MASK", "MaskSource", "ZeroMask", "apply_mask", "rotated"]

ZERO_MASK = bytes(4)
"""The masking key that changes nothing."""


class MaskSource(Protocol):
    """Where the masking keys of a client come from: any ``Entropy``, or ``ZeroMask``."""

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` bits for a key."""


class ZeroMask:
    """A ``MaskSource`` that makes every masking key zero, so that masking costs nothing.

    For clients inside TLS only: masking keeps chosen plaintext from confusing proxies on the way (RFC 6455 section
    10.3), and inside TLS none of them can read. Pico's own clients do not use TLS yet, so they mask with ``Entropy``.
    """

    def getrandbits(self, _k: int, /) -> int:
        """Return no bit set."""
        return 0


def rotated(mask: bytes, size: int) -> bytes:
    """Return the key as it has to be applied after ``size`` masked bytes."""
    offset = size & 3
    return mask[offset:] + mask[:offset] if offset else mask
