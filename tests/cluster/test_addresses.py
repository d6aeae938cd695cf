"""Two hosts, one subnet, no default route, default ports: each tells the other an address that leads to it."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, Command, NodeProcess, Place
from tests.cluster.load import echo_origin
from tests.cluster.network import Namespace, Network, run, why_not
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import wait_until

pytestmark = [pytest.mark.namespaces, pytest.mark.debian]

KEYS = ("cluster.gossip.advertise_addr", "proxy.advertise_addr", "admin.advertise_addr")
NO_ADDRESS = "no address to tell other nodes: none of this host leads to a node to join"
CANNOT_REACH = "a node tells an address that other hosts cannot reach: set the key there"


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Network() as network:
        both = network.namespace("one", 11), network.namespace("two", 12)
        for namespace in both:
            run("ip", "-n", namespace.name, "route", "del", "default")
            number = namespace.address.rpartition(".")[2]
            run("ip", "-n", namespace.name, "address", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
        yield both


class Pair(Cluster):
    """Two hosts; ``start`` puts a node on one of them."""

    def start(self, host: Namespace, join: str, *flags: str) -> NodeProcess:
        join_flags = ("--cluster.join", join) if join else ()
        place = Place(
            host.name,
            host.address,
            prefix=host.prefix,
            arguments=("server", "--runtime", self.runtime, "--drain-delay", "0s", *join_flags, *flags),
        )
        self.nodes.append(NodeProcess(place, host.connect))
        return self.nodes[-1]

    def answer(self, client: Namespace, node: NodeProcess, path: str) -> tuple[int, bytes]:
        """Return the status and the body that a node gives a client on ``client`` for the endpoint e1."""
        with Wire(client.connect(node.place.proxy)) as wire:
            wire.send(request_bytes("e1", f"{path}?hello"))
            head, body = receive_response(wire)
        return head.status, body


@pytest.fixture
def pair(runtime: str) -> Iterator[Pair]:
    cluster = Pair(runtime)
    try:
        yield cluster
    finally:
        cluster.close()


def warnings(process: Command) -> list[str]:
    """Return what the node says about addresses; every node without a gossip key says so too."""
    told = [each for each in process.logged("") if each.get("set", "cluster.gossip.keys") != "cluster.gossip.keys"]
    return [f"{each['message']}: {each['set']}" for each in told]


@pytest.mark.parametrize(
    ("first_joins", "second_joins", "expected"),
    [
        ("10.77.0.12", "10.77.0.11", "10.77.0.11:8000"),
        ("", "10.77.0.11", "10.77.0.11:8000"),
        ("[fd77::12]", "[fd77::11]", "[fd77::11]:8000"),
    ],
    ids=["each joins the other", "one joins", "IPv6"],
)
def test_two_hosts_see_each_other_and_forward(
    pair: Pair, hosts: tuple[Namespace, Namespace], first_joins: str, second_joins: str, expected: str
) -> None:
    one, two = hosts
    first, second = pair.start(one, first_joins), pair.start(two, second_joins)
    pair.await_whole()
    assert f'"proxy_addr":"{expected}"'.encode() in second.fetch("/status/cluster/nodes")
    with contextlib.ExitStack() as stack:
        with one.entered():
            origin, path = stack.enter_context(echo_origin())
        pair.agent(first.place.upstream, "e1", ("127.0.0.1", origin.port), one.prefix)
        wait_until(lambda: pair.answer(one, second, path) == (200, b"hello"), "a forwarded request")
        assert pair.answer(two, first, path) == (200, b"hello")
        for node in pair.nodes:
            assert not warnings(node.process)
        for agent in pair.agents:
            agent.stop()


def test_a_host_without_a_route_names_the_keys_and_joins_once_it_has_one(
    pair: Pair, hosts: tuple[Namespace, Namespace]
) -> None:
    one, two = hosts
    pair.start(two, "")
    run("ip", "-n", one.name, "address", "flush", "dev", "eth0")
    run("ip", "-n", one.name, "link", "set", "eth0", "down")
    first = pair.start(one, two.address)
    record = first.process.await_log(NO_ADDRESS)
    assert record["set"] == ", ".join(KEYS)
    run("ip", "-n", one.name, "link", "set", "eth0", "up")
    run("ip", "-n", one.name, "address", "add", f"{one.address}/24", "dev", "eth0")
    pair.await_whole()
    assert len([each for each in warnings(first.process) if each.startswith(NO_ADDRESS)]) == 1


@pytest.mark.parametrize("key", KEYS)
def test_a_loopback_address_that_another_host_tells_is_said(
    pair: Pair, hosts: tuple[Namespace, Namespace], key: str
) -> None:
    one, two = hosts
    flag = f"--{key.replace('_', '-')}=127.0.0.1:8003"
    first, second = pair.start(one, two.address, flag), pair.start(two, one.address)
    record = second.process.await_log(CANNOT_REACH)
    assert (record["node"], record["addr"], record["set"]) == (first.id, "127.0.0.1:8003", key)
    assert first.process.await_log("other hosts cannot reach the address that this node tells them")["set"] == key
    wait_until(second.is_ready, "ready")
    if key != KEYS[0]:
        pair.await_whole()
    else:
        assert not second.members()
    assert warnings(second.process) == [f"{CANNOT_REACH}: {key}"]
