"""The engine in plays: literal datagrams and times, one engine or two."""

import random

import pytest

from pico_core.boundary import SendDatagram
from pico_core.errors import LocalProtocolError
from pico_core.gossip import wire
from pico_core.gossip.events import (
    Exchange,
    LeaveDone,
    Lookup,
    NodeDraining,
    NodeForgotten,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeUnreachable,
    NodeUpdated,
    Output,
)
from pico_core.gossip.machine import Gossip
from pico_core.gossip.members import MAX_NODES, Status
from pico_core.gossip.state import LEFT_KEY
from pico_core.gossip.wire import Delta, Digest, DigestEntry, Entry, WireError, decode_datagram

A, B, C = "10.0.0.1:8003", "10.0.0.2:8003", "10.0.0.3:8003"
HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


class Unmoved(random.Random):
    """Chance that always falls the same way."""

    def random(self) -> float:
        return 0.5


def engine(name: str, *seeds: str, **options: object) -> Gossip:
    made = Gossip(name, f"{HOSTS[name]}:8003", entropy=Unmoved(), seeds=seeds, **options)
    made.set_local("proxy_addr", f"{HOSTS[name]}:8000", 0.0)
    return made


def drain(gossip: Gossip) -> list[Output]:
    outputs = []
    while (output := gossip.poll()) is not None:
        outputs.append(output)
    return outputs


def sent(outputs: list[Output]) -> list[Digest | Delta]:
    return [decode_datagram(each.data) for each in outputs if isinstance(each, SendDatagram)]


def events(outputs: list[Output]) -> list[Output]:
    return [each for each in outputs if not isinstance(each, SendDatagram | Exchange | Lookup)]


def exchange_of(outputs: list[Output]) -> Exchange:
    (found,) = [each for each in outputs if isinstance(each, Exchange)]
    return found


def pass_on(source: Gossip, target: Gossip, now: float) -> list[Output]:
    """Deliver the datagrams of ``source`` to ``target``, whichever address they go to; return the other outputs."""
    outputs = drain(source)
    for each in outputs:
        if isinstance(each, SendDatagram):
            target.receive_datagram(each.data, HOSTS[source.id], 8003, now)
    return events(outputs)


def talk(first: Gossip, second: Gossip, now: float, turns: int = 6) -> list[Output]:
    """Let two engines answer each other until they are silent; return what they told."""
    told = []
    for _ in range(turns):
        told += pass_on(first, second, now) + pass_on(second, first, now)
    return told


def joined(*, started: bool = True) -> tuple[Gossip, Gossip]:
    """Two engines that know each other."""
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.start(0.0)
    second.start(0.0)
    request = exchange_of(drain(second))
    reply = first.accept_stream("10.0.0.2").receive(request.data, 0.01)
    assert reply is not None
    assert second.exchange_received(request.number, reply, 0.02)
    drain(first), drain(second)
    if started:
        first.tick(0.06)
        talk(first, second, 0.06)
    return first, second


def digest(node_id: str, addr: str, *entries: DigestEntry, request: bool = True) -> bytes:
    data = wire.digest_head(node_id, addr, request=request)
    return data + b"".join(wire.digest_entry(e.id, e.addr, e.version, left=e.left) for e in entries)


def delta(node_id: str, addr: str, of: str, of_addr: str, *entries: Entry, after: int | None = None) -> bytes:
    data = wire.delta_head(node_id, addr) + wire.delta_node(of, of_addr, len(entries), after)
    return data + b"".join(map(wire.pack_entry, entries))


# --- joining ---


