"""The engine in plays, one or two: before the start, joining, and the rounds."""

import pytest

from pico_core.boundary import SendDatagram
from pico_core.errors import LocalProtocolError
from pico_core.gossip.counters import Counters
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import (
    LeaveDone,
    Lookup,
    NodeDraining,
    NodeJoined,
    NodeUpdated,
    StreamRequest,
)
from pico_core.gossip.keys import DRAINING_KEY, PICO_KEY
from pico_core.gossip.status import NodeSnapshot
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import decode_datagram
from pico_core.gossip.wire.records import Delta, DigestEntry, Entry, WireError
from tests.core.gossip.plays import (
    A,
    B,
    C,
    Steady,
    accepted,
    answer_of,
    delta,
    digest,
    digest_of,
    drain,
    engine,
    entries_of,
    events,
    joined,
    only_datagrams,
    pass_time,
    prove,
    request_of,
    sent,
    status_of,
    talk,
)
from tests.gossip_streams import packed_state, received, take_answer

# --- before the start ---


def test_before_the_start_it_is_a_node_that_knows_no_other() -> None:
    gossip = engine("a", "10.0.0.2")
    assert gossip.snapshot(0.1) == [NodeSnapshot("a", "", "active", 1, 1, False, 0.0, True)]
    assert gossip.entries("a") == [Entry("proxy_addr", "10.0.0.1:8000", 1, False, False)]
    assert gossip.entries("b") is None
    assert not gossip.can_forward("b", 0.1)
    gossip.report_forward_failure("b", 0.1)
    gossip.report_forward_success("b")
    assert not gossip.can_forward("b", 0.1)
    assert not gossip.seeds.names_others
    assert gossip.deadline() is None
    assert gossip.poll() is None


def test_before_the_start_peers_are_neither_heard_nor_answered() -> None:
    gossip = engine("a", "pico")
    gossip.receive_datagram(digest("b", B, DigestEntry("b", B, 1, False)), "10.0.0.2", 8003, 0.1)
    gossip.receive_datagram(b"garbage", "10.0.0.2", 8003, 0.1)
    assert gossip.accept_stream("10.0.0.2", 0.1) is None
    gossip.resolved("pico", ("10.0.0.2",), "", 0.1)
    assert gossip.stream_received(1, b"late", 0.1)
    gossip.stream_failed(1, 0.1)
    gossip.tick(9.0)
    assert drain(gossip) == []
    assert gossip.counters == Counters()
    assert len(gossip.snapshot(9.0)) == 1


def test_keys_of_before_the_start_are_published_with_it() -> None:
    gossip = engine("a", "10.0.0.2")
    gossip.set_endpoint("e", 2, 0.1)
    gossip.set_endpoint("f", 1, 0.2)
    gossip.set_endpoint("f", 0, 0.3)
    gossip.set_draining(0.4)
    gossip.start(A, 1.0)
    entries = [
        Entry("proxy_addr", "10.0.0.1:8000", 1, False, False),
        Entry("endpoint:e", "2", 2, False, False),
        Entry("endpoint:f", "", 4, False, True),
        Entry(DRAINING_KEY, "1", 5, True, False),
        Entry(PICO_KEY, "1", 6, True, False),
    ]
    state = packed_state("a", A, [writing.pack_entry(each) for each in entries])
    joining = writing.join_request("a", A, state, [writing.digest_entry("a", A, 6, left=False)])
    assert drain(gossip) == [StreamRequest(1, "10.0.0.2", 8003, joining, 5.0)]
    assert gossip.snapshot(1.0)[0].addr == A


def test_a_leave_before_the_start_is_done_at_once_and_nothing_is_joined() -> None:
    gossip = engine("a", "10.0.0.2")
    gossip.leave(0.1)
    assert drain(gossip) == [LeaveDone(0)]
    gossip.start(A, 0.2)
    pass_time(gossip, 0.2, 2.0)
    assert gossip.counters.connections_outbound == 0
    assert status_of(gossip, "a") == "left"


@pytest.mark.parametrize(("default_port", "port"), [(None, 9003), (8003, 8003)])
def test_seeds_without_a_port_have_the_default_port_or_our_own(default_port: int | None, port: int) -> None:
    gossip = engine("a", "10.0.0.2", default_port=default_port)
    gossip.start("10.0.0.1:9003", 0.0)
    assert request_of(drain(gossip)).port == port


