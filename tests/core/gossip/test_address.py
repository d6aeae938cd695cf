import pytest

from pico_core.gossip.address import is_literal, literal_address, plain_host, source_matches, split_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:8003", ("10.0.0.1", 8003)),
        ("[fd00::1]:8003", ("fd00::1", 8003)),
        ("fd00:0::1:8003", ("fd00::1", 8003)),  # as the reference writes it
        ("[::ffff:10.0.0.1]:8003", ("10.0.0.1", 8003)),
        ("Pico-0.pico:8003", ("pico-0.pico", 8003)),
        ("10.0.0.1", None),
        ("10.0.0.1:0", None),
        ("10.0.0.1:65536", None),
        ("10.0.0.1:123456", None),
        ("10.0.0.1:x", None),
        ("10.0.0.1:\u0663", None),
        (":8003", None),
        ("", None),
    ],
)
def test_split(text: str, address: tuple[str, int] | None) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.26.104.14", ("10.26.104.14", 8003)),
        ("10.26.104.14:9000", ("10.26.104.14", 9000)),
        ("pico", ("pico", 8003)),
        ("pico:9000", ("pico", 9000)),
        ("::1", ("::1", 8003)),
        ("[::1]", ("::1", 8003)),
        ("[::1]:9000", ("::1", 9000)),
        ("", None),
    ],
)
def test_split_with_a_default_port(text: str, address: tuple[str, int] | None) -> None:
    assert split_address(text, 8003) == address


def test_literals() -> None:
    assert is_literal("10.0.0.1")
    assert is_literal("fe80::1%eth0")
    assert not is_literal("0.0.0.0")
    assert not is_literal("pico")
    assert literal_address("pico:1") is None
    assert literal_address("nothing") is None
    assert literal_address("10.0.0.1:1") == ("10.0.0.1", 1)


def test_plain_host() -> None:
    assert plain_host("FE80::1%eth0") == "fe80::1"
    assert plain_host("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_host("PICO") == "pico"


def test_a_message_comes_from_the_address_it_gives_or_from_a_name() -> None:
    assert source_matches("10.0.0.1:8003", "::ffff:10.0.0.1")
    assert source_matches("pico-1:8003", "10.0.0.1")
    assert not source_matches("10.0.0.2:8003", "10.0.0.1")
    assert not source_matches("nothing", "10.0.0.1")