def test_a_join_brings_both_states():
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.set_endpoint("e", 2, 0.0)
    first.start(0.0)
    second.start(0.0)
    assert drain(first) == []
    request = exchange_of(drain(second))
    assert (request.host, request.port, request.timeout_s) == ("10.0.0.1", 8003, 5.0)
    stream = first.accept_stream("::ffff:10.0.0.2")
    assert stream.receive(request.data[:10], 0.01) is None
    reply = stream.receive(request.data[10:], 0.01)
    assert stream.receive(b"more", 0.01) is None
    assert drain(first) == [NodeJoined("b", B), NodeUpdated("b", "proxy_addr", "10.0.0.2:8000")]
    assert not second.exchange_received(request.number, reply[:5], 0.02)
    assert second.exchange_received(request.number, reply[5:], 0.02)
    assert drain(second) == [
        NodeJoined("a", A),
        NodeUpdated("a", "proxy_addr", "10.0.0.1:8000"),
        NodeUpdated("a", "endpoint:e", "2"),
    ]
    assert second.seeds.has_answer
    assert second.status("a") is Status.ACTIVE
    assert second.status("c") is None
    assert [each.key for each in second.entries("a")] == ["proxy_addr", "endpoint:e", "_internal:pico:version"]
    assert second.entries("c") is None
    assert second.exchange_received(request.number, b"late", 0.03)
    second.exchange_failed(request.number, 0.03)


def test_names_are_looked_up_and_their_addresses_joined():
    gossip = engine("a", "pico")
    gossip.start(0.0)
    assert drain(gossip) == [Lookup("pico", 5.0)]
    gossip.resolved("pico", ("10.0.0.1", "10.0.0.2"), "", 0.1)
    request = exchange_of(drain(gossip))
    assert request.host == "10.0.0.2"
    gossip.exchange_failed(request.number, 0.2)
    gossip.tick(0.3)
    for tenth in range(3, 8):
        gossip.tick(tenth / 10)
    assert exchange_of(drain(gossip)).host == "10.0.0.2"


def test_joining_ourselves_under_another_address():
    gossip = engine("a", "10.9.9.9")
    gossip.start(0.0)
    request = exchange_of(drain(gossip))
    reply = gossip.accept_stream("10.9.9.9").receive(request.data, 0.1)
    assert gossip.exchange_received(request.number, reply, 0.1)
    assert not gossip.seeds.names_others
    assert drain(gossip) == []
    assert gossip.counters.own_name == 1


def test_a_broken_answer_is_a_failed_join():
    gossip = engine("a", "10.0.0.2")
    gossip.start(0.0)
    request = exchange_of(drain(gossip))
    assert gossip.exchange_received(request.number, b"HTTP/1.1 400 Bad Request\r\n\r\n", 0.1)
    assert gossip.counters.malformed == 1
    assert not gossip.seeds.has_answer


def test_a_broken_request_raises_wire_error():
    gossip = engine("a")
    with pytest.raises(WireError):
        gossip.accept_stream("10.0.0.2").receive(b"GET / HTTP/1.1\r\n", 0.1)


# --- rounds ---


def test_a_round_as_the_reference_holds_it():
    """Digest there, delta and digest back, delta there."""
    first, second = joined(started=False)
    first.set_endpoint("e", 1, 0.05)
    first.tick(0.06)
    (request,) = drain(first)
    assert request == SendDatagram("gossip", request.data, "10.0.0.2", 8003)
    assert [entry.id for entry in decode_datagram(request.data).entries] == ["a", "b"]
    second.receive_datagram(request.data, "10.0.0.1", 8003, 0.06)
    empty, shown = sent(drain(second))
    assert empty == Delta("b", B, [])
    assert (shown.request, [entry.version for entry in shown.entries]) == (False, [2, 2])
    first.receive_datagram(digest("b", B, *shown.entries, request=False), "10.0.0.2", 8003, 0.07)
    (answer,) = drain(first)
    second.receive_datagram(answer.data, "10.0.0.1", 8003, 0.08)
    assert drain(second) == [NodeUpdated("a", "endpoint:e", "1")]


def test_nothing_new_is_seen_without_reading():
    first, second = joined()
    before = second.counters.digest_entries_inbound
    first.tick(0.2)
    outputs = drain(first)
    assert len(outputs) == 1
    second.receive_datagram(outputs[0].data, "10.0.0.1", 8003, 0.2)
    empty, shown = drain(second)
    assert empty.data == wire.delta_head("b", B)
    first.receive_datagram(shown.data, "10.0.0.2", 8003, 0.2)
    (last,) = drain(first)
    assert last.data == wire.delta_head("a", A)
    assert second.counters.digest_entries_inbound == before + 2
    another = shown.data.replace(b"node_id\xa1b", b"node_id\xa1x")
    first.receive_datagram(another, "10.0.0.2", 8003, 0.2)
    assert events(drain(first)) == [NodeJoined("x", B)]


