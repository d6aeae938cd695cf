"""Which of the nodes that serve an endpoint a request is forwarded to."""

import random

from pico_core.cluster.view import ClusterView, RemoteNode
from pico_core.config.values import Address
from pico_core.gossip.status import NodeStatus


class Draw(random.Random):
    """Draws one number again and again."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self._number = number

    def random(self) -> float:
        return self._number


def view_of(avoided: list[str], *nodes: str, entropy: random.Random | None = None) -> ClusterView:
    """Return a view of nodes that all serve ``e``; forwarding to those in ``avoided`` just failed."""
    view = ClusterView(entropy or random.Random(1), lambda node_id, now: node_id not in avoided)
    for number, node_id in enumerate(nodes):
        node = view.add(node_id, f"192.0.2.{number}")
        view.set_proxy_addr(node, Address(f"192.0.2.{number}", 8000))
        view.set_endpoint(node, "e", 1)
    return view


def choices(view: ClusterView) -> set[str]:
    """Return the nodes that fifty requests are sent to."""
    chosen = [view.choose("e", (), 0.0, raw=False) for _ in range(50)]
    return {node.id for node in chosen if node is not None}


def node_of(view: ClusterView, node_id: str) -> RemoteNode:
    node = view.get(node_id)
    assert node is not None
    return node


def test_all_good_nodes_are_chosen() -> None:
    assert choices(view_of([], "a", "b")) == {"a", "b"}


def test_chances_are_as_the_numbers_of_upstreams() -> None:
    chosen = []
    for tenth in range(10):
        view = view_of([], "a", "b", entropy=Draw(tenth / 10))
        view.set_endpoint(node_of(view, "b"), "e", 4)
        node = view.choose("e", (), 0.0, raw=False)
        assert node is not None
        chosen.append(node.id)
    assert chosen == ["a"] * 2 + ["b"] * 8


def test_a_node_that_just_failed_is_chosen_only_where_no_good_one_is_left() -> None:
    assert choices(view_of(["a"], "a", "b", "c")) == {"b", "c"}
    assert choices(view_of(["a", "b"], "a", "b")) == {"a", "b"}


def test_a_node_that_just_failed_is_chosen_before_one_that_is_unreachable() -> None:
    """Simulator seed 820687: a new node had taken the address of the unreachable one, and answered in its place."""
    view = view_of(["a"], "a", "b")
    node_of(view, "b").status = NodeStatus.UNREACHABLE
    assert choices(view) == {"a"}


def test_a_node_that_just_failed_is_chosen_before_one_that_drains() -> None:
    view = view_of(["a"], "a", "b")
    node_of(view, "b").draining = True
    assert choices(view) == {"a"}


def test_an_unreachable_node_is_chosen_where_there_is_no_other() -> None:
    view = view_of([], "a", "b")
    node_of(view, "b").status = NodeStatus.UNREACHABLE
    assert view.choose("e", (node_of(view, "a"),), 0.0, raw=False) is node_of(view, "b")


def test_the_last_claim_says_what_a_node_takes() -> None:
    view = view_of([], "a")
    node = node_of(view, "a")
    for claim, takes_http, takes_raw in (
        ("", True, True),
        ("tcp agent-1", False, True),
        ("http agent-1", True, False),
        ("later agent-1", True, True),
        ("tcp", False, True),
        ("", True, True),
    ):
        view.set_claim(node, "e", claim)
        assert view.choose("e", (), 0.0, raw=False) is (node if takes_http else None), claim
        assert view.choose("e", (), 0.0, raw=True) is (node if takes_raw else None), claim
