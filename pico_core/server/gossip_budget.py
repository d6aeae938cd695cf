"""How many gossip streams may be open, and how many bytes of unfinished ones are kept, for all of them together."""

from collections.abc import Callable
from typing import Protocol

STRANGER_STREAMS = 48
STRANGER_STREAMS_PER_HOST = 16
"""Nodes that start at once on one host, as in a test on loopback, each join in a few milliseconds."""
STRANGER_BYTES = 16 << 20
STRANGER_BYTES_PER_HOST = 8 << 20
"""A node that begins with 20,000 endpoints says so in 2 MiB with usual names."""
MEMBER_STREAMS = 64
MEMBER_STREAMS_PER_HOST = 32
MEMBER_BYTES = 48 << 20
"""Three of the largest answers: those of nodes that have answered us, and those to our own requests."""
MEMBER_BYTES_PER_HOST = 32 << 20


class Held(Protocol):
    """A stream as its budget sees it."""

    host: str
    size_bytes: int

    def give_way(self, now: float) -> None:
        """End now, since other streams need the room. The budget has forgotten it."""


class StreamBudget:
    """One kind of streams. Over the number, the oldest of the host with most gives way; over the bytes, the largest."""

    def __init__(
        self,
        streams: int,
        streams_per_host: int,
        size_bytes: int,
        bytes_per_host: int,
        group: Callable[[str], str] = str,
    ) -> None:
        """Hosts of one ``group`` share what is for each host: peers that may take any address of their network."""
        self._streams = streams
        self._streams_per_host = streams_per_host
        self._size_bytes = size_bytes
        self._bytes_per_host = bytes_per_host
        self._group = group
        self._held: dict[Held, None] = {}

    def add(self, stream: Held, now: float) -> None:
        """Count a stream that opens; an older one may have to end for it. Next: ``grow``, and ``remove`` at its end."""
        same = self._of_same(stream)
        if len(same) >= self._streams_per_host:
            self._end(same[0], now)
        elif len(self._held) >= self._streams:
            by_host: dict[str, list[Held]] = {}
            for each in self._held:
                by_host.setdefault(self._group(each.host), []).append(each)
            self._end(max(by_host.values(), key=len)[0], now)
        self._held[stream] = None

    def grow(self, stream: Held, size_bytes: int, now: float) -> bool:
        """Make room for more bytes of a stream; return false if that stream gave way itself."""
        stream.size_bytes += size_bytes
        while sum(map(_size, self._of_same(stream))) > self._bytes_per_host:
            self._end(max(self._of_same(stream), key=_size), now)
        while sum(each.size_bytes for each in self._held) > self._size_bytes:
            self._end(max(self._held, key=_size), now)
        return stream in self._held

    def remove(self, stream: Held) -> None:
        """The stream ended. Safe to repeat."""
        self._held.pop(stream, None)

    def _of_same(self, stream: Held) -> list[Held]:
        group = self._group(stream.host)
        return [each for each in self._held if self._group(each.host) == group]

    def _end(self, stream: Held, now: float) -> None:
        del self._held[stream]
        stream.give_way(now)


def _size(stream: Held) -> int:
    return stream.size_bytes
