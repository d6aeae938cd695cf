"""An application in the program while nodes restart: real nodes, asked to leave by SIGTERM, and no request is lost."""

from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest

from tests.cluster.balancers import Balancer
from tests.cluster.harness import Cluster, NodeProcess, await_route, loopback_cluster
from tests.cluster.load import Load
from tests.sdk.kit import Answer, Kit, linked
from tests.waiting import wait_until

ENOUGH = 10_000
ROUNDS = 6


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body, or else with the query."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body or unquote(scope["query_string"]).encode()})


def holder_of(cluster: Cluster, listener: Any) -> NodeProcess:
    """Return the node that has the tunnel, once the listener is registered."""
    wait_until(lambda: listener.is_registered, "a registered endpoint")
    return next(node for node in cluster.nodes if node.id == listener.node)


def restarts(kit: Kit, rounds: int, requests: int) -> None:
    """Restart the node that holds the tunnel, at least ``rounds`` times, until so many requests were answered."""

    async def scenario(kit: Kit) -> None:
        host, port = balancer.upstream
        async with kit.pico.connect(f"http://{host}:{port}") as client, client.serve("e1", echo) as listener:
            await kit.in_thread(lambda: under_load(listener))
            events = listener.events()
            kinds = [type(await anext(events)).__name__ for _ in range(1 + rounds)]
            assert kinds == ["Registered", *["Moved"] * rounds]

    def under_load(listener: Any) -> None:
        for node in cluster.nodes:
            await_route(node.place, "e1", "/?x")
        stops: list[float] = []
        with Load("e1", "/", [balancer.proxy], clients=8, pause_s=0.004) as load:
            while len(stops) < rounds or len(load.outcomes) < requests:
                stops.append(holder_of(cluster, listener).restart())
                cluster.await_whole()
        load.report(f"{kit.runtime}: {len(stops)} restarts of the node with the tunnel, stops up to {max(stops):.1f} s")
        load.check(requests)

    with loopback_cluster(kit.runtime, 2) as cluster, Balancer([node.place for node in cluster.nodes]) as balancer:
        kit.run(scenario)


def test_no_request_is_lost_while_the_node_with_the_tunnel_leaves(kit: Kit) -> None:
    restarts(kit, 1, 200)


@pytest.mark.slow
def test_none_of_ten_thousand_requests_is_lost_while_nodes_with_the_tunnel_restart(kit: Kit) -> None:
    kit.patience_s = 280.0
    restarts(kit, ROUNDS, ENOUGH)


def test_no_request_is_lost_while_one_of_two_programs_leaves(kit: Kit) -> None:
    async def scenario(kit: Kit) -> None:
        answers: list[Answer] = []
        over = kit.event()
        async with (
            linked(kit) as (node, staying),
            kit.pico.serve_node(settings={"cluster.join": node.gossip_address}) as other,
            kit.pico.connect(other.upstream_url) as leaving,
            staying.serve("app", echo),
        ):

            async def come_and_go() -> None:
                for _ in range(10):
                    async with leaving.serve("app", echo):
                        enough = len(answers) + 20
                        await kit.until(lambda: len(answers) > enough)  # noqa: B023 - at once
                over.set()

            async def ask(address: str) -> None:
                while not over.is_set():
                    answers.append(await kit.get(address, "/?x"))

            while (await kit.get(other.proxy_address, "/?x")).status != 200:
                pass
            await kit.together(come_and_go, *(partial(ask, each.proxy_address) for each in (node, node, other, other)))
        assert [each for each in answers if each.body != b"x"] == []

    kit.run(scenario)