# --- joining ---


def test_a_join_brings_both_states() -> None:
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.set_endpoint("e", 2, 0.0)
    first.start(A, 0.0)
    second.start(B, 0.0)
    assert drain(first) == []
    request = request_of(drain(second))
    assert (request.host, request.port, request.timeout_s) == ("10.0.0.1", 8003, 5.0)
    stream = accepted(first, "::ffff:10.0.0.2", 0.0)
    assert received(stream, request.data[:10], 0.01) == b""
    reply = received(stream, request.data[10:], 0.01)
    assert reply is not None
    assert received(stream, b"more", 0.01) == b""
    assert drain(first) == [NodeJoined("b", B), NodeUpdated("b", "proxy_addr", "10.0.0.2:8000")]
    assert not take_answer(second, request.number, reply[:5], 0.02)
    assert take_answer(second, request.number, reply[5:], 0.02)
    assert drain(second) == [
        NodeJoined("a", A),
        NodeUpdated("a", "proxy_addr", "10.0.0.1:8000"),
        NodeUpdated("a", "endpoint:e", "2"),
    ]
    assert second.seeds.has_answer
    assert status_of(second, "a") == "active"
    assert status_of(second, "c") is None
    assert [each.key for each in entries_of(second, "a")] == ["proxy_addr", "endpoint:e", "_internal:pico:version"]
    assert second.entries("c") is None
    assert take_answer(second, request.number, b"late", 0.03)
    second.stream_failed(request.number, 0.03)


def test_names_are_looked_up_and_their_addresses_joined() -> None:
    gossip = engine("a", "pico")
    gossip.start(A, 0.0)
    assert drain(gossip) == [Lookup("pico", 5.0)]
    gossip.resolved("pico", ("10.0.0.1", "10.0.0.2"), "", 0.1)
    request = request_of(drain(gossip))
    assert request.host == "10.0.0.2"
    gossip.stream_failed(request.number, 0.2)
    gossip.tick(0.3)
    for tenth in range(3, 8):
        gossip.tick(tenth / 10)
    assert request_of(drain(gossip)).host == "10.0.0.2"


def test_joining_ourselves_under_another_address() -> None:
    gossip = engine("a", "10.9.9.9")
    gossip.start(A, 0.0)
    request = request_of(drain(gossip))
    reply = answer_of(gossip, "10.9.9.9", request.data, 0.1)
    assert take_answer(gossip, request.number, reply, 0.1)
    assert not gossip.seeds.names_others
    assert drain(gossip) == []
    assert gossip.counters.own_name == 1


def test_a_broken_answer_is_a_failed_join() -> None:
    gossip = engine("a", "10.0.0.2")
    gossip.start(A, 0.0)
    request = request_of(drain(gossip))
    assert take_answer(gossip, request.number, b"HTTP/1.1 400 Bad Request\r\n\r\n", 0.1)
    assert gossip.counters.malformed == 1
    assert not gossip.seeds.has_answer


def test_a_broken_request_raises_wire_error() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    with pytest.raises(WireError):
        received(accepted(gossip, "10.0.0.2", 0.1), b"GET / HTTP/1.1\r\n", 0.1)


# --- rounds ---


def test_a_round_as_the_reference_holds_it() -> None:
    """Digest there, delta and digest back, delta there."""
    first, second = joined(started=False)
    first.set_endpoint("e", 1, 0.05)
    first.tick(0.06)
    (request,) = only_datagrams(drain(first))
    assert request == SendDatagram("gossip", request.data, "10.0.0.2", 8003)
    assert [entry.id for entry in digest_of(decode_datagram(request.data)).entries] == ["a", "b"]
    second.receive_datagram(request.data, "10.0.0.1", 8003, 0.06)
    empty, message = sent(drain(second))
    shown = digest_of(message)
    assert empty == Delta("b", B, [])
    assert (shown.request, [entry.version for entry in shown.entries]) == (False, [2, 2])
    first.receive_datagram(digest("b", B, *shown.entries, request=False), "10.0.0.2", 8003, 0.07)
    (answer,) = only_datagrams(drain(first))
    second.receive_datagram(answer.data, "10.0.0.1", 8003, 0.08)
    assert drain(second) == [NodeUpdated("a", "endpoint:e", "1")]


