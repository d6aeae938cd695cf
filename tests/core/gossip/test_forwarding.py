from pico_core.gossip.forwarding import ForwardHealth


def test_failures_in_a_row_make_us_avoid_a_node_for_longer() -> None:
    health = ForwardHealth()
    assert not health.is_avoided("a", 10.0)
    health.failed("a", 10.0)
    health.failed("a", 10.5)  # of a request that began before
    assert health.is_avoided("a", 10.9)
    assert not health.is_avoided("a", 11.0)
    health.failed("a", 11.0)
    assert health.is_avoided("a", 12.9)
    for at in (20.0, 40.0, 60.0, 80.0):
        health.failed("a", at)
    assert health.is_avoided("a", 89.9)
    assert not health.is_avoided("a", 90.0)


def test_a_success_or_its_end_clears_a_node() -> None:
    health = ForwardHealth()
    health.failed("a", 10.0)
    health.succeeded("a")
    assert not health.is_avoided("a", 10.1)
    health.failed("a", 10.2)
    assert health.is_avoided("a", 11.1)
    health.forget("a")
    health.forget("a")
    assert not health.is_avoided("a", 10.3)
