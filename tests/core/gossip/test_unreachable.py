"""Silence, reports of silence, unreachability and return, in plays."""

import pytest

from pico_core.boundary import SendDatagram
from pico_core.gossip.events import (
    NodeForgotten,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeUnreachable,
)
from pico_core.gossip.keys import LEFT_KEY, SILENT_KEY
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import decode_datagram
from pico_core.gossip.wire.records import Delta, Digest, DigestEntry, Entry
from tests.core.gossip.plays import (
    A,
    B,
    C,
    D,
    accepted,
    answer_of,
    delta,
    delta_of,
    digest,
    digest_of,
    drain,
    engine,
    entries_of,
    events,
    introduce,
    join_request_of,
    joined,
    pass_time,
    prove,
    report_of,
    report_silent,
    request_of,
    sent,
    status_of,
    version_of,
)
from tests.gossip_streams import received, take_answer

# --- unreachable, removed, and back ---


def test_a_silent_node_is_unreachable_then_forgotten_and_comes_back_only_by_itself() -> None:
    first, _ = joined()
    assert first.can_forward("b", 0.2)
    outputs = pass_time(first, 0.2, 1.5)
    assert events(outputs) == []
    assert not first.can_forward("b", 1.5)
    assert [entry.id for entry in digest_of(sent(outputs)[1]).entries] == ["b"]
    assert events(pass_time(first, 1.5, 3.5)) == [NodeUnreachable("b", "does not answer")]
    assert status_of(first, "b") == "unreachable"

    prove(first, "c", C, DigestEntry("c", C, 0, False), at=4.0)
    assert events(drain(first)) == [NodeJoined("c", C)]
    listed = digest("c", C, DigestEntry("b", B, 2, False), DigestEntry("c", C, 0, False))
    first.receive_datagram(listed, "10.0.0.3", 8003, 4.0)
    hosts = [each.host for each in drain(first) if isinstance(each, SendDatagram)]
    assert hosts == ["10.0.0.2", "10.0.0.3", "10.0.0.3"]
    first.receive_datagram(writing.digest_head("b", B, request=True), "10.0.0.2", 8003, 4.1)
    assert events(drain(first)) == []
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 4.2)
    assert events(drain(first)) == [NodeReachable("b")]

    outputs = events(pass_time(first, 4.3, 80.0))
    assert NodeForgotten("b") in outputs
    assert status_of(first, "b") is None
    first.receive_datagram(listed, "10.0.0.3", 8003, 80.1)
    first.receive_datagram(delta("c", C, "b", B, Entry("k", "v", 3, False, False)), "10.0.0.3", 8003, 80.1)
    first.receive_datagram(writing.digest_head("b", B, request=True), "10.0.0.2", 8003, 80.1)
    outputs = drain(first)
    assert NodeJoined("b", B) not in outputs
    assert any(each.host == "10.0.0.2" for each in outputs if isinstance(each, SendDatagram))
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.99", 8003, 80.2)
    assert events(drain(first)) == []
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 80.2)
    assert events(drain(first)) == [NodeJoined("b", B)]


@pytest.mark.parametrize(("mentioned_at", "is_remembered"), [(3600.0, True), (3700.0, False)])
def test_removed_nodes_are_remembered_for_an_hour(mentioned_at: float, is_remembered: bool) -> None:
    """As long as a node that left is remembered, a late answer of its does not bring it back."""
    first, second = joined()
    second.leave(0.2)
    answer_of(first, "10.0.0.2", request_of(drain(second)).data, 0.2)
    pass_time(first, 0.2, 70.0)
    pass_time(first, mentioned_at, mentioned_at + 0.2)
    prove(first, "c", C, at=mentioned_at + 0.2)
    drain(first)
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 2, False)), "10.0.0.3", 8003, mentioned_at + 0.2)
    assert "10.0.0.2" in {each.host for each in drain(first) if isinstance(each, SendDatagram)}
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, mentioned_at + 0.3)
    assert events(drain(first)) == ([] if is_remembered else [NodeJoined("b", B)])


def test_an_old_answer_over_tcp_brings_no_dead_node_back() -> None:
    first, second = joined()
    second.receive_datagram(digest("a", A, DigestEntry("b", B, 50, False)), "10.0.0.1", 8003, 0.2)
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False)), "10.0.0.2", 8003, 0.2)
    drain(first)
    outputs = pass_time(first, 0.3, 5.0)
    request = request_of(outputs)
    assert NodeUnreachable("b", "does not answer") in outputs
    reply = answer_of(second, "10.0.0.1", request.data, 5.0)
    assert take_answer(first, request.number, reply, 5.0)
    assert NodeReachable("b") not in drain(first)