def test_ticks_before_their_time_do_nothing():
    gossip = engine("a")
    assert gossip.deadline() is None
    gossip.tick(1.0)
    gossip.start(1.0)
    assert gossip.deadline() == pytest.approx(1.05)
    gossip.tick(1.04)
    assert gossip.deadline() == pytest.approx(1.05)
    gossip.tick(1.05)
    assert gossip.deadline() == pytest.approx(1.15)


def test_own_keys():
    first, second = joined()
    first.set_endpoint("e", 1, 0.1)
    first.set_endpoint("e", 3, 0.1)
    first.set_endpoint("f", 1, 0.1)
    first.set_endpoint("f", 0, 0.1)
    first.delete_local("never", 0.1)
    first.set_draining(0.1)
    first.tick(0.16)
    told = talk(first, second, 0.16)
    assert told == [
        NodeUpdated("a", "endpoint:e", "3"),
        NodeUpdated("a", "endpoint:f", None),
        NodeDraining("a", True),
    ]
    first.delete_local("_internal:pico:draining", 0.2)
    first.tick(0.3)
    assert talk(first, second, 0.3) == [NodeDraining("a", False)]
    rows = {row.id: row for row in second.snapshot(0.3)}
    assert (rows["a"].status, rows["a"].draining, rows["a"].local) == ("active", False, False)
    assert (rows["b"].version, rows["b"].entries, rows["b"].local) == (2, 2, True)


def test_bounds_of_the_constructor_and_of_own_keys():
    with pytest.raises(LocalProtocolError, match="packets"):
        engine("a", max_packet_bytes=500)
    with pytest.raises(LocalProtocolError, match="node ID"):
        Gossip("a\nb", A, entropy=Unmoved())
    with pytest.raises(LocalProtocolError, match="address"):
        Gossip("a", "nowhere", entropy=Unmoved())
    with pytest.raises(LocalProtocolError, match="too long"):
        engine("a").set_endpoint("e" * 600, 1, 0.0)


def test_a_delta_is_cut_where_the_packet_ends_and_goes_on_in_the_next_round():
    first, second = joined()
    for number in range(40):
        first.set_endpoint(f"endpoint-{number:02}", 1, 0.1)
    first.tick(0.16)
    told = talk(first, second, 0.16)
    assert 0 < len(told) < 40
    for tenth in (0.3, 0.4, 0.5):
        first.tick(tenth)
        told += talk(first, second, tenth)
    assert told == [NodeUpdated("a", f"endpoint:endpoint-{number:02}", "1") for number in range(40)]


def test_a_third_node_is_learned_and_asked_for_in_one_round():
    first, second = joined()
    first.receive_datagram(digest("c", C, DigestEntry("c", C, 0, False)), "10.0.0.3", 8003, 0.1)
    assert events(drain(first)) == [NodeJoined("c", C)]
    state = Entry("proxy_addr", "10.0.0.3:8000", 1, False, False)
    first.receive_datagram(delta("c", C, "c", C, state), "10.0.0.3", 8003, 0.1)
    drain(first)
    second.tick(0.16)
    assert talk(second, first, 0.16) == [NodeJoined("c", C), NodeUpdated("c", "proxy_addr", "10.0.0.3:8000")]


# --- what is not trusted ---


def test_strangers_get_no_more_bytes_than_they_sent():
    gossip = engine("a")
    gossip.start(0.0)
    for number in range(30):
        gossip.set_endpoint(f"endpoint-{number}", 1, 0.0)
    for data in (
        wire.digest_head("b", B, request=True),
        digest("b", B, DigestEntry("a", A, 0, False)),
        digest("b", B, DigestEntry("b", B, 1, False), DigestEntry("a", A, 0, False)),
        digest("b", B, DigestEntry("b", B, 1, False), DigestEntry("a", A, 0, False), request=False),
        digest("x", C, *(DigestEntry(f"n{n}", "a:1", 1, False) for n in range(20))),
        wire.digest_head("b", "b:1", request=True),
    ):
        gossip.receive_datagram(data, "10.0.0.2", 8003, 0.1)
        answers = [each for each in drain(gossip) if isinstance(each, SendDatagram)]
        assert sum(len(each.data) for each in answers) <= len(data)
        assert all((each.host, each.port) == ("10.0.0.2", 8003) for each in answers)


