"""Clients of the simulation that keep a connection to a host which loses its power."""

from dataclasses import replace

import pytest

from tests.sim.checks import Checks
from tests.sim.client import HttpClient, Load, Request
from tests.sim.deployment import Deployment
from tests.sim.network import Faults
from tests.sim.world import Violation, World

ASKING = Load(rate=0.0, posts=0.0, large=0.0, slow=0.0)


class Loss:
    """A server that a client has a connection to, and which loses its power while another one goes on."""

    def __init__(self, load: Load) -> None:
        self.world = World(1)
        self.deployment = Deployment(self.world, Faults())
        self.checks = Checks(self.deployment)
        self.deployment.start_servers(1)
        self.settle()
        self.client = self.deployment.add_client(["e"], load)
        self.ask()
        survivor = self.deployment.start_server(1)
        self.deployment.start_agent("agent", {"e": "http"}, server=survivor.host.address)
        self.settle()
        self.deployment.kill_server(0, dark=True)
        del self.deployment.servers[0]
        self.settle()

    def settle(self) -> None:
        self.world.run_until("everything in order", self.checks.order_problem, 60.0)
        self.world.run(2.0)

    def ask(self) -> Request:
        asked: list[Request] = []
        client: HttpClient = self.client
        client.process.call(lambda now: asked.append(client.ask(client.targets[0], "e", now)))
        return asked[0]


def test_a_request_on_an_old_connection_to_a_host_without_power_is_not_the_servers_fault() -> None:
    loss = Loss(ASKING)
    request = loss.ask()
    loss.world.run(60.0)
    assert (request.outcome, request.host_was_dark) == ("timeout", True)
    loss.checks.check_requests()
    assert loss.world.sometimes["request on an old connection to a dark host"] == 1


def test_any_other_request_that_fails_while_everything_is_in_order_is_one() -> None:
    loss = Loss(ASKING)
    loss.client = loss.deployment.add_client(["e"], replace(ASKING, timeout_s=0.0001))
    assert not loss.ask().host_was_dark
    loss.world.run(1.0)
    with pytest.raises(Violation, match="with everything in order since"):
        loss.checks.check_requests()


def test_a_client_that_probes_its_connections_asks_again_elsewhere() -> None:
    loss = Loss(replace(ASKING, keep_alive=True))
    request = loss.ask()
    loss.world.run(20.0)
    assert (request.outcome, request.host_was_dark) == ("ok", False)


def test_a_client_does_not_send_a_post_again_that_may_have_been_processed() -> None:
    loss = Loss(replace(ASKING, keep_alive=True))
    loss.client.load = replace(ASKING, posts=1.0)
    request = loss.ask()
    loss.world.run(20.0)
    assert (request.outcome, request.host_was_dark) == ("lost", True)
