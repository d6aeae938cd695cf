"""Masking of a client's frames (RFC 6455 section 5.3)."""

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform: slow, and the same bytes
    from websockets.utils import apply_mask

__all__ = ["ZERO_MASK", "ZeroMask", "apply_mask", "rotated"]

ZERO_MASK = bytes(4)


class ZeroMask:
    """Entropy that makes every masking key zero, so that masking costs nothing.

    For clients inside TLS only: masking keeps chosen plaintext from confusing proxies on the way (RFC 6455, 10.3),
    and inside TLS none of them can read.
    """

    def getrandbits(self, _k: int, /) -> int:
        """Return no bit set."""
        return 0


def rotated(mask: bytes, size: int) -> bytes:
    """Return the key as it has to be applied to what follows ``size`` masked bytes."""
    offset = size & 3
    return mask[offset:] + mask[:offset] if offset else mask
