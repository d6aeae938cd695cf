"""A stream that a ``StreamBudget`` holds, in tests of what it may take."""


class HeldStream:
    """Tells whether it had to give way."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.size_bytes = 0
        self.has_given_way = False

    def give_way(self, now: float) -> None:
        """Make room for others."""
        self.has_given_way = True
