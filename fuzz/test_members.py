"""The table of nodes, under any order of its transitions: what it counts and lists is what it holds."""

import random
from typing import TypeAlias

from hypothesis import example, given
from hypothesis import strategies as st

from pico_core.gossip.events import Event
from pico_core.gossip.member import Member
from pico_core.gossip.members import REMOVE_AFTER_S, Members
from pico_core.gossip.state import Budget, LocalState
from pico_core.gossip.status import NodeStatus

ACTS = ("add", "add", "is_pico", "is_pico", "unreachable", "reachable", "left", "moved", "proved", "expire")
Step: TypeAlias = tuple[str, int, float]
steps = st.tuples(st.sampled_from(ACTS), st.integers(0, 5), st.sampled_from((0.0, 1.0, REMOVE_AFTER_S)))


def act(members: Members, name: str, number: int, now: float) -> None:
    """Do what the table's state permits for one of a few nodes."""
    node_id, addr = f"node-{number}", f"10.0.0.{number}:8003"
    member = members.nodes.get(node_id)
    if name == "expire":
        members.expire(now)
    elif member is None:
        if name == "add":
            members.add(node_id, addr, now)
    elif name == "unreachable" and member.status is NodeStatus.ACTIVE:
        members.unreachable(member, "silent", now)
    elif name == "reachable" and member.status is not NodeStatus.ACTIVE:
        members.reachable(member, now)
    elif name == "left" and member.status is not NodeStatus.LEFT:
        members.left(member, now)
    elif name == "proved":
        members.proved(member, now)
    elif name == "moved":
        members.moved(member, f"10.0.1.{number}:8003", now)
    elif name == "is_pico":
        members.set_pico(member, not member.is_pico)


@given(st.lists(steps, max_size=60))
@example([("add", 0, 0.0), ("left", 0, 0.0), ("reachable", 0, 0.0)])
def test_counts_and_lists_are_those_of_the_table(script: list[Step]) -> None:
    local = Member("local", "10.0.0.99:8003", LocalState(Budget(1 << 20)), 0.0)
    events: list[Event] = []
    members = Members(local, random.Random(1), events.append)
    now = 0.0
    for name, number, pause_s in script:
        now += pause_s
        act(members, name, number, now)
        others = [member for member in members.nodes.values() if member is not local]
        active = [member for member in others if member.status is NodeStatus.ACTIVE]
        assert members.peers == len(active)
        assert set(members.reporters) == {member.id for member in active if member.is_pico}
        left = {member.id for member in others if member.status is NodeStatus.LEFT}
        proved = {member.id for member in active if member.verified}
        listed = left | proved
        assert set(members.listing.nodes) == {"local", *listed}
        assert {member.id for member in members.active()} == proved
        unreachable = {member.id for member in others if member.status is NodeStatus.UNREACHABLE}
        assert {member.id for member in members.unreachable_nodes()} == unreachable
        assert not set(members.removed) & set(members.nodes)
