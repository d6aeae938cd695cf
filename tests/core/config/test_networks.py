"""Networks in a configuration, and whether an address is in them."""

import pytest

from pico_core.config.networks import Networks, address_of, network
from pico_core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], ["11.0.0.0", "9.255.255.255", "::a00:1"]),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.8"]),
        ("2001:db8::/32", ["2001:db8::1", "2001:db8::1%eth0"], ["2001:db9::1", "32.1.13.184"]),
        ("::1", ["::1"], ["::2", "127.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.1"]),
        ("0.0.0.0/0", ["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1"]),
        ("private", ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "fc00::1"], ["172.32.0.1"]),
        ("private", [], ["100.64.0.1", "127.0.0.1", "::1", "169.254.0.1", "fe80::1", "192.0.2.1"]),
        ("loopback", ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"], ["128.0.0.1", "::2"]),
    ],
)
def test_what_is_in_a_network(text: str, inside: list[str], outside: list[str]) -> None:
    networks = Networks([network(text)])
    assert [host for host in [*inside, *outside] if (found := address_of(host)) and found in networks] == inside
    assert str(network(text)) == text


def test_nothing_is_in_no_networks() -> None:
    found = address_of("127.0.0.1")
    assert found is not None
    assert not Networks()
    assert found not in Networks()


@pytest.mark.parametrize("text", ["", "10", "1.2.3", "01.2.3.4", "1.2.3.4:5", "a", "unknown", "[::1]", ":::", "1" * 99])
def test_what_is_not_an_address(text: str) -> None:
    assert address_of(text) is None


WANTED = "wants a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7, or private or loopback, found "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing"),
        ("public", "'public'"),
        ("Private", "'Private'"),
        ("10.0.0.0/33", "'10.0.0.0/33'"),
        ("10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0'"),
        ("10.0.0/8", "'10.0.0/8'"),
        ("pico.example.com", "'pico.example.com'"),
        ("10.0.0.7/8", "'10.0.0.7/8': it has bits beyond its length, write '10.0.0.0/8'"),
        ("2001:db8::1/32", "'2001:db8::1/32': it has bits beyond its length, write '2001:db8::/32'"),
    ],
)
def test_wrong_networks(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        network(text)
    assert str(raised.value) == WANTED + message
