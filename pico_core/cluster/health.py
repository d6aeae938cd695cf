"""Passive health: an upstream whose requests fail is avoided for a moment; single requests show that it is back.

A node does not probe; it judges by the requests of clients. Each failure doubles the pause in which the upstream is
chosen only if there is no other. After a pause one request is let through; the next may follow when that one was
answered, or after another pause.
"""

FIRST_PAUSE_S = 1.0
"""After the first failure; each further one doubles it, up to ``LAST_PAUSE_S``."""
LAST_PAUSE_S = 8.0
"""So that an upstream has its full share again at most this long after it recovers."""

STALL_S = 1.0
"""An upstream that has a request for this long, and answers none meanwhile, counts as failing."""


class Health:
    """The experience with one upstream; made at its first failure, dropped when it answers again."""

    __slots__ = ("_pause_s", "_trying", "_until", "is_silent")

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._until = 0.0
        self._trying = False
        self.is_silent = False
        """Whether it gives no sign of life at all: then no single requests are let through."""

    def failed(self, now: float) -> None:
        """A request failed. Those that fail within a pause were sent before it and change nothing."""
        if self._trying or now >= self._until:
            self._trying = False
            self._pause_s = min(self._pause_s * 2, LAST_PAUSE_S) or FIRST_PAUSE_S
            self._until = now + self._pause_s

    def is_good(self, now: float) -> bool:
        """Return whether a request may be let through. Next: ``chosen``."""
        return now >= self._until and not self.is_silent

    def heard(self, now: float) -> None:
        """It gave a sign of life after it was silent: let a request through."""
        self.is_silent = False
        self._trying = False
        self._until = now

    def chosen(self, now: float) -> None:
        """A request is sent there: no other one follows until it was answered, or for another pause."""
        self._trying = True
        self._until = now + self._pause_s
