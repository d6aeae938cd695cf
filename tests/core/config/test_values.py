"""Values: what each parser takes, and the clause it refuses the rest with."""

from collections.abc import Callable
from typing import Any

import pytest

from pico_core.config import values
from pico_core.config.values import Address, Origin
from pico_core.errors import ConfigError


def refusal(parse: Callable[..., Any], text: str, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(text, *arguments)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("1s1m", 61.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("10ns", 1e-8),
        ("8760h", 31_536_000.0),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert values.duration(text) == pytest.approx(seconds)
    assert values.duration_or_zero(text) == pytest.approx(seconds)


def test_only_some_durations_may_be_zero() -> None:
    assert values.duration_or_zero("0s") == 0.0
    assert refusal(values.duration, "0s").endswith("found '0s': it must be longer than zero")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "found nothing"),
        ("30", "found '30': a number alone has no unit, write '30s'"),
        ("0", "found '0': a number alone has no unit, write '0s'"),
        ("-1s", "found '-1s'"),
        ("s", "found 's'"),
        ("1s ", "found '1s ': 's ' is not a unit; the units are h, m, s, ms, us and ns"),
        ("1d", "found '1d': 'd' is not a unit; the units are h, m, s, ms, us and ns"),
        ("1s2", "found '1s2'"),
        ("8761h", "found '8761h': it must not be longer than a year (8760h)"),
        ("9" * 400 + "s", f"found '{'9' * 60}'...: it must not be longer than a year (8760h)"),
        ("\x1b[31m", "found '\\x1b[31m'"),
    ],
)
def test_no_duration(text: str, end: str) -> None:
    message = refusal(values.duration, text)
    assert message.startswith("wants a duration such as 100ms, 30s or 1m30s, found ")
    assert message.endswith(end)
    assert message.isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.1, "100ms"),
        (30.0, "30s"),
        (60.0, "1m"),
        (90.0, "1m30s"),
        (3600.0, "1h"),
        (3661.5, "1h1m1s500ms"),
    ],
)
def test_show_duration(seconds: float, text: str) -> None:
    assert values.show_duration(seconds) == text
    assert values.duration_or_zero(text) == seconds


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (0.0, "0"),
        (0.00123456, "0.00123"),
        (1.33392, "1.33"),
        (10.0, "10"),
        (29.8765, "29.9"),
        (99.97, "100"),
        (120.0, "120"),
        (1234.567, "1235"),
        (31_536_000.4, "31536000"),
    ],
)
def test_show_figure(figure: float, text: str) -> None:
    assert values.show_figure(figure) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8000", Address("", 8000)),
        ("127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("[::1]:8000", Address("::1", 8000)),
        ("[fe80::1%eth0]:8000", Address("fe80::1%eth0", 8000)),
        ("host:8000", Address("host", 8000)),
        ("a.b-c.example.:0", Address("a.b-c.example.", 0)),
    ],
)
def test_bind_address(text: str, address: Address) -> None:
    assert values.bind_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "found nothing"),
        ("8000", "found '8000': a port alone is written ':8000'"),
        ("localhost", "found 'localhost': the port is missing"),
        ("localhost:", "found 'localhost:': the port is missing"),
        ("[::1]", "found '[::1]': the port is missing"),
        ("[::1]8000", "found '[::1]8000': after the bracket comes a colon and the port"),
        ("[::1", "found '[::1': the closing bracket is missing"),
        ("[]:80", "found '[]:80': in the brackets goes an IPv6 address"),
        ("[1.2.3.4]:80", "found '[1.2.3.4]:80': in the brackets goes an IPv6 address"),
        ("[::g]:80", "found '[::g]:80': in the brackets goes an IPv6 address"),
        ("[::1::2]:80", "found '[::1::2]:80': in the brackets goes an IPv6 address"),
        ("::1:8000", "found '::1:8000': an IPv6 address needs brackets, such as [::1]:8000"),
        (":65536", "found ':65536': a port is a number up to 65535"),
        (":80x", "found ':80x': a port is a number up to 65535"),
        (":-1", "found ':-1': a port is a number up to 65535"),
        (":٣", "found ':٣': a port is a number up to 65535"),
        ("1.2.3:80", "found '1.2.3:80': '1.2.3' is not a valid IPv4 address"),
        ("256.0.0.1:80", "found '256.0.0.1:80': '256.0.0.1' is not a valid IPv4 address"),
        ("a b:80", "found 'a b:80': 'a b' is not a valid host name"),
        ("é:80", "found 'é:80': 'é' is not a valid host name"),
        ("a..b:80", "found 'a..b:80': 'a..b' is not a valid host name"),
        (f"{'a' * 64}:80", f"found '{'a' * 60}'...: '{'a' * 60}'... is not a valid host name"),
    ],
)
def test_no_bind_address(text: str, end: str) -> None:
    message = refusal(values.bind_address, text)
    assert message == f"wants an address such as :8000, 127.0.0.1:8000 or [::1]:8000, {end}"


