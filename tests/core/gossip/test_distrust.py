"""Claims of peers that the engine does not accept, in plays."""

import pytest

from pico_core.boundary import SendDatagram
from pico_core.gossip.events import AddressRefused, NodeJoined
from pico_core.gossip.keys import SILENT_KEY
from pico_core.gossip.knowledge import HEARD_PINGS, MAX_ADDRESSES_REFUSED, MAX_STRANGERS_HEARD
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import MAX_NODES, Delta, Digest, DigestEntry, Entry
from tests.core.gossip.plays import (
    A,
    B,
    C,
    answer_of,
    delta,
    digest,
    digest_of,
    drain,
    engine,
    entries_of,
    events,
    introduce,
    join_request_of,
    joined,
    only_datagrams,
    pass_time,
    prove,
    report_silent,
    sent,
    status_of,
)
from tests.gossip_streams import packed_state


def test_unverified_peers_get_no_more_bytes_than_they_sent() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    for number in range(30):
        gossip.set_endpoint(f"endpoint-{number}", 1, 0.0)
    for data in (
        writing.digest_head("b", B, request=True),
        digest("b", B, DigestEntry("a", A, 0, False)),
        digest("b", B, DigestEntry("b", B, 1, False), DigestEntry("a", A, 0, False)),
        digest("b", B, DigestEntry("b", B, 1, False), DigestEntry("a", A, 0, False), request=False),
        digest("x", C, *(DigestEntry(f"n{n}", "a:1", 1, False) for n in range(20))),
        writing.digest_head("b", "b:1", request=True),
    ):
        gossip.receive_datagram(data, "10.0.0.2", 8003, 0.1)
        answers = [each for each in drain(gossip) if isinstance(each, SendDatagram)]
        assert sum(len(each.data) for each in answers) <= len(data)
        assert all((each.host, each.port) == ("10.0.0.2", 8003) for each in answers)


def test_a_peer_that_answered_gets_whole_packets() -> None:
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.2", 8003, 0.1)
    answers = sent(drain(first))
    assert [entry.id for entry in digest_of(answers[1]).entries] == ["a", "b"]
    data = digest("b", B, DigestEntry("b", B, 2, False))
    first.receive_datagram(data, "10.0.0.99", 8003, 0.1)
    assert sum(len(each.data) for each in only_datagrams(drain(first))) <= len(data)


def test_a_ping_is_answered_shortly() -> None:
    first, _ = joined()
    for data in (writing.digest_head("b", B, request=True), digest("b", B, DigestEntry("a", A, 2, False))):
        first.receive_datagram(data, "10.0.0.2", 8003, 0.1)
        assert sent(drain(first)) == [Delta("a", A, []), Digest("a", A, False, [DigestEntry("a", A, 2, False)])]


def test_garbage_and_our_own_name_are_counted() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    gossip.receive_datagram(b"garbage", "10.0.0.2", 8003, 0.1)
    gossip.receive_datagram(writing.digest_head("a", A, request=True), "10.0.0.1", 8003, 0.1)
    gossip.receive_datagram(writing.delta_head("b", B), "10.0.0.77", 8003, 0.1)
    assert drain(gossip) == []
    assert (gossip.counters.malformed, gossip.counters.own_name) == (1, 1)


def test_deltas_about_nodes_we_do_not_know_and_about_ourselves() -> None:
    first, _ = joined()
    state = Entry("proxy_addr", "evil", 1, False, False)
    first.receive_datagram(delta("b", B, "c", C, state), "10.0.0.2", 8003, 0.1)
    first.receive_datagram(delta("b", B, "a", A, state), "10.0.0.2", 8003, 0.1)
    assert events(drain(first)) == []
    assert first.counters.strangers_refused == 1
    assert entries_of(first, "a")[0].value == "10.0.0.1:8000"


