"""Silence, death, accusation and return, in plays."""

from pico_core.boundary import SendDatagram
from pico_core.gossip import wire
from pico_core.gossip.events import (
    NodeForgotten,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeUnreachable,
    Output,
)
from pico_core.gossip.machine import Gossip
from pico_core.gossip.members import MemberStatus
from pico_core.gossip.state import LEFT_KEY
from pico_core.gossip.wire import Delta, Digest, DigestEntry, Entry, decode_datagram
from tests.core.gossip.plays import (
    A,
    B,
    C,
    Unmoved,
    delta,
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

# --- death and return ---


def test_a_silent_node_is_unreachable_then_forgotten_and_comes_back_only_by_itself():
    first, _ = joined()
    assert first.can_forward("b", 0.2)
    outputs = silence(first, 0.2, 1.5)
    assert events(outputs) == []
    assert not first.can_forward("b", 1.5)
    assert [entry.id for entry in sent(outputs)[1].entries] == ["b"]
    assert events(silence(first, 1.5, 3.5)) == [NodeUnreachable("b", "does not answer")]
    assert first.status("b") is MemberStatus.UNREACHABLE

    listed = digest("c", C, DigestEntry("b", B, 2, False), DigestEntry("c", C, 1, False))
    first.receive_datagram(listed, "10.0.0.3", 8003, 4.0)
    outputs = drain(first)
    assert events(outputs) == [NodeJoined("c", C)]
    hosts = [each.host for each in outputs if isinstance(each, SendDatagram)]
    assert hosts == ["10.0.0.2", "10.0.0.3"]
    first.receive_datagram(wire.digest_head("b", B, request=True), "10.0.0.2", 8003, 4.1)
    assert events(drain(first)) == []
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 4.2)
    assert events(drain(first)) == [NodeReachable("b")]

    outputs = events(silence(first, 4.3, 80.0))
    assert NodeForgotten("b") in outputs
    assert first.status("b") is None
    first.receive_datagram(listed, "10.0.0.3", 8003, 80.1)
    first.receive_datagram(delta("c", C, "b", B, Entry("k", "v", 3, False, False)), "10.0.0.3", 8003, 80.1)
    first.receive_datagram(wire.digest_head("b", B, request=True), "10.0.0.2", 8003, 80.1)
    outputs = drain(first)
    assert NodeJoined("b", B) not in outputs
    assert any(each.host == "10.0.0.2" for each in outputs if isinstance(each, SendDatagram))
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.99", 8003, 80.2)
    assert events(drain(first)) == []
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 80.2)
    assert events(drain(first)) == [NodeJoined("b", B)]


def test_graves_are_forgotten_too():
    first, _ = joined()
    silence(first, 0.2, 70.0)
    assert list(first._members.graves) == ["b"]
    silence(first, 3700.0, 3700.2)
    assert first._members.graves == {}


def test_an_old_answer_over_tcp_brings_nobody_back():
    first, second = joined()
    second.receive_datagram(digest("a", A, DigestEntry("b", B, 50, False)), "10.0.0.1", 8003, 0.2)
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False)), "10.0.0.2", 8003, 0.2)
    drain(first)
    outputs = silence(first, 0.3, 5.0)
    request = exchange_of(outputs)
    assert NodeUnreachable("b", "does not answer") in outputs
    reply = second.accept_stream("10.0.0.1").receive(request.data, 5.0)
    assert first.exchange_received(request.number, reply, 5.0)
    assert NodeReachable("b") not in drain(first)


def test_a_dead_node_that_joins_is_back():
    first, _ = joined()
    silence(first, 0.2, 4.0)
    request = Gossip("b", B, entropy=Unmoved(), seeds=("10.0.0.1",))
    request.start(4.0)
    first.accept_stream("10.0.0.2").receive(exchange_of(drain(request)).data, 4.1)
    assert NodeReachable("b") in drain(first)
    silence(first, 4.2, 70.0)
    first.accept_stream("10.0.0.2").receive(exchange_of_new("b", B).data, 70.1)
    assert NodeJoined("b", B) in drain(first)