def test_who_answered_gets_whole_packets():
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.2", 8003, 0.1)
    answers = sent(drain(first))
    assert [entry.id for entry in answers[1].entries] == ["a", "b"]
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.99", 8003, 0.1)
    assert sum(len(each.data) for each in drain(first)) <= len(digest("b", B, DigestEntry("b", B, 2, False)))


def test_a_ping_is_answered_shortly():
    first, _ = joined()
    for data in (wire.digest_head("b", B, request=True), digest("b", B, DigestEntry("a", A, 2, False))):
        first.receive_datagram(data, "10.0.0.2", 8003, 0.1)
        assert sent(drain(first)) == [Delta("a", A, []), Digest("a", A, False, [DigestEntry("a", A, 2, False)])]


def test_garbage_and_our_own_name_are_counted():
    gossip = engine("a")
    gossip.start(0.0)
    gossip.receive_datagram(b"garbage", "10.0.0.2", 8003, 0.1)
    gossip.receive_datagram(wire.digest_head("a", A, request=True), "10.0.0.1", 8003, 0.1)
    gossip.receive_datagram(wire.delta_head("b", B), "10.0.0.77", 8003, 0.1)
    assert drain(gossip) == []
    assert (gossip.counters.malformed, gossip.counters.own_name) == (1, 1)


def test_deltas_about_nodes_we_do_not_know_and_about_ourselves():
    first, _ = joined()
    state = Entry("proxy_addr", "evil", 1, False, False)
    first.receive_datagram(delta("b", B, "c", C, state), "10.0.0.2", 8003, 0.1)
    first.receive_datagram(delta("b", B, "a", A, state), "10.0.0.2", 8003, 0.1)
    assert events(drain(first)) == []
    assert first.counters.strangers_refused == 1
    assert first.entries("a")[0].value == "10.0.0.1:8000"


def test_a_gap_is_refused():
    first, _ = joined()
    later = Entry("endpoint:e", "1", 9, False, False)
    first.receive_datagram(delta("b", B, "b", B, later, after=8), "10.0.0.2", 8003, 0.1)
    assert first.counters.gaps_refused == 1
    first.receive_datagram(digest("c", C, DigestEntry("c", C, 9, False)), "10.0.0.3", 8003, 0.1)
    first.receive_datagram(delta("c", C, "c", C, later), "10.0.0.3", 8003, 0.1)
    assert first.counters.gaps_refused == 2
    assert events(drain(first)) == [NodeJoined("c", C)]


def test_nodes_that_could_never_be_probed_are_not_taken_from_others():
    first, _ = joined()
    listed = [DigestEntry("c", "pico-2:8003", 1, False), DigestEntry("d", "nonsense", 1, False)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.1)
    assert events(drain(first)) == []
    assert first.counters.nodes_refused == 2
    first.receive_datagram(digest("c", "pico-2:8003"), "10.0.0.3", 8003, 0.1)
    assert events(drain(first)) == [NodeJoined("c", "pico-2:8003")]
    first.tick(0.2)
    first.tick(0.3)
    assert {each.host for each in drain(first)} == {"10.0.0.2", "10.0.0.3"}


def test_a_name_met_over_tcp_is_found_once_it_sends_a_datagram():
    first, _ = joined()
    introduce_third(first)
    named = Gossip("d", "pico-3:8003", entropy=Unmoved(), seeds=("10.0.0.1",))
    named.start(0.2)
    first.accept_stream("10.0.0.4").receive(exchange_of(drain(named)).data, 0.2)
    assert NodeJoined("d", "pico-3:8003") in drain(first)
    accusing = Entry("_internal:pico:silent", "d", 2, True, False)
    first.receive_datagram(delta("c", C, "c", C, accusing), "10.0.0.3", 8003, 1.0)
    first._knowledge.urgent["d"] = None
    first.tick(0.3)
    assert silence(first, 1.1, 2.2)
    first.receive_datagram(digest("d", "pico-3:8003"), "10.0.0.4", 8003, 2.2)
    assert "10.0.0.4" in {each.host for each in silence(first, 2.3, 3.0) if isinstance(each, SendDatagram)}