def test_a_gap_is_refused() -> None:
    first, _ = joined()
    later = Entry("endpoint:e", "1", 9, False, False)
    first.receive_datagram(delta("b", B, "b", B, later, after=8), "10.0.0.2", 8003, 0.1)
    assert first.counters.gaps_refused == 1
    prove(first, "c", C, DigestEntry("c", C, 9, False), at=0.1)
    first.receive_datagram(delta("c", C, "c", C, later), "10.0.0.3", 8003, 0.1)
    assert first.counters.gaps_refused == 2
    assert events(drain(first)) == [NodeJoined("c", C)]


def test_nodes_that_could_never_be_probed_are_not_taken_from_others() -> None:
    first, _ = joined()
    listed = [DigestEntry("c", "pico-2:8003", 1, False), DigestEntry("d", "nonsense", 1, False)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.1)
    assert events(drain(first)) == []
    assert first.counters.nodes_refused == 2
    left = [DigestEntry("left", "", 0, True)] * 10
    first.receive_datagram(digest("c", "pico-2:8003", *left), "10.0.0.3", 8003, 0.1)
    assert events(drain(first)) == []
    first.receive_datagram(writing.delta_head("c", "pico-2:8003"), "10.0.0.3", 8003, 0.1)
    assert events(drain(first)) == [NodeJoined("c", "pico-2:8003")]
    first.tick(0.2)
    first.tick(0.3)
    assert {each.host for each in only_datagrams(drain(first))} == {"10.0.0.2", "10.0.0.3"}


def test_a_name_met_over_tcp_is_found_once_it_sends_a_datagram() -> None:
    first, _ = joined()
    introduce(first, "c")
    reports_us = writing.pack_entry(Entry(SILENT_KEY, "a", 1, True, False))
    state = packed_state("d", "pico-3:8003", [reports_us])
    joining = writing.join_request("d", "pico-3:8003", state, [])
    answer_of(first, "10.0.0.4", joining, 0.2)
    assert NodeJoined("d", "pico-3:8003") in drain(first)
    report_silent(first, "c", "d", 1.0)
    first.tick(0.3)
    assert "10.0.0.4" not in {each.host for each in drain(first) if isinstance(each, SendDatagram)}
    assert first.counters.refutations == 0
    assert pass_time(first, 1.1, 2.2)
    left = [DigestEntry("left", "", 0, True)] * 5
    first.receive_datagram(digest("d", "pico-3:8003", *left), "10.0.0.4", 8003, 2.2)
    assert "10.0.0.4" in {each.host for each in pass_time(first, 2.3, 3.0) if isinstance(each, SendDatagram)}


def test_the_table_is_bounded() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    prove(gossip, "b", B, at=0.0)
    for number in range(MAX_NODES):
        host, at = f"10.1.{number // 250}.{number % 250}", 1.0 + number * 0.01
        listed = [DigestEntry(f"n{number}", f"{host}:80", 1, False), DigestEntry("b", B, 1, False)]
        gossip.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, at)
        gossip.receive_datagram(writing.delta_head(f"n{number}", f"{host}:80"), host, 80, at)
    joins = [each for each in drain(gossip) if isinstance(each, NodeJoined)]
    assert len(joins) == MAX_NODES - 1
    assert gossip.counters.nodes_refused >= 2
    refused = gossip.counters.nodes_refused
    gossip.receive_datagram(digest("c\n", C), "10.0.0.3", 8003, 50.0)
    assert gossip.counters.nodes_refused == refused + 1


def test_strangers_do_not_fill_the_table() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    for number in range(MAX_STRANGERS_HEARD + 100):
        host = f"10.2.{number // 250}.{number % 250}"
        gossip.receive_datagram(digest(f"s{number}", f"{host}:80"), host, 80, number * 0.002)
    assert gossip.counters.nodes_refused == 100
    answer_of(gossip, "10.0.0.2", join_request_of("b", B).data, 2.0)
    assert NodeJoined("b", B) in drain(gossip)