def test_local_address() -> None:
    assert values.local_address("3000") == Address("127.0.0.1", 3000)
    assert values.local_address(":3000") == Address("", 3000)
    assert values.local_address("[::1]:3000") == Address("::1", 3000)
    assert refusal(values.local_address, "99999").endswith("found '99999': a port is a number up to 65535")
    assert refusal(values.local_address, "host").endswith("found 'host': the port is missing")


def test_advertised_address() -> None:
    assert values.advertised_address("") is None
    assert values.advertised_address("10.0.0.1:8000") == Address("10.0.0.1", 8000)
    for text in (":8000", "0.0.0.0:8000", "[::]:8000"):
        assert refusal(values.advertised_address, text).endswith("it must name one host")
    assert refusal(values.advertised_address, "a:0").endswith("the port must be from 1 to 65535")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.26.104.14", Address("10.26.104.14", 0)),
        ("pico", Address("pico", 0)),
        ("pico.default.svc.cluster.local", Address("pico.default.svc.cluster.local", 0)),
        ("pico:8003", Address("pico", 8003)),
        ("fd00::1", Address("fd00::1", 0)),
        ("[fd00::1]", Address("fd00::1", 0)),
        ("[fd00::1]:8003", Address("fd00::1", 8003)),
        ("[fd00::1:8003]", Address("fd00::1:8003", 0)),
        ("fd00::1:80f3", Address("fd00::1:80f3", 0)),
        ("fd00:0:0:0:0:0:1:8003", Address("fd00:0:0:0:0:0:1:8003", 0)),
        ("::1", Address("::1", 0)),
        ("fd00::1:0", Address("fd00::1:0", 0)),
    ],
)
def test_member(text: str, address: Address) -> None:
    assert values.member(text) == address


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "found nothing"),
        (":8003", "the host is missing"),
        ("pico:0", "the port must be from 1 to 65535"),
        ("a b", "'a b' is not a valid host name"),
        ("1.2.3", "'1.2.3' is not a valid IPv4 address"),
        ("[pico]", "in the brackets goes an IPv6 address"),
        ("http://pico:8003", "found 'http://pico:8003': it must not be a URL, write 'pico:8003'"),
        ("https://user:secret@pico:8003/a", "found 'https://pico:8003': it must not be a URL, write 'pico:8003'"),
        ("http://", "found 'http://': it must not be a URL"),
        (
            "fd00::1:8003",
            "two ways, write '[fd00::1]:8003' for port 8003, or '[fd00::1:8003]' for the gossip port",
        ),
        ("fd00::1:18003", "an IPv6 address needs brackets, such as [::1]:8000"),
    ],
)
def test_no_member(text: str, end: str) -> None:
    assert refusal(values.member, text).endswith(end)


@pytest.mark.parametrize(
    ("text", "origin", "shown"),
    [
        ("3000", Origin("localhost", 3000), "localhost:3000"),
        (":3000", Origin("localhost", 3000), "localhost:3000"),
        ("10.0.0.7:3000", Origin("10.0.0.7", 3000), "10.0.0.7:3000"),
        ("http://10.0.0.7:3000", Origin("10.0.0.7", 3000, "http"), "http://10.0.0.7:3000"),
        ("HTTP://service/", Origin("service", 80, "http"), "http://service:80"),
        ("http://[::1]", Origin("::1", 80, "http"), "http://[::1]:80"),
        ("http://[::1]:3000/", Origin("::1", 3000, "http"), "http://[::1]:3000"),
    ],
)
def test_origin(text: str, origin: Origin, shown: str) -> None:
    assert values.origin(text) == origin
    assert str(origin) == shown


