"""How large a window each stream of a session gets, so that all of them together share one budget of unread bytes.

``docs/decisions/shared-windows.md`` has the arithmetic, the worst case and the figures.
"""

HELD_BELOW_BYTES = 16_384
"""A window smaller than this, and than the bytes that wait, is left to grow, since a small frame costs as much as a
large one (the silly window of RFC 9293 section 3.8.6.2). Every peer grants more once it has consumed half a window.
``pieces.JOIN_BELOW_BYTES`` is a bound of its own: it is about the cost of copies."""

MIN_WINDOW_BYTES = 2 * HELD_BELOW_BYTES
"""Below it, a sender that leaves a small rest of the window and a receiver that waits for half of it would be stuck."""

SHARED_BYTES = 8_388_608
"""Bytes that a session's windows share while its streams are read slowly: 32 streams can have a full window each."""

READER_BYTES = 1_048_576
"""A client that has taken so much reads. Less may be in buffers of the kernels on the way to one that does not."""

FULL_STREAMS = 128
"""So many streams can be open and have a full window each, 32 MiB in all, before anything of them is unread."""

SMALL_FIRST_WINDOW_BYTES = 65_536
"""The first window of a new stream where both ends have agreed on it (``tunnel.agreement``): a quarter of yamux's. Most
answers fit into it, and the end that opens a stream grants more at once while few streams are open."""


class SharedWindows:
    """Says at every grant how large the window of the stream may be. Every session has one.

    A stream has ``MIN_WINDOW_BYTES``, and of ``shared_bytes`` the part that its consumed bytes are of those of all
    streams lately, where every open stream counts with a little in advance. Lately is since its last grant, with
    three quarters of what was counted then: a client takes its bytes in bursts, and one burst says little of its
    speed. So all streams take about as long to consume their windows: a slow one has a small window, and a fast one
    among them a large one. A stream that has not consumed ``READER_BYTES`` yet has that part of what is not unread
    only. While at most half of ``shared_bytes`` are unread, a stream also has the part of ``FULL_STREAMS`` full windows
    that it would have if all open streams had the same, and at least ``SMALL_FIRST_WINDOW_BYTES``. No window is larger
    than ``window_bytes``.
    """

    __slots__ = ("first_bytes", "granted_bytes", "shared_bytes", "window_bytes")

    def __init__(self, window_bytes: int, first_bytes: int, shared_bytes: int) -> None:
        """``first_bytes`` is what either end may send on a new stream before the other granted anything."""
        self.window_bytes = window_bytes
        self.first_bytes = first_bytes
        self.shared_bytes = shared_bytes
        self.granted_bytes = 0
        """Consumed by all streams and granted again, since the session began."""

    def window_of(
        self, consumed_bytes: int, turnover_bytes: int, total_bytes: int, open_streams: int, unread_bytes: int
    ) -> int:
        """Return the window of a stream that consumed ``consumed_bytes`` while all streams consumed ``turnover_bytes``.

        Both are counted since its last grant, with three quarters of what they were then. ``total_bytes`` is what it
        has consumed since it was opened; the other two are the session's now.
        """
        # The others are yet to be counted when all streams begin at once: each is taken to have consumed a little.
        turnover_bytes += min(open_streams * HELD_BELOW_BYTES, self.shared_bytes // 2)
        left_bytes = self.shared_bytes
        if total_bytes < READER_BYTES:  # what it consumed may be in buffers of a client that does not read
            left_bytes = max(left_bytes - unread_bytes, 0)
        limit_bytes = MIN_WINDOW_BYTES + left_bytes * consumed_bytes // max(turnover_bytes, 1)
        if not self.is_short(unread_bytes):
            limit_bytes = max(
                limit_bytes, SMALL_FIRST_WINDOW_BYTES, FULL_STREAMS * self.window_bytes // max(open_streams, 1)
            )
        return min(self.window_bytes, limit_bytes)

    def is_short(self, unread_bytes: int) -> bool:
        """Return whether so many unread bytes of a session are more than half of what its streams share."""
        return unread_bytes > self.shared_bytes // 2
