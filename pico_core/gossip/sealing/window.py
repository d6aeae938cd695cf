"""Which counters of one sender were taken: each may be taken once, in nearly any order (RFC 4303 section 3.4.3)."""

WINDOW = 1024
"""How far behind the newest one a counter may be: a second of what a busy node sends to all others together."""
_ALL = (1 << WINDOW) - 1


class Window:
    """The newest counter that was taken, and which of the ``WINDOW`` up to it were; counters begin at 1."""

    __slots__ = ("_newest", "_taken")

    def __init__(self) -> None:
        self._newest = 0
        self._taken = 0  # bit 0 stands for the newest

    def take(self, counter: int) -> bool:
        """Return whether the counter is new; it is taken then. One that is too far behind is not."""
        ahead = counter - self._newest
        if ahead > 0:
            self._taken = ((self._taken << ahead) | 1) & _ALL if ahead < WINDOW else 1
            self._newest = counter
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self._taken & bit:
            return False
        self._taken |= bit
        return True
