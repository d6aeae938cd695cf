"""The engine in plays, one or two: joining and the rounds."""

import pytest

from pico_core.boundary import SendDatagram
from pico_core.errors import LocalProtocolError
from pico_core.gossip import wire
from pico_core.gossip.events import (
    Lookup,
    NodeDraining,
    NodeJoined,
    NodeUpdated,
)
from pico_core.gossip.machine import Gossip
from pico_core.gossip.members import MemberStatus
from pico_core.gossip.wire import Delta, DigestEntry, Entry, WireError, decode_datagram
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
    joined,
    sent,
    talk,
)

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
    assert second.status("a") is MemberStatus.ACTIVE
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
