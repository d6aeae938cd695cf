"""Runs of bytes that are passed on as they came, and the sizes from which that costs less than a copy."""

from collections.abc import Sequence
from typing import TypeAlias

Piece: TypeAlias = bytes | memoryview
"""One run of bytes: a received object itself, or a view into it."""

VIEW_BYTES = 4_096
"""From this size on, a view is cheaper than a copy. Smaller parts are copied, because a view keeps the whole received
object alive for them."""

JOIN_BELOW_BYTES = 16_384
"""Below this size in all, the pieces of one write are joined unseen. Above it, ``join_small`` decides."""


WAITING_VIEW_BYTES = 65_536
"""A view up to this size that has to wait is copied, if that frees as much memory again as it keeps."""


def compact(piece: Piece) -> Piece:
    """Return ``piece`` in the form in which it should wait: a copy, if it is a small part of what it keeps alive."""
    if isinstance(piece, memoryview) and len(piece) <= WAITING_VIEW_BYTES and 2 * len(piece) <= len(piece.obj):  # type: ignore[arg-type]
        return bytes(piece)
    return piece


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
