"""Who is found silent, accused and dead, at which times. The interval is 100 ms: a ping every 0.2 s, 1 s, 2.8 s."""

import pytest

from pico_core.gossip.failure import (
    LONE_FACTOR,
    MAX_ACCUSED,
    FailureDetector,
    pack_accusations,
    unpack_accusations,
)

NOBODY: dict[str, None] = {}


def detector() -> FailureDetector:
    return FailureDetector(0.1)


def pings(failure: FailureDetector, now: float, peers: int = 5, voters: dict[str, None] = NOBODY) -> list[str]:
    return failure.check(now, peers, voters).pings


def verdicts(failure: FailureDetector, now: float, peers: int = 5, voters: dict[str, None] = NOBODY) -> list[str]:
    return failure.check(now, peers, voters).verdicts


def test_who_owes_an_answer_is_pinged_until_it_comes():
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


def test_whom_others_accuse_is_pinged_at_once():
    failure = detector()
    assert failure.accusations("b", ("a", "c")) == ["a", "c"]
    failure.suspected("a", 10.0)
    failure.suspected("a", 10.1)
    assert pings(failure, 10.0) == ["a"]
    assert failure.accusations("b", ("c", "d")) == ["d"]
    assert failure.accusations("b", ()) == []


def test_the_longest_silent_is_accused_first():
    failure = detector()
    failure.probed("a", 10.5)
    failure.probed("b", 10.0)
    failure.probed("c", 11.0)
    assert failure.silent_for_long(11.0) == ["b"]
    assert failure.silent_for_long(11.6) == ["b", "a"]


def test_a_verdict_takes_our_evidence_and_an_accuser():
    failure = detector()
    voters = {"b": None}
    failure.probed("a", 10.0)
    assert verdicts(failure, 12.9, voters=voters) == []
    failure.accusations("b", ("a",))
    assert verdicts(failure, 12.7, voters=voters) == []
    assert verdicts(failure, 12.9, voters=voters) == ["a"]
    failure.forget("a")
    assert verdicts(failure, 13.0, voters=voters) == []


def test_an_accuser_that_is_gone_does_not_count():
    failure = detector()
    failure.probed("a", 10.0)
    failure.accusations("b", ("a",))
    failure.accusations("c", ("a",))
    failure.forget("b")
    assert verdicts(failure, 12.9, voters={"d": None}) == ["a"]
    failure.forget("c")
    assert verdicts(failure, 12.9, voters={"d": None}) == []


def test_where_nobody_else_could_accuse_our_evidence_is_enough():
    failure = detector()
    failure.probed("a", 10.0)
    failure.probed("b", 10.0)
    assert verdicts(failure, 12.9, voters={"a": None}) == ["a", "b"]
    assert verdicts(failure, 12.9, peers=2, voters={"a": None, "b": None}) == []
    assert verdicts(failure, 12.9, voters={"a": None, "b": None}) == ["a", "b"]


def test_a_link_that_only_we_miss_is_given_more_time():
    failure = detector()
    voters = {"b": None}
    failure.probed("a", 10.0)
    assert verdicts(failure, 10.0 + 2.8 * LONE_FACTOR - 0.1, voters=voters) == []
    assert verdicts(failure, 10.0 + 2.8 * LONE_FACTOR + 0.1, voters=voters) == ["a"]


def test_late_pings_are_rare():
    failure = detector()
    failure.probed("a", 10.0)
    voters = {"b": None}
    times = [at / 4 for at in range(52, 64) if pings(failure, at / 4, voters=voters)]
    assert times == [13.0, 14.0, 15.0]


def test_when_nobody_answers_we_wait_longer():
    failure = detector()
    failure.probed("a", 10.0)
    failure.probed("b", 10.1)
    assert verdicts(failure, 13.0, peers=2) == []
    assert verdicts(failure, 15.8, peers=2) == ["a", "b"]


def test_the_only_peer_is_found_in_the_normal_time():
    failure = detector()
    failure.probed("a", 10.0)
    assert verdicts(failure, 12.9, peers=1) == ["a"]


def test_time_in_which_we_did_not_run_does_not_count():
    failure = detector()
    failure.probed("a", 10.0)
    failure.stalled(5.0)
    assert failure.silent_s("a", 15.5) == pytest.approx(0.5)
    assert verdicts(failure, 15.5) == []
    assert verdicts(failure, 17.9) == ["a"]


def test_accusations_as_text():
    assert pack_accusations([]) == ""
    assert pack_accusations(["a", "b"]) == "a\nb"
    assert unpack_accusations("a\nb\n\na") == ("a", "b")
    assert unpack_accusations("") == ()
    many = [f"node-{number:03}" for number in range(100)]
    assert unpack_accusations(pack_accusations(many)) == tuple(many[:MAX_ACCUSED])
    assert unpack_accusations("\n".join(many)) == tuple(many[:MAX_ACCUSED])
    long = ["n" * 250, "m" * 250, "o" * 250]
    assert unpack_accusations(pack_accusations(long)) == tuple(long[:2])