def test_an_old_connection_brings_no_dead_node_back() -> None:
    """A cut network brings the last bytes of a dead node seconds after the others have found it dead."""
    first, _ = joined()
    stream = accepted(first, "10.0.0.2", 0.2)
    assert NodeUnreachable("b", "does not answer") in pass_time(first, 0.2, 4.0)
    assert received(stream, join_request_of("b", B).data, 4.1)
    assert events(drain(first)) == []
    answer_of(first, "10.0.0.2", join_request_of("b", B).data, 4.2)
    assert NodeReachable("b") in drain(first)


def test_a_dead_node_that_joins_is_back() -> None:
    first, _ = joined()
    pass_time(first, 0.2, 4.0)
    answer_of(first, "10.0.0.2", join_request_of("b", B).data, 4.1)
    assert NodeReachable("b") in drain(first)
    pass_time(first, 4.2, 70.0)
    answer_of(first, "10.0.0.2", join_request_of("b", B).data, 70.1)
    assert NodeJoined("b", B) in drain(first)


def test_another_name_at_the_same_address_ends_the_older_one() -> None:
    first, _ = joined()
    first.receive_datagram(digest("b2", B, DigestEntry("b2", B, 1, False)), "10.0.0.2", 8003, 0.2)
    assert events(drain(first)) == []
    first.receive_datagram(writing.delta_head("b2", B), "10.0.0.2", 8003, 0.2)
    replaced = NodeUnreachable("b", "another node answers at its address")
    assert events(drain(first)) == [NodeJoined("b2", B), replaced]
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.2", 8003, 0.5)
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 0.5)
    assert events(drain(first)) == []


def test_the_same_name_at_another_address() -> None:
    first, _ = joined()
    moved = "10.0.0.9:8003"
    left = [DigestEntry("left", "", 0, True)] * 5
    first.receive_datagram(digest("b", moved, DigestEntry("b", moved, 2, False), *left), "10.0.0.9", 8003, 0.2)
    assert {row.id: row.addr for row in first.snapshot(0.2)}["b"] == moved
    drain(first)
    first.tick(0.3)
    assert {each.host for each in drain(first) if isinstance(each, SendDatagram)} == {"10.0.0.9"}


def test_the_writes_of_a_former_process_under_our_id_are_superseded() -> None:
    first, second = joined()
    version = version_of(second)
    first.receive_datagram(digest("b", B, DigestEntry("a", A, 500, False)), "10.0.0.2", 8003, 0.2)
    assert version_of(first) == 503
    assert entries_of(first, "a")[-1] == Entry("_internal:compact", "500", 503, True, False)
    first.receive_datagram(digest("b", B, DigestEntry("a", A, 900, False)), "10.0.0.2", 8003, 0.3)
    assert version_of(first) == 503
    first.receive_datagram(delta("b", B, "a", A, Entry("endpoint:old", "1", 900, False, False)), "10.0.0.2", 8003, 1.5)
    assert version_of(first) == 903
    first.receive_datagram(digest("b", B, DigestEntry("a", A, 1 << 60, False)), "10.0.0.2", 8003, 5.0)
    assert version_of(first) == 903
    assert first.counters.name_conflicts == 2
    assert version_of(second) == version


def test_a_configured_id_goes_on_at_random_behind_a_former_process() -> None:
    """The peer that shows a version may not be the one that holds the last."""
    gossip = engine("a", is_name_fixed=True)
    gossip.start(A, 0.0)
    shown = 1 << 45
    prove(gossip, "b", B, at=0.2)
    gossip.receive_datagram(digest("b", B, DigestEntry("a", A, shown, False)), "10.0.0.2", 8003, 0.2)
    void = shown + (1 << 31)
    assert entries_of(gossip, "a")[-1] == Entry("_internal:compact", str(void), void + 3, True, False)


def test_a_configured_id_begins_at_random_with_all_before_void() -> None:
    gossip = engine("a", is_name_fixed=True)
    gossip.start(A, 0.0)
    assert entries_of(gossip, "a")[-1] == Entry("_internal:compact", str(1 << 39), (1 << 39) + 3, True, False)
    assert entries_of(gossip, "a")[0].key == "proxy_addr"


def test_our_own_stall_is_not_the_silence_of_others() -> None:
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    first.tick(9.0)
    assert events(drain(first)) == []
    assert status_of(first, "b") == "active"


def test_forwarding() -> None:
    first, _ = joined()
    first.report_forward_failure("b", 0.2)
    first.report_forward_failure("c", 0.2)
    first.report_forward_failure("a", 0.2)
    assert not first.can_forward("b", 0.3)
    drain(first)
    first.tick(0.26)
    digests = [digest_of(each) for each in sent(drain(first))]
    (ping,) = [each for each in digests if [entry.id for entry in each.entries] == ["b"]]
    assert ping.request
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 0.3)
    assert not first.can_forward("b", 1.1)
    assert first.can_forward("b", 1.3)
    first.report_forward_failure("b", 1.3)
    first.report_forward_success("b")
    assert first.can_forward("b", 1.4)
    assert not first.can_forward("c", 1.4)


