"""Entropy of which a test knows every number, and the frames of one message as one piece."""

from pico_core.boundary import Data


class Bits:
    """Entropy that gives the numbers it was made with, one after the other."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        raise AssertionError("WebSocket draws bits only")

    def getrandbits(self, k: int, /) -> int:
        number = self.numbers.pop(0)
        assert number < 2**k
        return number


class Keys:
    """A source of masks that goes on from where it starts: every key is another one."""

    def __init__(self, start: int = 1) -> None:
        self.next = start

    def getrandbits(self, k: int, /) -> int:
        self.next = (self.next * 0x9E3779B97F4A7C15 + 1) % 2**k
        return self.next


class OneKey:
    """A source of masks that always gives the key ``01 02 03 04``."""

    def getrandbits(self, k: int, /) -> int:
        assert k == 32
        return 0x01020304


def flat(data: Data | None) -> bytes:
    """Return a message as one piece; nothing is the empty one."""
    return data if isinstance(data, bytes) else b"".join(data or ())
