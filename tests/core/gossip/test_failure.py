"""When nodes are pinged, reported and unreachable. The interval is 100 ms: every 0.2 s, after 1 s, after 2.8 s."""

import pytest

from pico_core.gossip.failure import (
    MAX_REPORTED,
    UNCONFIRMED_FACTOR,
    FailureDetector,
    pack_report,
    unpack_report,
)

Reporters = dict[str, None]
NONE: Reporters = {}


def detector() -> FailureDetector:
    return FailureDetector(0.1)


def pings(failure: FailureDetector, now: float, peers: int = 5, reporters: Reporters = NONE) -> list[str]:
    return failure.check(now, peers, reporters).pings


def unreachable(failure: FailureDetector, now: float, peers: int = 5, reporters: Reporters = NONE) -> list[str]:
    return failure.check(now, peers, reporters).unreachable


def test_a_silent_node_is_pinged_until_it_answers() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    failure.probed("a", 10.1)
    assert pings(failure, 10.1) == []
    assert pings(failure, 10.2) == ["a"]
    assert pings(failure, 10.3) == []
    assert pings(failure, 10.41) == ["a"]
    assert failure.silent_s("a", 10.5) == pytest.approx(0.5)
    failure.answered("a")
    failure.answered("a")
    assert pings(failure, 10.6) == []
    assert failure.silent_s("a", 10.6) == 0.0


def test_a_suspected_node_is_pinged_at_once_and_a_report_names_what_is_new() -> None:
    failure = detector()
    assert failure.reported("b", ("a", "c")) == ["a", "c"]
    failure.suspected("a", 10.0)
    failure.suspected("a", 10.1)
    assert pings(failure, 10.0) == ["a"]
    assert failure.reported("b", ("c", "d")) == ["d"]
    assert failure.reported("b", ()) == []


def test_the_longest_silent_is_reported_first() -> None:
    failure = detector()
    failure.probed("a", 10.5)
    failure.probed("b", 10.0)
    failure.probed("c", 11.0)
    assert failure.silent_for_long(11.0) == ["b"]
    assert failure.silent_for_long(11.6) == ["b", "a"]


def test_unreachable_takes_our_evidence_and_a_report() -> None:
    failure = detector()
    reporters = {"b": None}
    failure.probed("a", 10.0)
    assert unreachable(failure, 12.9, reporters=reporters) == []
    failure.reported("b", ("a",))
    assert unreachable(failure, 12.7, reporters=reporters) == []
    assert unreachable(failure, 12.9, reporters=reporters) == ["a"]
    failure.forget("a")
    assert unreachable(failure, 13.0, reporters=reporters) == []


def test_the_report_of_a_node_that_is_not_active_does_not_count() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    failure.reported("b", ("a",))
    failure.reported("c", ("a",))
    failure.forget("b")
    assert unreachable(failure, 12.9, reporters={"d": None}) == ["a"]
    failure.forget("c")
    assert unreachable(failure, 12.9, reporters={"d": None}) == []


def test_where_no_other_node_could_report_our_evidence_is_enough() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    failure.probed("b", 10.0)
    assert unreachable(failure, 12.9, reporters={"a": None}) == ["a", "b"]
    assert unreachable(failure, 12.9, peers=2, reporters={"a": None, "b": None}) == []
    assert unreachable(failure, 12.9, reporters={"a": None, "b": None}) == ["a", "b"]


def test_a_link_that_only_we_miss_is_given_more_time() -> None:
    failure = detector()
    reporters = {"b": None}
    failure.probed("a", 10.0)
    assert unreachable(failure, 10.0 + 2.8 * UNCONFIRMED_FACTOR - 0.1, reporters=reporters) == []
    assert unreachable(failure, 10.0 + 2.8 * UNCONFIRMED_FACTOR + 0.1, reporters=reporters) == ["a"]


def test_late_pings_are_rare() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    reporters = {"b": None}
    times = [at / 4 for at in range(52, 64) if pings(failure, at / 4, reporters=reporters)]
    assert times == [13.0, 14.0, 15.0]


def test_when_no_node_answers_we_wait_longer() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    failure.probed("b", 10.1)
    assert unreachable(failure, 13.0, peers=2) == []
    assert unreachable(failure, 15.8, peers=2) == ["a", "b"]


def test_the_only_peer_is_found_in_the_normal_time() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    assert unreachable(failure, 12.9, peers=1) == ["a"]


def test_time_in_which_we_did_not_run_does_not_count() -> None:
    failure = detector()
    failure.probed("a", 10.0)
    failure.stalled(5.0)
    assert failure.silent_s("a", 15.5) == pytest.approx(0.5)
    assert unreachable(failure, 15.5) == []
    assert unreachable(failure, 17.9) == ["a"]


def test_reports_as_text() -> None:
    assert pack_report([]) == ""
    assert pack_report(["a", "b"]) == "a\nb"
    assert unpack_report("a\nb\n\na") == ("a", "b")
    assert unpack_report("") == ()
    many = [f"node-{number:03}" for number in range(100)]
    assert unpack_report(pack_report(many)) == tuple(many[:MAX_REPORTED])
    assert unpack_report("\n".join(many)) == tuple(many[:MAX_REPORTED])
    long = ["n" * 250, "m" * 250, "o" * 250]
    assert unpack_report(pack_report(long)) == tuple(long[:2])