def test_a_dead_node_that_is_known_late_to_have_left() -> None:
    first, _ = joined()
    pass_time(first, 0.2, 4.0)
    left = Entry(LEFT_KEY, "", 3, True, False)
    prove(first, "c", C, DigestEntry("b", B, 3, True), at=4.0)
    drain(first)
    first.receive_datagram(delta("c", C, "b", B, left), "10.0.0.3", 8003, 4.0)
    assert drain(first) == [NodeLeft("b")]
    listed = digest("c", C, DigestEntry("c", C, 1, False), DigestEntry("b", B, 2, False), DigestEntry("a", A, 2, False))
    first.receive_datagram(listed, "10.0.0.3", 8003, 4.1)
    assert delta_of(sent(drain(first))[0]).nodes[0].entries == [left]
    reply = answer_of(first, "10.0.0.4", join_request_of("d", D).data, 4.2)
    assert b"10.0.0.3" in reply
    assert b"10.0.0.2" not in reply


def test_the_report_of_a_node_that_left_does_not_count() -> None:
    first, _ = joined()
    introduce(first, "c")
    introduce(first, "d")
    entries = [Entry(LEFT_KEY, "", 2, True, False), Entry(SILENT_KEY, "b", 3, True, False)]
    first.receive_datagram(delta("c", C, "c", C, entries[0]), "10.0.0.3", 8003, 0.2)
    first.receive_datagram(delta("c", C, "c", C, entries[1], after=2), "10.0.0.3", 8003, 0.2)
    assert events(pass_time(first, 0.2, 5.0, "d")) == [NodeLeft("c")]
    reports = Entry(SILENT_KEY, "b", 2, True, False)
    first.receive_datagram(delta("d", D, "d", D, reports, after=1), "10.0.0.4", 8003, 5.0)
    assert events(pass_time(first, 5.0, 5.3, "d")) == [NodeUnreachable("b", "does not answer")]


def test_a_removed_node_that_asks_is_answered_and_its_answer_to_that_counts() -> None:
    first, _ = joined()
    pass_time(first, 0.2, 70.0)
    own = DigestEntry("a", A, version_of(first), False)
    listed = [DigestEntry("b", B, 2, False), own, DigestEntry("x", "a:1", 2, False)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 70.0)
    assert [type(each) for each in sent(drain(first))] == [Digest, Delta, Digest]
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 70.1)
    assert events(drain(first)) == [NodeJoined("b", B)]


# --- reports of silence ---


def test_a_node_reported_as_silent_gossips_with_the_reporter_next() -> None:
    first, _ = joined()
    introduce(first, "c")
    first.tick(0.2)
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 0.2)
    first.tick(0.7)
    drain(first)
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 0.2)
    report_silent(first, "c", "a\nx\nb", 0.8)
    first.tick(0.8)
    first.tick(0.9)
    datagrams = [each for each in drain(first) if isinstance(each, SendDatagram)]
    digests = [(each.host, digest_of(decode_datagram(each.data))) for each in datagrams]
    pings = [host for host, shown in digests if [entry.id for entry in shown.entries] == ["b"]]
    assert pings == ["10.0.0.2"]
    assert "10.0.0.3" in [each.host for each in datagrams]
    assert first.counters.refutations == 1


def test_a_report_that_is_taken_back_does_not_count() -> None:
    first, _ = joined()
    introduce(first, "c")
    report_silent(first, "c", "b", 0.2)
    deleted = Entry(SILENT_KEY, "", 3, True, True)
    first.receive_datagram(delta("c", C, "c", C, deleted), "10.0.0.3", 8003, 0.3)
    assert events(pass_time(first, 0.3, 5.0, "c")) == []
    assert status_of(first, "b") == "active"


def test_unreachable_waits_for_the_report_of_another_node() -> None:
    first, _ = joined()
    introduce(first, "c")

    assert events(pass_time(first, 0.2, 5.0, "c")) == []
    assert report_of(first) == "b"
    assert not first.can_forward("b", 5.0)
    report_silent(first, "c", "b", 5.0)
    assert events(pass_time(first, 5.0, 5.3, "c")) == [NodeUnreachable("b", "does not answer")]
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 5.4)  # a late one
    assert events(drain(first)) == []
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 2, False)), "10.0.0.2", 8003, 5.4)
    first.receive_datagram(writing.delta_head("b", B), "10.0.0.2", 8003, 5.4)
    assert events(drain(first)) == [NodeReachable("b")]
    pass_time(first, 5.4, 5.6, "c")
    assert report_of(first) == ""


def test_removed_nodes_that_others_list_are_reported() -> None:
    first, _ = joined()
    pass_time(first, 0.2, 70.0)
    introduce(first, "c")
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 2, False)), "10.0.0.3", 8003, 72.0)
    first.tick(72.1)
    first.tick(72.2)
    assert report_of(first) == "b"
