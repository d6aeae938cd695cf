"""Nodes that peers list, in plays: none is taken for alive before it answers, and the dead stay unknown."""

import pytest

from pico_core.boundary import SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import NodeJoined, NodeLeft, NodeUpdated, Output
from pico_core.gossip.keys import LEFT_KEY
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.reading import decode_datagram
from pico_core.gossip.wire.records import DigestEntry, Entry, FullState
from tests.core.gossip.plays import (
    A,
    B,
    C,
    D,
    delta,
    digest,
    digest_of,
    drain,
    engine,
    events,
    introduce,
    joined,
    pass_time,
    prove,
    report_of,
    report_silent,
    request_of,
    status_of,
)
from tests.gossip_streams import packed_state, reply_of_states, take_answer

STATE = Entry("proxy_addr", "10.0.0.3:8000", 1, False, False)
JOINED = [NodeJoined("c", C), NodeUpdated("c", "proxy_addr", "10.0.0.3:8000")]


def hearing(*states: FullState) -> Gossip:
    """Return node ``a``, to which ``b`` has answered its join with these states."""
    first = engine("a", B)
    first.start(A, 0.0)
    request = request_of(drain(first))
    packed = [packed_state(each.id, each.addr, list(map(writing.pack_entry, each.entries or []))) for each in states]
    assert take_answer(first, request.number, reply_of_states("b", B, packed), 0.01)
    return first


def sent_to(host: str, outputs: list[Output]) -> list[bytes]:
    """Return the datagrams to a host."""
    return [each.data for each in outputs if isinstance(each, SendDatagram) and each.host == host]


def pings(host: str, outputs: list[Output]) -> list[str]:
    """Return the IDs that the digests to a host list."""
    found = [digest_of(decode_datagram(data)) for data in sent_to(host, outputs)]
    return [entry.id for message in found for entry in message.entries]


@pytest.mark.parametrize("answer", [writing.delta_head("c", C), digest("c", C, request=False)])
def test_a_node_that_a_peer_lists_is_active_once_it_answers(answer: bytes) -> None:
    first = hearing(FullState("c", C, [STATE]))
    outputs = drain(first)
    assert events(outputs) == [NodeJoined("b", B)]
    assert pings("10.0.0.3", outputs) == ["c"]
    assert status_of(first, "c") is None
    assert not first.can_forward("c", 0.02)
    first.receive_datagram(answer, "10.0.0.3", 8003, 0.02)
    assert events(drain(first)) == JOINED
    assert first.can_forward("c", 0.02)


def test_a_dead_node_that_a_peer_lists_is_never_active_and_never_passed_on() -> None:
    first = hearing(FullState("c", C, [STATE]))
    outputs = pass_time(first, 0.1, 30.0, "b")
    assert [each for each in events(outputs) if each != NodeJoined("b", B)] == []
    to_peer = sent_to("10.0.0.2", outputs)
    assert to_peer
    assert b"\xa1c" not in b"".join(to_peer)
    assert "c" in pings("10.0.0.3", outputs)


def test_a_node_that_does_not_answer_is_reported() -> None:
    """A peer that lists it may need another node's report to find it dead."""
    first = hearing(FullState("c", C, [STATE]))
    pass_time(first, 0.1, 0.9, "b")
    assert report_of(first) is None
    pass_time(first, 0.9, 1.3, "b")
    assert report_of(first) == "c"


def test_a_node_that_sends_itself_must_answer() -> None:
    """Its address may be forged, or its datagram late."""
    first = hearing(FullState("c", C, [STATE]))
    drain(first)
    prove(first, "d", D, at=0.02)
    assert events(drain(first)) == [NodeJoined("d", D)]
    first.receive_datagram(writing.digest_head("x", A.replace("1:", "9:"), request=True), "10.0.0.9", 8003, 0.02)
    assert events(drain(first)) == []
    first.receive_datagram(writing.digest_head("c", C, request=True), "10.0.0.3", 8003, 0.02)
    assert events(drain(first)) == []
    first.receive_datagram(writing.delta_head("c", C), "10.0.0.3", 8003, 0.02)
    assert events(drain(first)) == JOINED


def test_a_node_that_is_reported_as_dead_must_answer() -> None:
    """It may be deaf, or its datagram late: a request does not show that it hears."""
    first, _ = joined()
    introduce(first, "c")
    report_silent(first, "c", "d", 0.2)
    asking = digest("d", D, DigestEntry("d", D, 1, False), DigestEntry("a", A, 1, False))
    for at in (0.3, 0.4):
        first.receive_datagram(asking, "10.0.0.4", 8003, at)
        assert events(drain(first)) == []
    first.tick(0.45)
    first.receive_datagram(writing.delta_head("d", D), "10.0.0.4", 8003, 0.5)
    assert events(drain(first)) == [NodeJoined("d", D)]


def test_the_former_process_at_our_address_is_dead() -> None:
    """A container restarts in its pod, and a peer still lists the process before it; our report tells the peer."""
    first = hearing(FullState("old", A, [STATE]))
    outputs = pass_time(first, 0.1, 0.3, "b")
    assert events(outputs) == [NodeJoined("b", B)]
    assert report_of(first) == "old"
    assert sent_to("10.0.0.1", outputs) == []


def test_a_node_that_was_heard_of_and_left_is_not_known() -> None:
    first = hearing(FullState("c", C, [STATE]), FullState("d", D, [STATE, Entry(LEFT_KEY, "", 2, True, False)]))
    first.receive_datagram(digest("b", B, DigestEntry("c", C, 2, True)), "10.0.0.2", 8003, 0.02)
    for name, addr, host in (("c", C, "10.0.0.3"), ("d", D, "10.0.0.4")):
        first.receive_datagram(writing.digest_head(name, addr, request=True), host, 8003, 0.03)
    assert events(drain(first)) == [NodeJoined("b", B)]


def test_a_node_that_was_heard_of_at_another_address_is_active_where_it_is() -> None:
    first = hearing(FullState("c", C, [STATE]))
    drain(first)
    prove(first, "c", D, at=0.02)
    assert events(drain(first)) == [NodeJoined("c", D)]


def test_what_peers_say_of_it_is_kept_until_it_answers() -> None:
    first = hearing()
    drain(first)
    shown = digest("b", B, DigestEntry("b", B, 1, False), DigestEntry("c", C, 1, False))
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.02)
    first.receive_datagram(delta("b", B, "c", C, STATE), "10.0.0.2", 8003, 0.03)
    assert events(drain(first)) == []
    first.receive_datagram(writing.delta_head("c", C), "10.0.0.3", 8003, 0.04)
    assert events(drain(first)) == JOINED


def test_a_leave_heard_of_before_its_node_answered_is_not_told() -> None:
    first = hearing(FullState("c", C, [STATE]))
    leave = Entry(LEFT_KEY, "", 2, True, False)
    first.receive_datagram(delta("b", B, "c", C, leave, after=1), "10.0.0.2", 8003, 0.02)
    first.receive_datagram(writing.delta_head("c", C), "10.0.0.3", 8003, 0.03)
    assert [each for each in events(drain(first)) if isinstance(each, NodeLeft)] == []
    assert status_of(first, "c") is None
