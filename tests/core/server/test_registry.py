"""Which tunnel takes the next request of an endpoint."""

from pico_core.cluster.health import Health
from pico_core.server.registry import Registry


class Upstream:
    def __init__(self, endpoint: str, in_flight: int = 0) -> None:
        self.endpoint = endpoint
        self.in_flight = in_flight
        self.health: Health | None = None


def test_tells_of_every_change() -> None:
    changes: list[tuple[str, int]] = []
    registry: Registry[Upstream] = Registry(lambda endpoint, count: changes.append((endpoint, count)))
    one, two, other = Upstream("e"), Upstream("e"), Upstream("f")
    for upstream in (one, two, other):
        registry.add(upstream)
    assert registry.counts() == {"e": 2, "f": 1}
    assert registry.endpoint_count == 2
    assert list(registry) == [one, two, other]
    assert tuple(registry.members("e")) == (one, two)
    assert tuple(registry.members("g")) == ()
    assert registry.remove(one)
    assert not registry.remove(one)
    assert registry.remove(two)
    assert not registry.remove(two)
    assert changes == [("e", 1), ("e", 2), ("f", 1), ("e", 1), ("e", 0)]
    assert registry.counts() == {"f": 1}


def test_fewest_in_flight_first_and_ties_take_turns() -> None:
    registry: Registry[Upstream] = Registry(lambda endpoint, count: None)
    one, two, three = Upstream("e"), Upstream("e"), Upstream("e")
    assert registry.choose("e", (), 0.0) is None
    for upstream in (one, two, three):
        registry.add(upstream)
    assert [registry.choose("e", (), 0.0) for _ in range(4)] == [one, two, three, one]
    one.in_flight, two.in_flight, three.in_flight = 2, 1, 2
    assert [registry.choose("e", (), 0.0) for _ in range(2)] == [two, two]
    one.in_flight, two.in_flight, three.in_flight = 1, 1, 1
    assert [registry.choose("e", (), 0.0) for _ in range(3)] == [three, one, two]


def test_those_tried_already_are_avoided() -> None:
    registry: Registry[Upstream] = Registry(lambda endpoint, count: None)
    one, two = Upstream("e"), Upstream("e")
    registry.add(one)
    assert registry.choose("e", (one,), 0.0) is None
    registry.add(two)
    assert registry.choose("e", (one,), 0.0) is two
    assert registry.choose("e", (one, two), 0.0) is None


def test_one_that_fails_is_left_out_of_those_in_health() -> None:
    registry: Registry[Upstream] = Registry(lambda endpoint, count: None)
    one, two = Upstream("e"), Upstream("e", in_flight=9)
    registry.add(one)
    one.health = Health()
    one.health.failed(5.0)
    assert registry.choose("e", (), 5.5, healthy=True) is None
    registry.add(two)
    assert registry.choose("e", (), 5.5, healthy=True) is two
    assert registry.choose("e", (), 5.5) is one, "where there is no better one"
    assert registry.choose("e", (), 6.0, healthy=True) is one, "the pause is over"


def test_one_that_is_withdrawn_is_found_only_by_those_that_ask_for_it() -> None:
    changes: list[tuple[str, int]] = []
    registry: Registry[Upstream] = Registry(lambda endpoint, count: changes.append((endpoint, count)))
    one, two = Upstream("e"), Upstream("e")
    registry.add(one)
    assert registry.choose_leaving("e", (), 0.0) is None
    registry.withdraw(one)
    assert registry.choose("e", (), 0.0) is None
    assert list(registry) == []
    assert registry.choose_leaving("e", (), 0.0) is one
    assert registry.choose_leaving("e", (one,), 0.0) is None
    registry.add(two)
    assert registry.choose_leaving("e", (), 0.0) is one
    assert not registry.remove(one), "it is not counted any more"
    assert registry.choose_leaving("e", (), 0.0) is None
    registry.withdraw(one)
    assert registry.choose_leaving("e", (), 0.0) is None, "it was gone before"
    assert changes == [("e", 1), ("e", 0), ("e", 1)]
