"""How large a window each stream of a session gets, so that all of them together share one budget of unread bytes.

``docs/decisions/shared-windows.md`` has the arithmetic, the worst case and the figures.
"""

HELD_BELOW_BYTES = 16_384
"""A window smaller than this, and than the bytes that wait, is left to grow, since a small frame costs as much as a
large one (the silly window of RFC 9293 section 3.8.6.2). Every peer grants more once it has consumed half a window.
``pieces.JOIN_BELOW_BYTES`` is a bound of its own: it is about the cost of copies."""

MIN_WINDOW_BYTES = 2 * HELD_BELOW_BYTES
"""Below it, a sender that leaves a small rest of the window and a receiver that waits for half of it would be stuck."""

SHARED_BYTES = 16_777_216
"""What the windows of a session share while its streams are read slowly: 64 streams can have a full window each."""


class SharedWindows:
    """Says at every grant how large the window of the stream may be. Every session has one.

    While at most half of ``shared_bytes`` are unread, every stream has ``window_bytes``. Beyond that a stream has
    ``MIN_WINDOW_BYTES``, and of ``shared_bytes`` the part that its consumed bytes are of those of all streams since its
    last grant. So all streams take about as long to consume their windows: a slow one has a small window, and a fast
    one among them has a full one.
    """

    __slots__ = ("granted_bytes", "shared_bytes", "window_bytes")

    def __init__(self, window_bytes: int, shared_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.shared_bytes = shared_bytes
        self.granted_bytes = 0
        """Consumed by all streams and granted again, since the session began."""

    def window_of(self, consumed_bytes: int, granted_before_bytes: int, unread_bytes: int) -> int:
        """Return the window of a stream that consumed so much since its last grant, or since it was opened.

        ``granted_before_bytes`` is what ``granted_bytes`` was then; ``unread_bytes`` is the session's now.
        """
        if unread_bytes <= self.shared_bytes // 2:
            return self.window_bytes
        turnover_bytes = self.granted_bytes - granted_before_bytes + consumed_bytes
        share_bytes = self.shared_bytes * consumed_bytes // turnover_bytes
        return min(self.window_bytes, MIN_WINDOW_BYTES + share_bytes)
