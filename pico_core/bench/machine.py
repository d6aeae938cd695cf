"""A bench as a machine: clients that send requests to a server, at a rate or as fast as it answers.

Start at ``BenchMachine``; ``plan.Plan`` names the work and ``plan.Outcome`` its result.
"""

from collections import deque
from collections.abc import Callable

from pico_core.bench.client import BenchClient, Request
from pico_core.bench.plan import NUMBER, Outcome, Plan, count, request_template
from pico_core.boundary import Exit, ShutdownRequested
from pico_core.machine.base import BaseMachine

PROGRESS_S = 1.0
"""How often the outcome so far is shown."""

PAUSE_S = 0.1
"""How long a client rests after a failure, so that a server that is away is not flooded with connections."""

CONNECTING_AT_ONCE = 100
"""How many clients open their first connection in one step of ``RAMP_S``; a backlog is commonly 128 or more."""

RAMP_S = 0.01
"""With ``CONNECTING_AT_ONCE``, ten thousand clients are connected within a second."""


class BenchMachine(BaseMachine):
    """A ``Machine`` that exits with 0 when the load is over, with 1 when not one response came. Next: ``outcome``."""

    def __init__(self, plan: Plan, show: Callable[[Outcome], None]) -> None:
        """``show`` is called about once a second with the outcome so far, and must return at once."""
        super().__init__()
        self.outcome = Outcome()
        self._plan = plan
        self._show = show
        self._requests = list(request_template(plan).values())
        self._numbered = any(NUMBER in request for request in self._requests)
        self._number = 0
        self._free: deque[BenchClient] = deque()
        self._clients: list[BenchClient] = []
        self._began_at = 0.0
        self._until = 0.0
        self._over = False
        self._finished = False

    def on_start(self, now: float) -> None:
        """Let the clients begin: all at once where the load has a rate, else ``CONNECTING_AT_ONCE`` in a step."""
        self._began_at = now
        self._until = now + self._plan.duration_s
        self.timers.schedule(now + PROGRESS_S, self._progress)
        self.timers.schedule(self._until, self._end_load)
        if self._plan.rate:
            self._free.extend(self._client() for _ in range(self._plan.clients))
            self._send_due(now)
        else:
            self._ramp(now)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """Stop now, with the outcome so far."""
        self._finish(now)

    # --- as the user of the clients ---

    def on_connection(self) -> None:
        """Count a connection that was opened."""
        self.outcome.connections += 1

    def on_received(self, size: int) -> None:
        """Count bytes of responses, heads included."""
        self.outcome.received_bytes += size

    def on_response(self, client: BenchClient, status: int, request: Request, now: float) -> None:
        """Record status and latency of a whole response, and let the client send its next request when that is due."""
        count(self.outcome.statuses, str(status))
        self.outcome.latency.record(now - request.since)
        self.outcome.elapsed_s = now - self._began_at
        self._go_on(client, now)

    def on_failure(self, client: BenchClient, reason: str, now: float) -> None:
        """Count a failure, and give the client its next request after ``PAUSE_S``."""
        count(self.outcome.failures, reason)
        if self._over:
            self._go_on(client, now)
        else:
            self.timers.schedule(now + PAUSE_S, lambda later: self._go_on(client, later))

    # --- inside ---

    def _client(self) -> BenchClient:
        plan = self._plan
        server = plan.server
        client = BenchClient(self, self, server.host, server.port, plan.tls, plan.method, plan.timeout_s)
        self._clients.append(client)
        return client

    def _ramp(self, now: float) -> None:
        """Let some more clients begin."""
        if self._over:
            return
        for _ in range(min(CONNECTING_AT_ONCE, self._plan.clients - len(self._clients))):
            self._client().send(self._next(now), now)
        if len(self._clients) < self._plan.clients:
            self.timers.schedule(now + RAMP_S, self._ramp)

    def _next(self, since: float) -> Request:
        """Return the next request. ``since`` is when it is due."""
        self._number += 1
        data = self._requests[self._number % len(self._requests)]
        if self._numbered:
            data = data.replace(NUMBER, b"%d" % self._number)
        return Request(data, since)

    def _due_at(self) -> float:
        """Return when the next request of a load with a rate is due."""
        return self._began_at + self._number / self._plan.rate

    def _send_due(self, now: float) -> None:
        """Send every request that is due, as long as there is a client for it, and come back for the next one."""
        while self._free and self._due_at() <= now and not self._over:
            self._free.popleft().send(self._next(self._due_at()), now)
        if self._free and not self._over:
            self.timers.schedule(self._due_at(), self._send_due)

    def _go_on(self, client: BenchClient, now: float) -> None:
        if self._over:
            if all(each.request is None for each in self._clients):
                self._finish(now)
        elif not self._plan.rate:
            client.send(self._next(now), now)
        elif self._due_at() <= now:
            client.send(self._next(self._due_at()), now)
        else:
            self._free.append(client)
            if len(self._free) == 1:
                self.timers.schedule(self._due_at(), self._send_due)

    def _progress(self, now: float) -> None:
        self._show(self.outcome)
        self.timers.schedule(now + PROGRESS_S, self._progress)

    def _end_load(self, now: float) -> None:
        """Send nothing more, and wait for what was sent."""
        self._over = True
        if self._plan.rate:
            self.outcome.late = max(int((self._until - self._began_at) * self._plan.rate) - self._number, 0)
        if all(client.request is None for client in self._clients):
            self._finish(now)

    def _finish(self, now: float) -> None:
        if self._finished:
            return
        self._over = self._finished = True
        # A server that answers nothing any more makes the load no shorter.
        self.outcome.elapsed_s = max(self.outcome.elapsed_s, min(now, self._until) - self._began_at)
        for client in self._clients:
            client.stop(now)
        if self.outcome.latency.count:
            self.emit(Exit(0, ""))
            return
        reasons = self.outcome.failures
        reason = max(reasons, key=lambda each: reasons[each]) if reasons else "none came before the end"
        self.emit(Exit(1, f"no response from {self._plan.server}: {reason}"))