def test_the_table_is_bounded():
    gossip = engine("a")
    gossip.start(0.0)
    for number in range(0, MAX_NODES + 100, 20):
        listed = [DigestEntry(f"n{number + n}", f"10.1.0.{n}:80", 1, False) for n in range(20)]
        gossip.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.1)
    joins = [each for each in drain(gossip) if isinstance(each, NodeJoined)]
    assert len(joins) == MAX_NODES - 1
    assert gossip.counters.nodes_refused == 106
    gossip.receive_datagram(digest("b\n", B), "10.0.0.2", 8003, 0.1)
    assert gossip.counters.nodes_refused == 107


def test_left_nodes_that_we_never_knew_are_not_news():
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("c", C, 7, True)), "10.0.0.2", 8003, 0.1)
    assert events(drain(first)) == []
    assert first.status("c") is None


# --- death and return ---


def silence(gossip: Gossip, start: float, end: float) -> list[Output]:
    """Let time pass without an answer from anybody."""
    outputs = []
    at = start
    while at < end:
        gossip.tick(at)
        outputs += drain(gossip)
        at += 0.1
    return outputs


def test_a_silent_node_is_unreachable_then_forgotten_and_comes_back_only_by_itself():
    first, _ = joined()
    assert first.can_forward("b", 0.2)
    outputs = silence(first, 0.2, 1.5)
    assert events(outputs) == []
    assert not first.can_forward("b", 1.5)
    assert [entry.id for entry in sent(outputs)[1].entries] == ["b"]
    assert events(silence(first, 1.5, 3.5)) == [NodeUnreachable("b", "does not answer")]
    assert first.status("b") is Status.UNREACHABLE

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


def exchange_of_new(name: str, addr: str) -> Exchange:
    gossip = Gossip(name, addr, entropy=Unmoved(), seeds=("10.0.0.1",))
    gossip.start(0.0)
    return exchange_of(drain(gossip))


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
    assert first.status("b") is Status.ACTIVE


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


def introduce_third(first: Gossip) -> None:
    """Let ``a`` know ``c``, which answers, and is one of ours."""
    first.receive_datagram(digest("c", C, DigestEntry("c", C, 1, False)), "10.0.0.3", 8003, 0.1)
    pico = Entry("_internal:pico:version", "1", 1, True, False)
    first.receive_datagram(delta("c", C, "c", C, pico), "10.0.0.3", 8003, 0.1)
    drain(first)


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


# --- leaving ---


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
    assert first.status("b") is Status.LEFT
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
    requests = [each for each in drain(first) if isinstance(each, Exchange)]
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
    requests = [each for each in drain(gossip) if isinstance(each, Exchange)]
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
    assert first.status("b") is Status.ACTIVE


# --- repair ---


def test_an_entry_above_the_packet_comes_over_tcp():
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.start(0.0)
    second.start(0.0)
    request = exchange_of(drain(second))
    second.exchange_received(request.number, first.accept_stream("10.0.0.2").receive(request.data, 0.0), 0.0)
    drain(first), drain(second)
    first.set_local("k" * 500, "v" * 1000, 0.1)
    at, told, syncs = 0.15, [], []
    while at < 2.5:
        for one in (first, second):
            one.tick(at)
        for _ in range(4):
            for source, target in ((first, second), (second, first)):
                for each in drain(source):
                    if isinstance(each, SendDatagram):
                        target.receive_datagram(each.data, HOSTS[source.id], 8003, at)
                    elif isinstance(each, Exchange):
                        syncs.append(each)
                    else:
                        told.append(each)
        at += 0.1
    (sync,) = syncs
    assert sync.host == "10.0.0.1"
    assert told == []
    assert second.exchange_received(sync.number, first.accept_stream("10.0.0.2").receive(sync.data, 2.5), 2.5)
    assert drain(second) == [NodeUpdated("a", "k" * 500, "v" * 1000)]
    assert second.counters.syncs == 1


