"""The part of a request body that is kept, so that the request can be sent a second time."""

from pico_core.pieces import Piece

MAX_REPLAY_BYTES = 65_536
"""How much of a request body is kept for another try: most form posts and API calls, one socket buffer."""


class Replay:
    """All that has come of a body, with its trailers; ``size`` is in bytes."""

    __slots__ = ("pieces", "size", "trailers")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.size = 0
        self.trailers = b""

    def add(self, pieces: list[Piece], size: int, trailers: bytes) -> None:
        """Keep ``size`` bytes more."""
        self.pieces.extend(pieces)
        self.size += size
        self.trailers = trailers

    @property
    def is_full(self) -> bool:
        """Whether as much has come as is kept: while no upstream is chosen, the client is not read then."""
        return self.size >= MAX_REPLAY_BYTES

    @property
    def is_too_long(self) -> bool:
        """Whether more has come than is kept, so that the request cannot be sent a second time."""
        return self.size > MAX_REPLAY_BYTES
