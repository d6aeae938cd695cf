"""Which tunnels serve which endpoint on this node, and which of them takes the next request."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from pico_core.cluster.health import Health


class LocalUpstream(Protocol):
    """The part of a tunnel that the registry needs."""

    endpoint: str
    in_flight: int
    health: Health | None
    """The experience with it, while that is bad."""


U = TypeVar("U", bound=LocalUpstream)


class Registry(Generic[U]):
    """Endpoints with their local upstreams. ``on_change(endpoint, count)`` is called for every change of a count."""

    def __init__(self, on_change: Callable[[str, int], None]) -> None:
        self._endpoints: dict[str, _Rotation[U]] = {}
        self._leaving: dict[str, _Rotation[U]] = {}
        self._on_change = on_change

    def add(self, upstream: U) -> None:
        """Route requests for ``upstream.endpoint`` to it. Next: ``remove`` when it leaves, or ``withdraw`` before."""
        count = _add(self._endpoints, upstream)
        self._on_change(upstream.endpoint, count)

    def withdraw(self, upstream: U) -> None:
        """Count it no more, and let only ``choose_leaving`` return it. Next: ``remove``."""
        if self.remove(upstream):
            _add(self._leaving, upstream)

    def remove(self, upstream: U) -> bool:
        """Route nothing more to ``upstream``; return whether it was counted."""
        _remove(self._leaving, upstream)
        count = _remove(self._endpoints, upstream)
        if count is None:
            return False
        self._on_change(upstream.endpoint, count)
        return True

    def choose(self, endpoint: str, avoid: Sequence[object], now: float, *, healthy: bool = False) -> U | None:
        """Return the upstream with the fewest requests in flight; ties take turns. ``avoid`` were tried already.

        With ``healthy`` it is one that does not fail at present.
        """
        rotation = self._endpoints.get(endpoint)
        if rotation is None:
            return None
        members = rotation.members
        if len(members) == 1 and not avoid and members[0].health is None:
            return members[0]
        return rotation.choose(avoid, now, healthy=healthy)

    def choose_leaving(self, endpoint: str, avoid: Sequence[object], now: float) -> U | None:
        """As ``choose``, among those that were withdrawn."""
        rotation = self._leaving.get(endpoint)
        return None if rotation is None else rotation.choose(avoid, now, healthy=False)

    def leaving(self, endpoint: str) -> Iterable[U]:
        """Return the upstreams of ``endpoint`` that were withdrawn and are not removed yet."""
        rotation = self._leaving.get(endpoint)
        return () if rotation is None else rotation.members

    def members(self, endpoint: str) -> Iterable[U]:
        """Return the upstreams of ``endpoint``; none where it has no upstream here."""
        rotation = self._endpoints.get(endpoint)
        return () if rotation is None else rotation.members

    @property
    def endpoint_count(self) -> int:
        """How many endpoints have an upstream here."""
        return len(self._endpoints)

    def counts(self) -> dict[str, int]:
        """Return how many upstreams each endpoint has."""
        return {endpoint: len(rotation.members) for endpoint, rotation in self._endpoints.items()}

    def __iter__(self) -> Iterator[U]:
        """Yield every upstream of every endpoint."""
        for rotation in self._endpoints.values():
            yield from rotation.members


class _Rotation(Generic[U]):
    """The upstreams of one endpoint, and whose turn it is."""

    __slots__ = ("members", "turn")

    def __init__(self) -> None:
        self.members: tuple[U, ...] = ()
        self.turn = 0

    def choose(self, avoid: Sequence[object], now: float, *, healthy: bool) -> U | None:
        members = self.members
        count = len(members)
        best: U | None = None
        best_at = 0
        for step in range(count):
            at = (self.turn + step) % count
            candidate = members[at]
            if (best is None or candidate.in_flight < best.in_flight) and candidate not in avoid:
                if healthy and candidate.health is not None and not candidate.health.is_good(now):
                    continue
                best, best_at = candidate, at
                if not candidate.in_flight:
                    break
        self.turn = best_at + 1
        return best


def _add(endpoints: dict[str, _Rotation[U]], upstream: U) -> int:
    """Add an upstream; return how many its endpoint has now."""
    rotation = endpoints.setdefault(upstream.endpoint, _Rotation())
    rotation.members = (*rotation.members, upstream)
    return len(rotation.members)


def _remove(endpoints: dict[str, _Rotation[U]], upstream: U) -> int | None:
    """Remove an upstream; return how many its endpoint has left, ``None`` if it was not there."""
    rotation = endpoints.get(upstream.endpoint)
    if rotation is None or upstream not in rotation.members:
        return None
    position = rotation.members.index(upstream)
    rotation.members = rotation.members[:position] + rotation.members[position + 1 :]
    if not rotation.members:
        del endpoints[upstream.endpoint]
    return len(rotation.members)