def test_nodes_that_were_only_heard_of_are_bounded_too() -> None:
    gossip, _ = joined()
    for number in range(0, MAX_NODES + 100, 20):
        listed = [DigestEntry(f"n{number + n}", f"10.1.{number // 20}.{n}:80", 1, False) for n in range(20)]
        for turn in range(3):
            gossip.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.1 + number * 0.001 + turn * 0.0001)
    assert events(drain(gossip)) == []
    assert gossip.counters.nodes_refused > 100
    pings = []
    for tenth in range(52, 62):
        gossip.tick(tenth / 10)
        outputs = drain(gossip)
        pings.append(sum(isinstance(each, SendDatagram) and each.host.startswith("10.1.") for each in outputs))
    assert max(pings) == HEARD_PINGS


def test_left_nodes_that_we_never_knew_are_not_added() -> None:
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("c", C, 7, True)), "10.0.0.2", 8003, 0.1)
    assert events(drain(first)) == []
    assert status_of(first, "c") is None


OWN_ONLY = ("127.0.0.1:8003", "127.8.8.8:8003", "[::1]:8003", "::ffff:127.0.0.1:8003", "0.0.0.0:8003", "localhost:8003")


@pytest.mark.parametrize("addr", OWN_ONLY)
def test_an_address_that_every_host_takes_for_its_own_is_told_of_once(addr: str) -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    data = digest("b", addr, DigestEntry("b", addr, 1, False))
    gossip.receive_datagram(data, "10.0.0.2", 8003, 0.1)
    outputs = drain(gossip)
    assert events(outputs) == [AddressRefused("b", addr)]
    assert {each.host for each in outputs if isinstance(each, SendDatagram)} <= {"10.0.0.2"}
    gossip.receive_datagram(data, "10.0.0.2", 8003, 0.2)
    answer_of(gossip, "10.0.0.2", join_request_of("b", addr).data, 0.3)
    assert events(drain(gossip)) == []
    assert status_of(gossip, "b") is None
    assert not [each for each in drain(gossip) + pass_time(gossip, 0.4, 1.5) if isinstance(each, SendDatagram)]


@pytest.mark.parametrize("addr", OWN_ONLY)
def test_a_node_that_a_peer_lists_at_our_own_host_is_not_pinged(addr: str) -> None:
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("x", addr, 1, False)), "10.0.0.2", 8003, 0.2)
    outputs = drain(first)
    assert events(outputs) == [AddressRefused("x", addr)]
    assert {each.host for each in outputs if isinstance(each, SendDatagram)} == {"10.0.0.2"}
    first.receive_datagram(digest("b", B, DigestEntry("x", addr, 1, False)), "10.0.0.2", 8003, 0.3)
    assert events(drain(first)) == []


def test_nodes_of_one_host_may_tell_each_other_loopback_addresses() -> None:
    gossip = engine("a")
    gossip.start("127.0.0.1:8003", 0.0)
    prove(gossip, "b", "127.0.0.1:9003", DigestEntry("c", "127.0.0.1:9004", 1, False), at=0.1)
    assert events(drain(gossip)) == [NodeJoined("b", "127.0.0.1:9003")]


def test_how_many_refused_addresses_are_remembered_is_bounded() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    for number in range(MAX_ADDRESSES_REFUSED + 1):
        gossip.receive_datagram(writing.delta_head(f"n{number}", "127.0.0.1:1"), "10.0.0.9", 1, 0.1 * number)
    drain(gossip)
    gossip.receive_datagram(writing.delta_head("n1", "127.0.0.1:1"), "10.0.0.9", 1, 30.0)
    assert events(drain(gossip)) == []
    gossip.receive_datagram(writing.delta_head("n0", "127.0.0.1:1"), "10.0.0.9", 1, 31.0)
    assert events(drain(gossip)) == [AddressRefused("n0", "127.0.0.1:1")]
