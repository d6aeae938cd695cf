"""Bytes on their way: pieces that are passed on as they came, and when copying costs less than another piece."""

from collections.abc import Sequence
from typing import TypeAlias

Piece: TypeAlias = bytes | memoryview
"""One run of bytes: a received object itself, or a view into it."""

VIEW_BYTES = 4_096
"""From this size on a view is cheaper than a copy; below, it would keep a large received object alive for little."""

JOIN_BELOW_BYTES = 16_384
"""Writes smaller than this in all are joined without a look at each piece; larger ones leave as several pieces."""


def join_small(pieces: Sequence[Piece]) -> list[Piece]:
    """Return ``pieces`` with every run of pieces below ``VIEW_BYTES`` joined; larger ones stay as they are."""
    result: list[Piece] = []
    run: list[Piece] = []
    for piece in pieces:
        if len(piece) < VIEW_BYTES:
            run.append(piece)
            continue
        if run:
            result.append(b"".join(run))
            run = []
        result.append(piece)
    if run:
        result.append(b"".join(run))
    return result