def test_nothing_new_is_seen_without_reading() -> None:
    first, second = joined()
    before = second.counters.digest_entries_inbound
    first.tick(0.2)
    (request,) = only_datagrams(drain(first))
    second.receive_datagram(request.data, "10.0.0.1", 8003, 0.2)
    empty, shown = only_datagrams(drain(second))
    assert empty.data == writing.delta_head("b", B)
    first.receive_datagram(shown.data, "10.0.0.2", 8003, 0.2)
    (last,) = only_datagrams(drain(first))
    assert last.data == writing.delta_head("a", A)
    assert second.counters.digest_entries_inbound == before + 2
    another = shown.data.replace(b"node_id\xa1b", b"node_id\xa1x")
    before = first.counters.digest_entries_inbound
    first.receive_datagram(another, "10.0.0.2", 8003, 0.2)
    assert first.counters.digest_entries_inbound == before + 2
    assert writing.delta_head("a", A) not in [each.data for each in only_datagrams(drain(first))[1:]]


def test_ticks_before_their_time_do_nothing() -> None:
    gossip = engine("a")
    assert gossip.deadline() is None
    gossip.tick(1.0)
    gossip.start(A, 1.0)
    assert gossip.deadline() == pytest.approx(1.05)
    gossip.tick(1.04)
    assert gossip.deadline() == pytest.approx(1.05)
    gossip.tick(1.05)
    assert gossip.deadline() == pytest.approx(1.15)


def test_own_keys() -> None:
    first, second = joined()
    first.set_endpoint("e", 1, 0.1)
    first.set_endpoint("e", 3, 0.1)
    first.set_endpoint("f", 1, 0.1)
    first.set_endpoint("f", 0, 0.1)
    first.set_endpoint("never", 0, 0.1)
    first.set_draining(0.1)
    first.tick(0.16)
    told = talk(first, second, 0.16)
    assert told == [
        NodeUpdated("a", "endpoint:e", "3"),
        NodeUpdated("a", "endpoint:f", None),
        NodeDraining("a", True),
    ]
    ended = Entry(DRAINING_KEY, "", 8, True, True)
    second.receive_datagram(delta("a", A, "a", A, ended, after=7), "10.0.0.1", 8003, 0.2)
    assert events(drain(second)) == [NodeDraining("a", False)]
    rows = {row.id: row for row in second.snapshot(0.3)}
    assert (rows["a"].status, rows["a"].draining, rows["a"].local) == ("active", False, False)
    assert (rows["b"].version, rows["b"].entries, rows["b"].local) == (2, 2, True)


def test_bounds_of_the_constructor_of_the_start_and_of_own_keys() -> None:
    with pytest.raises(LocalProtocolError, match="packets"):
        engine("a", max_packet_bytes=500)
    with pytest.raises(LocalProtocolError, match="node ID"):
        Gossip("a\nb", entropy=Steady())
    with pytest.raises(LocalProtocolError, match="address 'nowhere'"):
        engine("a").start("nowhere", 0.0)
    with pytest.raises(LocalProtocolError, match="too long"):
        engine("a").set_endpoint("e" * 600, 1, 0.0)


def test_a_delta_is_cut_where_the_packet_ends_and_goes_on_in_the_next_round() -> None:
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


def test_a_third_node_is_asked_for_in_one_round_and_joins_when_it_answers() -> None:
    first, second = joined()
    prove(first, "c", C, DigestEntry("c", C, 0, False), at=0.1)
    assert events(drain(first)) == [NodeJoined("c", C)]
    state = Entry("proxy_addr", "10.0.0.3:8000", 1, False, False)
    first.receive_datagram(delta("c", C, "c", C, state), "10.0.0.3", 8003, 0.1)
    drain(first)
    second.tick(0.16)
    assert talk(second, first, 0.16) == []
    second.receive_datagram(writing.delta_head("c", C), "10.0.0.3", 8003, 0.17)
    assert events(drain(second)) == [NodeJoined("c", C), NodeUpdated("c", "proxy_addr", "10.0.0.3:8000")]
