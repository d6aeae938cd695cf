"""The queue in which keys take turns."""

from pico_core.fair_queue import FairQueue


def queue(*items: str) -> FairQueue[str]:
    """Return a queue of these items, each with its first letter as the key."""
    made: FairQueue[str] = FairQueue()
    for item in items:
        made.put(item[0], item)
    return made


def taken(waiting: FairQueue[str]) -> list[str]:
    """Take all items."""
    items = []
    while waiting:
        items.append(waiting.take())
    return items


def test_keys_take_turns() -> None:
    assert taken(queue("a1", "a2", "a3", "b1", "c1", "b2")) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_key_that_comes_late_waits_for_one_item_of_each_other() -> None:
    waiting = queue("a1", "a2", "a3", "b1", "b2")
    assert waiting.take() == "a1"
    waiting.put("c", "c1")
    assert taken(waiting) == ["b1", "a2", "c1", "b2", "a3"]


def test_a_key_that_comes_back_has_its_turn_last() -> None:
    waiting = queue("a1", "b1", "b2")
    assert waiting.take() == "a1"
    waiting.put("a", "a2")
    assert taken(waiting) == ["b1", "a2", "b2"]


def test_looking_at_the_first_takes_nothing() -> None:
    waiting = queue("a1", "b1")
    assert [waiting.first(), waiting.first()] == ["a1", "a1"]
    assert taken(waiting) == ["a1", "b1"]
    assert waiting.first() is None


def test_a_key_whose_item_is_skipped_keeps_its_turn() -> None:
    waiting = queue("a1", "a2", "b1")
    waiting.skip()
    assert waiting.first() == "a2"
    waiting.skip()
    assert taken(waiting) == ["b1"]


def test_what_is_over_is_removed_from_the_front_of_each_key() -> None:
    waiting = queue("a1", "a2", "b2", "b1", "c1")
    assert waiting.remove_first(lambda item: item.endswith("1")) == ["a1", "c1"]
    assert taken(waiting) == ["a2", "b2", "b1"]


def test_an_empty_queue_is_false_and_has_no_items() -> None:
    waiting = queue()
    assert not waiting
    assert taken(waiting) == []
    assert waiting.remove_first(lambda _: True) == []