def test_another_name_at_the_same_address_ends_the_older_one():
    first, _ = joined()
    first.receive_datagram(digest("b2", B, DigestEntry("b2", B, 1, False)), "10.0.0.2", 8003, 0.2)
    assert events(drain(first)) == [NodeJoined("b2", B)]
    first.receive_datagram(wire.delta_head("b2", B), "10.0.0.2", 8003, 0.2)
    first.tick(0.3)
    first.tick(0.4)
    assert events(drain(first)) == []
    first.receive_datagram(wire.delta_head("b2", B), "10.0.0.2", 8003, 0.4)
    assert events(drain(first)) == [NodeUnreachable("b", "another node answers at its address")]
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.2", 8003, 0.5)
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 0.5)
    assert events(drain(first)) == []


def test_the_same_name_at_another_address():
    first, _ = joined()
    moved = "10.0.0.9:8003"
    first.receive_datagram(digest("b", moved, DigestEntry("b", moved, 2, False)), "10.0.0.9", 8003, 0.2)
    assert {row.id: row.addr for row in first.snapshot(0.2)}["b"] == moved
    drain(first)
    first.tick(0.3)
    assert {each.host for each in drain(first) if isinstance(each, SendDatagram)} == {"10.0.0.9"}


def test_a_former_process_of_our_name_is_outlived():
    first, second = joined()
    version = second._state.version
    first.receive_datagram(digest("b", B, DigestEntry("a", A, 500, False)), "10.0.0.2", 8003, 0.2)
    assert first._state.version == 503
    assert first.entries("a")[-1] == Entry("_internal:compact", "500", 503, True, False)
    first.receive_datagram(digest("b", B, DigestEntry("a", A, 900, False)), "10.0.0.2", 8003, 0.3)
    assert first._state.version == 503
    first.receive_datagram(delta("b", B, "a", A, Entry("endpoint:old", "1", 900, False, False)), "10.0.0.2", 8003, 1.5)
    assert first._state.version == 903
    first.receive_datagram(digest("b", B, DigestEntry("a", A, 1 << 60, False)), "10.0.0.2", 8003, 5.0)
    assert first._state.version == 903
    assert first.counters.name_conflicts == 2
    assert second._state.version == version


def test_a_configured_name_begins_at_random_with_all_before_void():
    gossip = engine("a", is_name_fixed=True)
    gossip.start(0.0)
    assert gossip.entries("a")[-1] == Entry("_internal:compact", str(1 << 39), (1 << 39) + 3, True, False)
    assert gossip.entries("a")[0].key == "proxy_addr"


def test_our_own_stall_is_not_the_silence_of_others():
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    first.tick(9.0)
    assert events(drain(first)) == []
    assert first.status("b") is MemberStatus.ACTIVE


def test_forwarding():
    first, _ = joined()
    first.report_forward_failure("b", 0.2)
    first.report_forward_failure("c", 0.2)
    first.report_forward_failure("a", 0.2)
    assert not first.can_forward("b", 0.3)
    drain(first)
    first.tick(0.26)
    (ping,) = [each for each in sent(drain(first)) if [entry.id for entry in each.entries] == ["b"]]
    assert ping.request
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 0.3)
    assert not first.can_forward("b", 1.1)
    assert first.can_forward("b", 1.3)
    first.report_forward_failure("b", 1.3)
    first.report_forward_success("b")
    assert first.can_forward("b", 1.4)
    assert not first.can_forward("c", 1.4)


def test_a_dead_node_whose_goodbye_comes_late_has_left():
    first, _ = joined()
    silence(first, 0.2, 4.0)
    goodbye = Entry(LEFT_KEY, "", 3, True, False)
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 3, True)), "10.0.0.3", 8003, 4.0)
    drain(first)
    first.receive_datagram(delta("c", C, "b", B, goodbye), "10.0.0.3", 8003, 4.0)
    assert drain(first) == [NodeLeft("b")]
    listed = digest("c", C, DigestEntry("c", C, 1, False), DigestEntry("b", B, 2, False), DigestEntry("a", A, 2, False))
    first.receive_datagram(listed, "10.0.0.3", 8003, 4.1)
    assert sent(drain(first))[0].nodes[0].entries == [goodbye]
    reply = first.accept_stream("10.0.0.4").receive(exchange_of_new("d", "10.0.0.4:8003").data, 4.2)
    assert b"10.0.0.3" in reply
    assert b"10.0.0.2" not in reply


