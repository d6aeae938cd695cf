"""Masking of a client's frames (RFC 6455 section 5.3)."""

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Final, Protocol, TypeAlias

from pico_core.pieces import Piece

MaskRoutine: TypeAlias = Callable[[Piece, bytes], bytes]
"""Takes data and a key of four bytes, and returns the masked data."""

ZERO_MASK = bytes(4)
"""The masking key that changes nothing."""


def _routine() -> MaskRoutine:
    """Return the C routine of websockets, or where it has no wheel its slow one, which gives the same bytes.

    The C routine is loaded without its package, whose imports take a tenth of the processor time of a start.
    """
    package = PathFinder.find_spec("websockets")
    spec = package and PathFinder.find_spec("websockets.speedups", package.submodule_search_locations)
    if spec is None or spec.loader is None:
        from websockets.utils import apply_mask

        return apply_mask
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    routine: MaskRoutine = module.apply_mask
    return routine


apply_mask: Final = _routine()
"""Mask data, or unmask it."""


class MaskSource(Protocol):
    """Where the masking keys of a client come from: any ``Entropy``."""

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` bits for a key."""


def rotated(mask: bytes, size: int) -> bytes:
    """Return the key as it has to be applied after ``size`` masked bytes."""
    offset = size & 3
    return mask[offset:] + mask[:offset] if offset else mask
