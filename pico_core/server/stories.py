"""The requests that went wrong lately, by ID: what ``/status/requests`` tells, and ``pico explain``.

A node keeps what it knows of a request itself: the entry node the whole of it, the node with the tunnel its part. It
keeps nothing of queries and header fields.
"""

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from pico_core.cluster.view import RemoteNode
from pico_core.http.message import MessageError
from pico_core.http.writing import LEAST_SERVER_ERROR_STATUS
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.reasons import REASONS
from pico_core.server.tunnels import TunnelConnection

MAX_STORIES = 1_000
"""Of each kind: at a failure a second a quarter of an hour, in half a megabyte."""

MAX_PATH_CHARACTERS = 128
"""Of a path and of an endpoint: the beginning tells which part of a service failed."""


class Attempt(msgspec.Struct, frozen=True):
    """One upstream that a request was sent to and that gave no answer: which, why, and what is known of the cause."""

    via: str
    reason: str
    detail: str


class Story(msgspec.Struct, frozen=True):
    """One request as a node saw it.

    ``at_s`` is when it was over, in seconds since the epoch; 0 where the node did not know the time. ``reason`` is
    empty where the answer was the service's own. ``hop`` is ``entry`` at the node of the client, ``tunnel`` at the one
    that it forwarded to; ``via`` is what the last attempt went to. ``detail`` is what Pico's own answer said, empty
    where the answer was the service's. Of bytes that were not a request neither method nor path nor endpoint is known.
    """

    request_id: str
    at_s: float
    method: str
    path: str
    endpoint: str
    client: str
    hop: str
    status: int
    reason: str
    by: str
    via: str
    duration_ms: float
    attempts: tuple[Attempt, ...]
    detail: str = ""


class Stories:
    """The last failures, and apart from them the last errors of services that are the client's fault (4xx)."""

    def __init__(self) -> None:
        self._failures: OrderedDict[bytes, Story] = OrderedDict()
        self._refusals: OrderedDict[bytes, Story] = OrderedDict()

    def add(self, exchange: Exchange, detail: str, wall_s: float, now: float) -> None:
        """Keep an exchange that is over. ``wall_s`` is 0 where the time of day is not known."""
        kept = self._failures if exchange.reason or exchange.status >= LEAST_SERVER_ERROR_STATUS else self._refusals
        _keep(kept, exchange.request_id, _story(exchange, detail, wall_s, now))

    def add_refused(self, error: MessageError, reason: str, client: str, request_id: bytes, wall_s: float) -> None:
        """Keep what was not a request: apart from the failures, since anybody can send a lot of it."""
        story = Story(
            request_id=request_id.decode(),
            at_s=round(wall_s, 3),
            method="",
            path="",
            endpoint="",
            client=client,
            hop="entry",
            status=error.status,
            reason=reason,
            by=REASONS[reason].by,
            via="",
            duration_ms=0.0,
            attempts=(),
            detail=error.reason,
        )
        _keep(self._refusals, request_id, story)

    def get(self, request_id: str) -> Story | None:
        """Return the story of a request."""
        name = request_id.encode()
        return self._failures.get(name) or self._refusals.get(name)

    def failures(self, endpoint: str = "") -> Iterator[Story]:
        """Return the failures of an endpoint, or of all, the last ones first."""
        return (story for story in reversed(self._failures.values()) if not endpoint or story.endpoint == endpoint)


def _keep(kept: OrderedDict[bytes, Story], request_id: bytes, story: Story) -> None:
    while len(kept) >= MAX_STORIES:
        kept.popitem(last=False)
    kept[request_id] = story


def _story(exchange: Exchange, detail: str, wall_s: float, now: float) -> Story:
    head, reason = exchange.head, exchange.reason
    return Story(
        exchange.request_id.decode(),
        round(wall_s, 3),
        head.method.decode("latin-1"),
        head.target.partition(b"?")[0][:MAX_PATH_CHARACTERS].decode("latin-1"),
        exchange.endpoint[:MAX_PATH_CHARACTERS],
        exchange.client_host,
        "entry" if exchange.is_entry else "tunnel",
        exchange.status,
        reason,
        REASONS[reason].by if reason else "service",
        route_name(exchange.route),
        round((now - exchange.started_at) * 1000, 3),
        tuple(Attempt(route_name(route), failure.reason, failure.detail) for failure, route in exchange.story),
        detail,
    )


def route_name(route: object) -> str:
    """Name the agent or node that a request was sent to, for people; empty where it was sent nowhere."""
    if isinstance(route, TunnelConnection):
        return f"agent at {route.client_host}"
    return f"node {route.id}" if isinstance(route, RemoteNode) else ""
