import random

import pytest

from pico_core.gossip.seeds import MAX_JOINS_IN_FLIGHT, Seeds

OWN = ("10.0.0.1", 8003)


def seeds_of(*names: str) -> Seeds:
    seeds = Seeds(names, random.Random(1))
    seeds.start(OWN, 8003)
    return seeds


def names_others(seeds: Seeds) -> bool:
    """Return the property as it is now. If a test reads it directly, mypy assumes the value of an earlier assert."""
    return seeds.names_others


def no_address(address: tuple[str, int]) -> bool:
    return False


def test_addresses_are_joined_and_retried_later_and_later() -> None:
    seeds = seeds_of("10.0.0.2", "10.0.0.1", "", "10.0.0.3:9000")
    assert seeds.names_others
    assert sorted(seeds.joins(0.0, no_address)) == [("10.0.0.2", 8003), ("10.0.0.3", 9000)]
    assert seeds.joins(0.1, no_address) == []
    seeds.failed(("10.0.0.2", 8003), 0.2)
    seeds.joined(("10.0.0.3", 9000), 0.2, is_self=False)
    assert seeds.has_answer
    assert seeds.joins(0.5, no_address) == []
    assert seeds.joins(0.9, no_address) == [("10.0.0.2", 8003)]
    seeds.failed(("10.0.0.2", 8003), 1.0)
    assert seeds.joins(1.7, no_address) == []
    assert seeds.joins(2.3, no_address) == [("10.0.0.2", 8003)]
    assert seeds.joins(10.3, no_address) == [("10.0.0.3", 9000)]


def test_known_addresses_are_left_alone_until_they_are_unknown_again() -> None:
    seeds = seeds_of("10.0.0.2")
    known = {("10.0.0.2", 8003)}
    assert seeds.joins(0.0, known.__contains__) == []
    known.clear()
    assert seeds.joins(60.0, known.__contains__) == [("10.0.0.2", 8003)]


def test_names_are_resolved_again_and_again() -> None:
    seeds = seeds_of("Pico")
    assert not names_others(seeds)
    assert seeds.lookups(0.0) == ["pico"]
    assert seeds.lookups(5.0) == []
    seeds.resolved("pico", (), "no such name", 5.0)
    assert not names_others(seeds)
    assert seeds.lookups(5.7) == []
    assert seeds.lookups(6.3) == ["pico"]
    seeds.resolved("pico", ("10.0.0.1", "10.0.0.2"), "", 6.4)
    assert names_others(seeds)
    assert seeds.joins(6.4, no_address) == [("10.0.0.2", 8003)]
    seeds.joined(("10.0.0.2", 8003), 6.5, is_self=False)
    assert seeds.lookups(7.7) == ["pico"]
    seeds.resolved("pico", ("10.0.0.3",), "", 7.8)
    assert seeds.lookups(15.7) == []
    assert seeds.lookups(19.9) == ["pico"]


def test_a_name_that_is_unknown_is_an_answer_and_a_failure_is_not() -> None:
    seeds = seeds_of("pico", "other")
    assert seeds.unanswered == {"pico": "not answered yet", "other": "not answered yet"}
    seeds.lookups(0.0)
    seeds.resolved("pico", (), "", 0.0)
    seeds.resolved("other", (), "timed out", 0.0)
    assert seeds.unanswered == {"other": "timed out"}
    seeds.resolved("pico", (), "timed out", 1.0)
    seeds.resolved("other", ("10.0.0.2",), "", 1.0)
    assert seeds.unanswered == {}, "an old answer is better than none"


def test_a_failed_lookup_changes_nothing() -> None:
    seeds = seeds_of("pico:9000", "other")
    seeds.lookups(0.0)
    seeds.resolved("pico", ("10.0.0.2",), "", 0.0)
    seeds.lookups(2.0)
    seeds.resolved("pico", (), "the server does not answer", 2.0)
    assert seeds.joins(2.0, no_address) == [("10.0.0.2", 9000)]


def test_an_answer_replaces_the_former_one() -> None:
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    seeds.resolved("pico", ("10.0.0.2",), "", 0.0)
    assert seeds.joins(0.0, no_address) == [("10.0.0.2", 8003)]
    seeds.lookups(2.0)
    seeds.resolved("pico", ("10.0.0.3",), "", 2.0)
    seeds.failed(("10.0.0.2", 8003), 2.1)
    seeds.joined(("10.0.0.2", 8003), 2.1, is_self=False)
    assert seeds.joins(9.0, no_address) == [("10.0.0.3", 8003)]


def test_an_address_that_turns_out_to_be_ours_is_never_tried_again() -> None:
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    seeds.resolved("pico", ("10.9.9.9",), "", 0.0)
    assert seeds.joins(0.0, no_address) == [("10.9.9.9", 8003)]
    seeds.joined(("10.9.9.9", 8003), 0.1, is_self=True)
    assert not seeds.names_others
    assert not seeds.has_answer
    assert seeds.joins(99.0, no_address) == []


def test_joins_in_flight_are_bounded() -> None:
    seeds = seeds_of(*(f"10.0.1.{number}" for number in range(30)))
    first = seeds.joins(0.0, no_address)
    assert len(first) == MAX_JOINS_IN_FLIGHT
    assert seeds.joins(0.1, no_address) == []
    seeds.failed(first[0], 0.1)
    assert len(seeds.joins(0.2, no_address)) == 1


@pytest.mark.parametrize("answer", [("10.0.0.1",), ("::ffff:10.0.0.1",)])
def test_our_own_address_is_never_joined(answer: tuple[str, ...]) -> None:
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    seeds.resolved("pico", answer, "", 0.0)
    assert not seeds.names_others


def test_before_the_start_nothing_is_looked_up_or_joined() -> None:
    seeds = Seeds(("10.0.0.2", "pico"), random.Random(1))
    assert not seeds.names_others
    assert seeds.lookups(0.0) == []
    assert seeds.joins(0.0, no_address) == []
    seeds.start(OWN, 8003)
    assert seeds.lookups(0.0) == ["pico"]
    assert seeds.joins(0.0, no_address) == [("10.0.0.2", 8003)]


def test_a_name_has_as_many_addresses_as_a_cluster_has_nodes() -> None:
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    addresses = [f"10.1.{number // 256}.{number % 256}" for number in range(4_097)]
    seeds.resolved("pico", addresses, "", 0.0)
    joined: list[str] = []
    while due := seeds.joins(1.0, no_address):
        joined += [host for host, _ in due]
        for each in due:
            seeds.joined(each, 1.0, is_self=False)
    assert sorted(joined) == sorted(addresses[:4_096])
