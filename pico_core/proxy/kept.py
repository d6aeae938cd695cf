"""Upstreams that serve one exchange after another, where they come from, and where they wait in between.

The part that keeps them does not know how they frame: ``proxy.http1`` has those for HTTP/1.1.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from pico_core.http.message import HeadLimits
from pico_core.machine.channel import HoldingChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.proxy.exchange import Exchange, Upstream
from pico_core.proxy.failures import Failure
from pico_core.timers import NEVER


class UpstreamSource(Protocol):
    """Where a kept upstream came from and goes back to: a tunnel's streams, or a pool of TCP connections."""

    believes_failures: bool
    """Whether a Pico peer answers there, whose ``X-Pico-Failure`` says that the response is not the service's."""

    @property
    def response_limits(self) -> HeadLimits:
        """Bounds of the heads that come from there."""

    @property
    def heads(self) -> HeadBudget:
        """The budget of all unfinished heads."""

    def failure_of_loss(self, upstream: "KeptUpstream") -> Failure:
        """Return the failure when the upstream ended before the response."""

    def release(self, upstream: "KeptUpstream", now: float) -> None:
        """The exchange is over and the upstream can serve another one."""

    def retired(self, upstream: "KeptUpstream") -> None:
        """The upstream was idle and was closed."""

    def discard(self, upstream: "KeptUpstream", now: float) -> None:
        """The upstream is gone or was given up; ``upstream.exchange`` is what it served, if anything."""


class KeptUpstream(Upstream, Protocol):
    """An ``Upstream`` that stays open between exchanges.

    ``exchange`` is ``None`` while it is idle; ``reused`` says that it has been idle before. ``deadline_at`` is when an
    idle one expires, in seconds on the clock of ``now``. ``introduce`` returns a field line that its first request
    carries besides; while that is empty, so does the next. Until an exchange is forwarded to it, ``channel`` may be
    given to another user, which ends it with ``source.discard``.
    """

    channel: HoldingChannel
    source: UpstreamSource
    exchange: Exchange | None
    introduce: Callable[[], bytes] | None
    reused: bool
    deadline_at: float

    def retire(self) -> None:
        """Close it while it is idle, and tell the source. It serves no exchange any more."""


Keep: TypeAlias = Callable[[HoldingChannel, UpstreamSource], KeptUpstream]
"""A function that makes a kept upstream of a channel."""


class IdleUpstreams:
    """Upstreams that wait for their next exchange; the last one used is taken first, so that the rest can expire."""

    __slots__ = ("_idle_timeout_s", "_limit", "_may_exceed", "_upstreams")

    def __init__(self, limit: int, idle_timeout_s: float, may_exceed: Callable[[int], bool] | None = None) -> None:
        """``may_exceed`` says whether one more may be kept beside so many of them, which are ``limit`` or more."""
        self._upstreams: list[KeptUpstream] = []
        self._limit = limit
        self._may_exceed = may_exceed
        self._idle_timeout_s = idle_timeout_s

    @property
    def deadline_at(self) -> float:
        """When the one unused for longest expires."""
        return self._upstreams[0].deadline_at if self._upstreams else NEVER

    def put(self, upstream: KeptUpstream, now: float) -> None:
        """Keep an upstream, or retire it if there are enough."""
        count = len(self._upstreams)
        if count >= self._limit and (self._may_exceed is None or not self._may_exceed(count)):
            upstream.retire()
            return
        upstream.deadline_at = now + self._idle_timeout_s
        upstream.reused = True
        self._upstreams.append(upstream)

    def take(self) -> KeptUpstream | None:
        """Return an upstream, if there is one."""
        return self._upstreams.pop() if self._upstreams else None

    def idle_s(self, upstream: KeptUpstream, now: float) -> float:
        """Return for how long an upstream that is here was not used."""
        return now - (upstream.deadline_at - self._idle_timeout_s)

    def longest_idle_s(self, now: float) -> float:
        """Return for how long the one unused for longest was not used; 0 where there is none."""
        return self.idle_s(self._upstreams[0], now) if self._upstreams else 0.0

    def shortest_idle_s(self, now: float) -> float:
        """Return for how long the one that ``take`` would return was not used; 0 where there is none."""
        return self.idle_s(self._upstreams[-1], now) if self._upstreams else 0.0

    def remove(self, upstream: KeptUpstream) -> bool:
        """Forget an upstream that was lost; return whether it was here."""
        try:
            self._upstreams.remove(upstream)
        except ValueError:
            return False
        return True

    def expire(self, now: float) -> None:
        """Retire what was unused for too long."""
        while self._upstreams and self._upstreams[0].deadline_at <= now:
            self._upstreams.pop(0).retire()

    def close(self) -> None:
        """Retire every idle upstream; those in use are not here."""
        while self._upstreams:
            self._upstreams.pop().retire()