@pytest.mark.parametrize("text", ["http://10.0.0.7:3000", "HTTP://service/", "http://[::1]"])
def test_an_origin_with_a_scheme_is_a_url_too(text: str) -> None:
    assert values.server_url(text) == values.origin(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "found nothing"),
        ("0", "found '0': the port must be from 1 to 65535"),
        ("host", "found 'host': the port is missing"),
        ("ftp://host:1", "it must begin with http:// or https://"),
        ("http://", "the host is missing"),
        ("http://:80", "the host is missing"),
        ("http://host:0", "the port must be from 1 to 65535"),
        ("http://host:80/path", "a path is not supported"),
        ("http://host?x", "a path is not supported"),
        ("http://host#x", "a path is not supported"),
        ("http://user@host", "a user name is not supported"),
        ("http://[::1", "found 'http://[::1': the closing bracket is missing"),
        ("http://a b", "'a b' is not a valid host name"),
    ],
)
def test_no_origin(text: str, end: str) -> None:
    assert refusal(values.origin, text).endswith(end)


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        ("http://h", "", "http://h:80"),
        ("http://h/", "", "http://h:80"),
        ("http://h:1/a", "/a", "http://h:1/a"),
        ("http://h:1/a/b/", "/a/b", "http://h:1/a/b"),
        ("http://[::1]/a%20b~(c)@d", "/a%20b~(c)@d", "http://[::1]:80/a%20b~(c)@d"),
    ],
)
def test_connect_url(text: str, path: str, shown: str) -> None:
    assert values.connect_url(text).path == path
    assert str(values.connect_url(text)) == shown


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("h:1/a", "it must begin with http:// or https://"),
        ("http://h/a//b", "its path has an empty part or a character that is to be written as in %20"),
        ("http://h/a b", "its path has an empty part or a character that is to be written as in %20"),
        ("http://h/a%2", "its path has an empty part or a character that is to be written as in %20"),
        ("http://h/é", "its path has an empty part or a character that is to be written as in %20"),
        ("http://h/a?b", "a query is not supported"),
        ("http://h/#a", "a query is not supported"),
        ("http:///a", "the host is missing"),
        ("http://me:secret@h/a", "found 'http://***@h/a': a user name is not supported"),
    ],
)
def test_no_connect_url(text: str, end: str) -> None:
    assert refusal(values.connect_url, text).endswith(end)


@pytest.mark.parametrize(
    ("text", "shown", "authority"),
    [
        ("https://pico.example.com", "https://pico.example.com:443", "pico.example.com"),
        ("HTTPS://pico.example.com:8001/", "https://pico.example.com:8001", "pico.example.com:8001"),
        ("wss://pico.example.com", "https://pico.example.com:443", "pico.example.com"),
        ("ws://[::1]", "http://[::1]:80", "[::1]"),
        ("http://h:443", "http://h:443", "h:443"),
    ],
)
def test_urls_over_tls(text: str, shown: str, authority: str) -> None:
    url = values.server_url(text)
    assert (str(url), url.authority) == (shown, authority)
    assert url.is_secure is shown.startswith("https")


def test_server_url_needs_its_scheme() -> None:
    assert refusal(values.server_url, "localhost:8001") == (
        "wants a URL such as http://localhost:8001, found 'localhost:8001': it must begin with http:// or https://"
    )


def test_identifier() -> None:
    assert values.identifier("My-endpoint_1.2~!") == "My-endpoint_1.2~!"
    assert values.identifier("x" * 255) == "x" * 255


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "found nothing"),
        ("x" * 256, "it has 256 characters"),
        ("a/b", "it contains '/'"),
        ("a b", "only visible ASCII characters are allowed"),
        ("a\n", "only visible ASCII characters are allowed"),
        ("é", "only visible ASCII characters are allowed"),
        ("\ud800", "only visible ASCII characters are allowed"),
    ],
)
def test_no_identifier(text: str, end: str) -> None:
    assert refusal(values.identifier, text).endswith(end)


def test_switch() -> None:
    assert values.switch("true") is True
    assert values.switch("false") is False
    assert refusal(values.switch, "on") == "wants true or false, found 'on'"


def test_whole_number() -> None:
    assert values.whole_number("0", 0, 5) == 0
    assert values.whole_number("5", 0, 5) == 5
    for text in ("6", "-1", "1.0", "0x1", "1_0", "9" * 5000):
        assert refusal(values.whole_number, text, 0, 5).startswith("wants a whole number from 0 to 5, found ")


def test_decimal_number() -> None:
    assert values.decimal_number("0.005", 0, 1) == 0.005
    assert values.decimal_number("1", 0, 1) == 1.0
    for text in ("1.1", "-0.1", "nan", "inf", "1e-3", ""):
        assert refusal(values.decimal_number, text, 0, 1).startswith("wants a number from 0 to 1, found ")


def test_choice() -> None:
    assert values.choice("http", ("http", "tcp")) == "http"
    assert refusal(values.choice, "udp", ("http", "tcp")) == "wants one of http, tcp, found 'udp'"


@pytest.mark.parametrize("url", ["http://user:canary@h/", "http://h/?canary", "http://h/#canary", "http://h/#a?canary"])
def test_an_error_shows_nothing_of_a_url_that_may_be_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        values.server_url(url)
    assert "canary" not in str(caught.value)
    assert "http://" in str(caught.value)