def test_what_one_that_left_says_of_others_does_not_count():
    first, _ = joined()
    introduce_third(first)
    entries = [Entry(LEFT_KEY, "", 2, True, False), Entry("_internal:pico:silent", "b", 3, True, False)]
    first.receive_datagram(delta("c", C, "c", C, entries[0]), "10.0.0.3", 8003, 0.2)
    first.receive_datagram(delta("c", C, "c", C, entries[1], after=2), "10.0.0.3", 8003, 0.2)
    assert first._failure._accusers == {}


def test_a_buried_node_that_asks_is_answered_and_its_answer_to_that_counts():
    first, _ = joined()
    silence(first, 0.2, 70.0)
    own = DigestEntry("a", A, first._state.version, False)
    listed = [DigestEntry("b", B, 2, False), own, DigestEntry("x", "a:1", 2, False)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 70.0)
    assert [type(each) for each in sent(drain(first))] == [Digest, Delta, Digest]
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 70.1)
    assert events(drain(first)) == [NodeJoined("b", B)]


# --- accusations ---


def test_who_is_accused_of_silence_speaks_up():
    first, _ = joined()
    introduce_third(first)
    silent = Entry("_internal:pico:silent", "a\nx\nb", 2, True, False)
    first.tick(0.2)
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 0.2)
    first.tick(0.7)
    drain(first)
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 0.2)
    first.receive_datagram(delta("c", C, "c", C, silent), "10.0.0.3", 8003, 0.8)
    first.tick(0.8)
    first.tick(0.9)
    datagrams = [each for each in drain(first) if isinstance(each, SendDatagram)]
    pings = [each.host for each in datagrams if [e.id for e in decode_datagram(each.data).entries] == ["b"]]
    assert pings == ["10.0.0.2"]
    assert "10.0.0.3" in [each.host for each in datagrams]
    assert first.counters.refutations == 1
    gone = Entry("_internal:pico:silent", "", 3, True, True)
    first.receive_datagram(delta("c", C, "c", C, gone), "10.0.0.3", 8003, 1.2)
    assert first._failure._accusers == {}


def test_a_verdict_waits_for_a_second_opinion():
    first, _ = joined()
    introduce_third(first)

    def pass_time(start: float, end: float) -> list[Output]:
        outputs = []
        at = start
        while at < end:
            first.tick(at)
            outputs += drain(first)
            first.receive_datagram(wire.delta_head("c", C), "10.0.0.3", 8003, at)
            at += 0.1
        return outputs

    assert events(pass_time(0.2, 5.0)) == []
    assert {each.key: each.value for each in first.entries("a")}["_internal:pico:silent"] == "b"
    assert not first.can_forward("b", 5.0)
    agrees = Entry("_internal:pico:silent", "b", 2, True, False)
    first.receive_datagram(delta("c", C, "c", C, agrees), "10.0.0.3", 8003, 5.0)
    assert events(pass_time(5.0, 5.3)) == [NodeUnreachable("b", "does not answer")]
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 5.4)  # a late one
    assert events(drain(first)) == []
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.2", 8003, 5.4)
    first.receive_datagram(wire.delta_head("b", B), "10.0.0.2", 8003, 5.4)
    assert events(drain(first)) == [NodeReachable("b")]
    pass_time(5.4, 5.6)
    assert {each.key: each.value for each in first.entries("a")}["_internal:pico:silent"] == ""


def test_the_buried_whom_others_list_are_accused():
    first, _ = joined()
    silence(first, 0.2, 70.0)
    introduce_third(first)
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 2, False)), "10.0.0.3", 8003, 72.0)
    first.tick(72.1)
    first.tick(72.2)
    assert {each.key: each.value for each in first.entries("a")}["_internal:pico:silent"] == "b"
