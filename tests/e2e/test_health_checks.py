"""An agent whose service is unhealthy leaves routing and comes back; meanwhile the other agent gets all requests."""

import json

from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin, Visit, service
from tests.e2e.test_agent_admin import asked
from tests.e2e.wire import Wire, request
from tests.waiting import wait_until

CHECKS = ("--health-check.protocol", "http", "--health-check.path", "/up", "--health-check.interval", "100ms")


class Switched:
    """A service whose checks fail while ``is_up`` is false."""

    def __init__(self) -> None:
        self.is_up = True
        self.requests = 0

    def serve(self, wire: Wire) -> None:
        visit = Visit(wire, wire.receive_head())
        if visit.head.target == "/up":
            visit.respond(status="200 OK" if self.is_up else "503 Service Unavailable")
        else:
            self.requests += 1
            visit.respond()


def test_an_unhealthy_service_gets_no_requests_and_none_fails(fleet: Fleet, origin: Origin) -> None:
    switched = Switched()
    with service(switched.serve) as running:
        server = fleet.server()
        unhealthy = fleet.agent(server, "web", running.port, *CHECKS, "--admin.bind-addr", f"{LOCAL}:0")
        fleet.agent(server, "web", origin.port)

        def get() -> int:
            return request(server.proxy_port, "web", "/describe")[0].status

        wait_until(lambda: get() == 200 and switched.requests, "both are asked")
        switched.is_up = False
        unhealthy.await_log("the service is unhealthy: its endpoint takes no requests here until it recovers")
        wait_until(lambda: asked(unhealthy, "/ready")[0].status == 503, "it is not ready")
        assert json.loads(asked(unhealthy, "/status")[1])["endpoints"][0]["state"] == "resting"
        before = switched.requests
        assert {get() for _ in range(50)} == {200}
        assert switched.requests == before
        switched.is_up = True
        unhealthy.await_log("the service is healthy again")
        wait_until(lambda: get() == 200 and switched.requests > before, "it is asked again")
