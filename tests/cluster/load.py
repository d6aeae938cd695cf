"""Steady load on a cluster, and the outcome of each request."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.cluster.harness import Address, Connect, connect
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

REQUESTS_PER_CONNECTION = 20

SLOWEST_RATE = 25
"""Requests a second that a machine with much other work does still."""


@contextlib.contextmanager
def echo_origin() -> Iterator[tuple[Origin, str]]:
    """A service, and the path below which it answers with the query or the body it got."""
    origin = Origin()

    def echo(visit: Visit) -> None:
        visit.respond(visit.body() or visit.head.target.partition("?")[2].encode())

    try:
        yield origin, origin.handle(echo)
        origin.check()
    finally:
        origin.close()


@dataclass(frozen=True)
class Outcome:
    """One request: when it began, how long it took, and why it failed."""

    began_at: float
    took_s: float
    method: str
    failure: str


class Load:
    """Clients that do one request after the other, each on a connection kept for a while, and never try one again.

    Addresses take turns. Use as a context; its outcomes are whole when the context has ended.
    """

    def __init__(
        self,
        endpoint: str,
        path: str,
        addresses: Sequence[Address],
        *,
        clients: int = 4,
        pause_s: float = 0.008,
        methods: Sequence[str] = ("GET", "POST"),
        patience_s: float = PATIENCE_S,
        reach: Connect = connect,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._endpoint = endpoint
        self._path = path
        self._turns = itertools.cycle(addresses)
        self._pause_s = pause_s
        self._methods = methods
        self._patience_s = patience_s
        self._reach = reach
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, client: int) -> None:
        wire: Wire | None = None
        for number in itertools.count():
            if self._stopping.wait(self._pause_s):
                break
            method = self._methods[number % len(self._methods)]
            began_at = time.monotonic()
            failure = ""
            try:
                if wire is None:
                    wire = Wire(self._reach(next(self._turns)))
                    wire.socket.settimeout(self._patience_s)
                keep = self._request(wire, method, f"{client}-{number}")
            except (OSError, AssertionError) as error:
                failure, keep = repr(error)[:300], False
            self.outcomes.append(Outcome(began_at, time.monotonic() - began_at, method, failure))
            if wire is not None and (not keep or (number + 1) % REQUESTS_PER_CONNECTION == 0):
                wire.socket.close()
                wire = None
        if wire is not None:
            wire.socket.close()

    def _request(self, wire: Wire, method: str, token: str) -> bool:
        """Return whether the connection can carry another request."""
        if method == "POST":
            wire.send(request_bytes(self._endpoint, self._path, method, body=token.encode()))
        else:
            wire.send(request_bytes(self._endpoint, f"{self._path}?{token}", method))
        head, body = receive_response(wire, method)
        assert (head.status, body) == (200, token.encode()), f"{method} {token}: {head.status} {body[:200]!r}"
        return head["connection"].lower() != "close"

    def go_on(self, requests: int) -> None:
        """Wait until so many more are done."""
        reached = len(self.outcomes) + requests
        wait_until(lambda: len(self.outcomes) >= reached, f"{requests} requests")

    def reach(self, requests: int) -> None:
        """Wait until there are so many in all."""
        wait_until(lambda: len(self.outcomes) >= requests, f"{requests} requests", PATIENCE_S + requests / SLOWEST_RATE)

    # --- the outcomes ---

    def begun(self, after: float) -> int:
        """Return how many of the requests that are done began after a time."""
        return sum(each.began_at >= after for each in self.outcomes)

    def failures(self, began_after: float = 0.0) -> list[Outcome]:
        return [each for each in self.outcomes if each.failure and each.began_at >= began_after]

    def slowest_s(self, began_after: float = 0.0) -> float:
        return max((each.took_s for each in self.outcomes if each.began_at >= began_after), default=0.0)

    def report(self, title: str) -> None:
        """Print the figures of a test (``pytest -s`` shows them)."""
        print(
            f"\n{title}: {len(self.outcomes)} requests, {len(self.failures())} failed, "
            f"slowest {self.slowest_s() * 1e3:.0f} ms"
        )

    def check(self, at_least: int) -> None:
        """Nothing failed, and it was not for lack of requests."""
        assert not self.failures(), self.failures()[:10]
        assert len(self.outcomes) >= at_least
