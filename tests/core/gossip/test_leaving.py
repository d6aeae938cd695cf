"""Leaving, in plays."""

import random

from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import LeaveDone, NodeForgotten, NodeJoined, NodeLeft, NodeReachable, StreamRequest
from pico_core.gossip.keys import LEFT_KEY
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import DigestEntry, Entry
from tests.core.gossip.plays import (
    A,
    B,
    C,
    Steady,
    answer_of,
    delta_of,
    digest,
    drain,
    engine,
    events,
    introduce,
    join_request_of,
    joined,
    pass_time,
    prove,
    request_of,
    sent,
    status_of,
)
from tests.gossip_streams import take_answer


def test_leaving_is_told_over_tcp_and_by_datagrams() -> None:
    first, second = joined()
    second.leave(0.2)
    second.leave(0.2)
    outputs = drain(second)
    request = request_of(outputs)
    told = delta_of(sent(outputs)[0])
    assert told.nodes[0].entries == [Entry(LEFT_KEY, "", 3, True, False)]
    assert told.nodes[0].after == 2
    reply = answer_of(first, "10.0.0.2", request.data, 0.21)
    assert drain(first) == [NodeLeft("b")]
    assert take_answer(second, request.number, reply, 0.22)
    assert drain(second) == [LeaveDone(1)]
    assert status_of(first, "b") == "left"
    assert not first.can_forward("b", 0.3)
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 0.3)
    assert events(drain(first)) == []
    assert events(pass_time(first, 0.4, 65.0)) == [NodeForgotten("b")]
    prove(first, "c", C, at=65.0)
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 2, False)), "10.0.0.3", 8003, 65.0)
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 3, False), request=True), "10.0.0.2", 8003, 65.0)
    assert events(drain(first)) == [NodeJoined("c", C)]
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 65.0)
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 3, True), request=False), "10.0.0.2", 8003, 65.1)
    assert events(drain(first)) == []
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 3, False), request=False), "10.0.0.2", 8003, 65.2)
    assert events(drain(first)) == [NodeJoined("b", B)]


def test_leaving_alone_is_done_at_once() -> None:
    gossip = engine("a", "pico")
    gossip.start(A, 0.0)
    drain(gossip)
    gossip.leave(0.1)
    assert drain(gossip) == [LeaveDone(0)]
    pass_time(gossip, 0.1, 1.0)
    gossip.resolved("pico", ("10.0.0.2",), "", 1.0)
    assert drain(gossip) == []


def test_a_leave_that_is_not_answered_goes_to_another_node() -> None:
    first, _ = joined()
    introduce(first, "c")
    first.leave(0.2)
    requests = [each for each in drain(first) if isinstance(each, StreamRequest)]
    assert sorted(each.host for each in requests) == ["10.0.0.2", "10.0.0.3"]
    first.stream_failed(requests[0].number, 0.3)
    assert drain(first) == []
    assert take_answer(first, requests[1].number, writing.leave_reply("x", B), 0.4)
    assert drain(first) == [LeaveDone(1)]


def test_of_many_nodes_three_are_told_and_another_one_after_a_failure() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    for number in range(10, 20):
        addr = f"10.0.0.{number}:8003"
        prove(gossip, f"n{number}", addr, DigestEntry(f"n{number}", addr, 1, False), at=0.1)
    drain(gossip)
    gossip.leave(0.2)
    requests = [each for each in drain(gossip) if isinstance(each, StreamRequest)]
    assert len(requests) == 3
    gossip.stream_failed(requests[0].number, 0.3)
    assert request_of(drain(gossip)).host not in {each.host for each in requests}


def test_a_node_that_joins_a_leaving_node_learns_that_it_leaves() -> None:
    _, second = joined()
    second.leave(0.2)
    reply = answer_of(second, "10.0.0.3", join_request_of("c", C).data, 0.3)
    third = Gossip("c", entropy=Steady(), seeds=("10.0.0.2",))
    third.start(C, 0.0)
    request = request_of(drain(third))
    take_answer(third, request.number, reply, 0.4)
    told = drain(third)
    assert NodeJoined("b", B) in told
    assert NodeLeft("b") in told


def test_a_new_process_under_an_id_that_left() -> None:
    first, second = joined()
    second.leave(0.2)
    answer_of(first, "10.0.0.2", request_of(drain(second)).data, 0.2)
    successor = Gossip("b", entropy=random.Random(7), seeds=("10.0.0.1",), is_name_fixed=True)
    successor.set_local("proxy_addr", "10.0.0.2:8000", 1.0)
    successor.start(B, 1.0)
    drain(first)
    answer_of(first, "10.0.0.2", request_of(drain(successor)).data, 1.1)
    assert drain(first)[-1] == NodeReachable("b")
    assert status_of(first, "b") == "active"
