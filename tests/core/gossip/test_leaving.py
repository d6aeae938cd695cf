"""Leaving, in plays."""

import random

from pico_core.gossip import wire
from pico_core.gossip.events import LeaveDone, NodeForgotten, NodeJoined, NodeLeft, NodeReachable, StreamRequest
from pico_core.gossip.machine import Gossip
from pico_core.gossip.members import MemberStatus
from pico_core.gossip.state import LEFT_KEY
from pico_core.gossip.wire import DigestEntry, Entry
from tests.core.gossip.plays import (
    B,
    C,
    Unmoved,
    digest,
    drain,
    engine,
    events,
    exchange_of,
    exchange_of_new,
    introduce_third,
    joined,
    sent,
    silence,
)


def test_leaving_is_told_over_tcp_and_by_datagrams():
    first, second = joined()
    second.leave(0.2)
    second.leave(0.2)
    outputs = drain(second)
    request = exchange_of(outputs)
    farewell = sent(outputs)[0]
    assert farewell.nodes[0].entries == [Entry(LEFT_KEY, "", 3, True, False)]
    assert farewell.nodes[0].after == 2
    reply = first.accept_stream("10.0.0.2").receive(request.data, 0.21)
    assert drain(first) == [NodeLeft("b")]
    assert second.exchange_received(request.number, reply, 0.22)
    assert drain(second) == [LeaveDone(1)]
    assert first.status("b") is MemberStatus.LEFT
    assert not first.can_forward("b", 0.3)
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 0.3)
    assert events(drain(first)) == []
    assert events(silence(first, 0.4, 65.0)) == [NodeForgotten("b")]
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 2, False)), "10.0.0.3", 8003, 65.0)
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 3, False), request=True), "10.0.0.2", 8003, 65.0)
    assert events(drain(first)) == [NodeJoined("c", C)]
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 65.0)
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 3, True), request=False), "10.0.0.2", 8003, 65.1)
    assert events(drain(first)) == []
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 3, False), request=False), "10.0.0.2", 8003, 65.2)
    assert events(drain(first)) == [NodeJoined("b", B)]


def test_leaving_alone_is_done_at_once():
    gossip = engine("a", "pico")
    gossip.start(0.0)
    drain(gossip)
    gossip.leave(0.1)
    assert drain(gossip) == [LeaveDone(0)]
    silence(gossip, 0.1, 1.0)
    gossip.resolved("pico", ("10.0.0.2",), "", 1.0)
    assert drain(gossip) == []


def test_a_leave_that_is_not_answered_goes_to_another_node():
    first, _ = joined()
    introduce_third(first)
    first.leave(0.2)
    requests = [each for each in drain(first) if isinstance(each, StreamRequest)]
    assert sorted(each.host for each in requests) == ["10.0.0.2", "10.0.0.3"]
    first.exchange_failed(requests[0].number, 0.3)
    assert drain(first) == []
    assert first.exchange_received(requests[1].number, wire.leave_reply("x", B), 0.4)
    assert drain(first) == [LeaveDone(1)]


def test_of_many_nodes_three_are_told_and_failures_made_up_for():
    gossip = engine("a")
    gossip.start(0.0)
    for number in range(10, 20):
        addr = f"10.0.0.{number}:8003"
        gossip.receive_datagram(
            digest(f"n{number}", addr, DigestEntry(f"n{number}", addr, 1, False)), addr[:-5], 8003, 0.1
        )
    drain(gossip)
    gossip.leave(0.2)
    requests = [each for each in drain(gossip) if isinstance(each, StreamRequest)]
    assert len(requests) == 3
    gossip.exchange_failed(requests[0].number, 0.3)
    assert exchange_of(drain(gossip)).host not in {each.host for each in requests}


def test_who_joins_a_leaving_node_learns_that_it_leaves():
    _, second = joined()
    second.leave(0.2)
    reply = second.accept_stream("10.0.0.3").receive(exchange_of_new("c", C).data, 0.3)
    third = Gossip("c", C, entropy=Unmoved(), seeds=("10.0.0.2",))
    third.start(0.0)
    request = exchange_of(drain(third))
    third.exchange_received(request.number, reply, 0.4)
    told = drain(third)
    assert NodeJoined("b", B) in told
    assert NodeLeft("b") in told


def test_a_new_process_under_a_name_that_left():
    first, second = joined()
    second.leave(0.2)
    first.accept_stream("10.0.0.2").receive(exchange_of(drain(second)).data, 0.2)
    reborn = Gossip("b", B, entropy=random.Random(7), seeds=("10.0.0.1",), is_name_fixed=True)
    reborn.set_local("proxy_addr", "10.0.0.2:8000", 1.0)
    reborn.start(1.0)
    drain(first)
    first.accept_stream("10.0.0.2").receive(exchange_of(drain(reborn)).data, 1.1)
    assert drain(first)[-1] == NodeReachable("b")
    assert first.status("b") is MemberStatus.ACTIVE
