import random

import pytest

from pico_core.gossip.seeds import MAX_JOINS_IN_FLIGHT, Seeds

OWN = ("10.0.0.1", 8003)


def seeds_of(*names: str) -> Seeds:
    return Seeds(names, 8003, OWN, random.Random(1))


def nobody(address: tuple[str, int]) -> bool:
    return False


def test_addresses_are_joined_and_retried_later_and_later():
    seeds = seeds_of("10.0.0.2", "10.0.0.1", "", "10.0.0.3:9000")
    assert seeds.names_others
    assert sorted(seeds.joins(0.0, nobody)) == [("10.0.0.2", 8003), ("10.0.0.3", 9000)]
    assert seeds.joins(0.1, nobody) == []
    seeds.failed(("10.0.0.2", 8003), 0.2)
    seeds.joined(("10.0.0.3", 9000), 0.2, is_self=False)
    assert seeds.has_answer
    assert seeds.joins(0.5, nobody) == []
    assert seeds.joins(0.9, nobody) == [("10.0.0.2", 8003)]
    seeds.failed(("10.0.0.2", 8003), 1.0)
    assert seeds.joins(1.7, nobody) == []
    assert seeds.joins(2.3, nobody) == [("10.0.0.2", 8003)]
    assert seeds.joins(10.3, nobody) == [("10.0.0.3", 9000)]


def test_known_addresses_are_left_alone_until_they_are_unknown_again():
    seeds = seeds_of("10.0.0.2")
    known = {("10.0.0.2", 8003)}
    assert seeds.joins(0.0, known.__contains__) == []
    known.clear()
    assert seeds.joins(60.0, known.__contains__) == [("10.0.0.2", 8003)]


def test_names_are_resolved_again_for_ever():
    seeds = seeds_of("Pico")
    assert not seeds.names_others
    assert seeds.lookups(0.0) == ["pico"]
    assert seeds.lookups(5.0) == []
    seeds.resolved("pico", (), "no such name", 5.0)
    assert not seeds.names_others
    assert seeds.lookups(5.7) == []
    assert seeds.lookups(6.3) == ["pico"]
    seeds.resolved("pico", ("10.0.0.1", "10.0.0.2"), "", 6.4)
    assert seeds.names_others
    assert seeds.joins(6.4, nobody) == [("10.0.0.2", 8003)]
    seeds.joined(("10.0.0.2", 8003), 6.5, is_self=False)
    assert seeds.lookups(7.7) == ["pico"]
    seeds.resolved("pico", ("10.0.0.3",), "", 7.8)
    assert seeds.lookups(15.7) == []
    assert seeds.lookups(19.9) == ["pico"]


def test_a_failed_lookup_is_no_news():
    seeds = seeds_of("pico:9000", "other")
    seeds.lookups(0.0)
    seeds.resolved("pico", ("10.0.0.2",), "", 0.0)
    seeds.lookups(2.0)
    seeds.resolved("pico", (), "the server does not answer", 2.0)
    assert seeds.joins(2.0, nobody) == [("10.0.0.2", 9000)]


def test_an_answer_replaces_the_former_one():
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    seeds.resolved("pico", ("10.0.0.2",), "", 0.0)
    assert seeds.joins(0.0, nobody) == [("10.0.0.2", 8003)]
    seeds.lookups(2.0)
    seeds.resolved("pico", ("10.0.0.3",), "", 2.0)
    seeds.failed(("10.0.0.2", 8003), 2.1)
    seeds.joined(("10.0.0.2", 8003), 2.1, is_self=False)
    assert seeds.joins(9.0, nobody) == [("10.0.0.3", 8003)]


def test_an_address_that_turns_out_to_be_ours_is_never_tried_again():
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    seeds.resolved("pico", ("10.9.9.9",), "", 0.0)
    assert seeds.joins(0.0, nobody) == [("10.9.9.9", 8003)]
    seeds.joined(("10.9.9.9", 8003), 0.1, is_self=True)
    assert not seeds.names_others
    assert not seeds.has_answer
    assert seeds.joins(99.0, nobody) == []


def test_joins_in_flight_are_bounded():
    seeds = seeds_of(*(f"10.0.1.{number}" for number in range(30)))
    first = seeds.joins(0.0, nobody)
    assert len(first) == MAX_JOINS_IN_FLIGHT
    assert seeds.joins(0.1, nobody) == []
    seeds.failed(first[0], 0.1)
    assert len(seeds.joins(0.2, nobody)) == 1


@pytest.mark.parametrize("answer", [("10.0.0.1",), ("::ffff:10.0.0.1",)])
def test_our_own_address_never_counts(answer):
    seeds = seeds_of("pico")
    seeds.lookups(0.0)
    seeds.resolved("pico", answer, "", 0.0)
    assert not seeds.names_others