def test_a_repair_needs_somebody_who_lives():
    first, _ = joined()
    introduce_third(first)
    first.receive_datagram(digest("b", B, DigestEntry("c", C, 50, False)), "10.0.0.2", 8003, 0.3)
    first._members.unreachable(first._members.nodes["b"], "for this test", 0.4)
    first._failure.forget("b")
    for tenth in range(4, 30):
        first.tick(tenth / 10)
        first.receive_datagram(wire.delta_head("c", C), "10.0.0.3", 8003, tenth / 10)
    assert not [each for each in drain(first) if isinstance(each, Exchange)]
    assert first._knowledge.behind == {}


def test_an_answer_from_elsewhere_makes_no_member():
    gossip = engine("a", "10.0.0.2")
    gossip.start(0.0)
    request = exchange_of(drain(gossip))
    assert gossip.exchange_received(request.number, wire.join_reply("b", "10.0.0.77:8003", []), 0.1)
    assert gossip.status("b") is None
    assert gossip.seeds.has_answer


def test_repairs_that_bring_nothing_become_rare():
    first, _ = joined()
    syncs = []
    for tenth in range(2, 600):
        at = tenth / 10
        first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False), request=False), "10.0.0.2", 8003, at)
        first.tick(at)
        for each in drain(first):
            if isinstance(each, Exchange):
                syncs.append(at)
                first.exchange_failed(each.number, at)
    assert 3 <= len(syncs) <= 7
    assert syncs[-1] - syncs[-2] > 10


def test_being_far_behind_is_repaired_at_once():
    first, _ = joined()
    listed = [DigestEntry(f"n{n}", f"10.1.0.{n}:80", 9, False) for n in range(1, 40)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.2)
    first.tick(0.2)
    assert exchange_of(drain(first)).host == "10.0.0.2"
    first.tick(0.3)
    assert not [each for each in drain(first) if isinstance(each, Exchange)]


def test_who_shows_more_than_it_can_give_is_dropped_with_its_claims():
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False)), "10.0.0.2", 8003, 0.1)
    assert "b" in first._knowledge.behind
    silence(first, 0.2, 4.0)
    assert first._knowledge.behind == {}


def test_what_a_digest_showed_beyond_ours_is_asked_for_once():
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    shown = digest("b", B, DigestEntry("b", B, 2, False), DigestEntry("c", C, 5, False), request=False)
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.2)
    closing, asking = sent(drain(first))
    assert closing == Delta("a", A, [])
    assert asking == Digest("a", A, False, [DigestEntry("c", C, 0, False)])
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.2)
    assert sent(drain(first)) == [Delta("a", A, [])]


def test_asking_is_bounded_by_the_packet():
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    listed = [DigestEntry(f"n{n}" + "x" * 200, f"10.1.0.{n}:80", 9, False) for n in range(20)]
    first.receive_datagram(digest("b", B, *listed, request=False), "10.0.0.2", 8003, 0.2)
    assert all(len(each.data) <= 1400 for each in drain(first) if isinstance(each, SendDatagram))


def test_memory_for_the_states_of_others_is_bounded():
    first, _ = joined()
    first._members._budget.limit_bytes = first._members._budget.used_bytes + 500
    for version in range(3, 6):
        entry = Entry(f"k{version}", "v", version, False, False)
        first.receive_datagram(delta("b", B, "b", B, entry, after=version - 1), "10.0.0.2", 8003, 0.2)
    assert first.counters.entries_refused == 1
    assert first.counters.gaps_refused == 1
    assert events(drain(first)) == [NodeUpdated("b", "k3", "v")]


def test_a_join_reply_is_bounded():
    gossip = engine("a")
    gossip.start(0.0)
    gossip._members._budget.limit_bytes = 1 << 40
    for number in range(40):
        addr = f"10.1.0.{number}:80"
        gossip.receive_datagram(digest(f"n{number}", addr), f"10.1.0.{number}", 80, 0.0)
        entries = [Entry(f"{key}" * 100, "v" * 1000, key, False, False) for key in range(1, 400)]
        gossip._members.nodes[f"n{number}"].state.apply(entries)
    reply = gossip.accept_stream("10.0.0.3").receive(exchange_of_new("c", C).data, 0.1)
    assert (8 << 20) < len(reply) <= (16 << 20)
