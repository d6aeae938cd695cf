"""Bytes cut into pieces of given sizes, for tests that a parser takes them in any."""


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return ``data`` in pieces of these sizes, and the rest; no piece is empty."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in (*pieces, data) if piece]
