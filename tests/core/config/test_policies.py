"""Policies as a configuration has them: every value, and one exact line for every mistake."""

import pytest

from pico_core.config.load import load
from pico_core.config.networks import NETWORK, Networks, address_of, network
from pico_core.config.policies import (
    ENDPOINT_PATTERN,
    FIELD_LINE,
    FIELD_NAME,
    USER,
    covers,
    digest_of,
    endpoint_pattern,
    field_line,
    field_name,
    user,
)
from pico_core.config.server import ServerConfig
from pico_core.errors import ConfigError

BEYOND = "it has bits beyond its length, write"
OWN = "the server takes care of this one itself"
SALT = "00112233445566ff"
HASHED = f"bob:sha256:{SALT}:{digest_of(SALT, b's3cret').hex()}"

WHOLE = f"""\
policies:
  - endpoints: [My-Endpoint, billing-*]
    allowed_networks: [private, 192.0.2.7, "2001:db8::/32"]
    denied_networks: [10.1.0.0/16]
    requests_per_second: 2.5
    burst: 10
    max_in_flight: 4
    max_body_bytes: 1048576
    basic_auth: ["alice:s3cret", "{HASHED}"]
    request_headers: {{add: ["X-Env: prod"], remove: [Cookie]}}
    response_headers: {{add: ["X-Frame-Options: DENY"], remove: [Server]}}
  - endpoints: ["*"]
"""


def test_a_whole_policy() -> None:
    first, second = load(ServerConfig, WHOLE, {}, "").policies
    assert first.endpoints == ("my-endpoint", "billing-*")
    assert (first.requests_per_second, first.burst, first.max_in_flight, first.max_body_bytes) == (2.5, 10, 4, 1 << 20)
    assert [each.has(b"s3cret") for each in first.basic_auth] == [True, True]
    assert [each.has(b"other") for each in first.basic_auth] == [False, False]
    assert first.request_headers.add == ("X-Env: prod",)
    assert first.response_headers.remove == ("Server",)
    assert second.endpoints == ("*",)


def test_no_secret_shows() -> None:
    shown = repr(load(ServerConfig, WHOLE, {}, ""))
    assert "alice" in shown
    assert "s3cret" not in shown
    assert digest_of(SALT, b"s3cret").hex() not in shown
    assert repr(digest_of(SALT, b"s3cret")) not in shown


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{}", "pico.yaml:2: policies[0].endpoints is missing"),
        ("{endpoints: []}", "pico.yaml:2: policies[0]: endpoints is empty; write '*' for every endpoint"),
        ("{endpoints: [a], exclusiv: x}", "pico.yaml:2: unknown key 'policies[0].exclusiv'"),
        (
            "{endpoints: [a], request_per_second: 1}",
            "pico.yaml:2: unknown key 'policies[0].request_per_second'; did you mean",
        ),
        (
            "{endpoints: ['a*b']}",
            f"pico.yaml:2: policies[0].endpoints[0]: wants {ENDPOINT_PATTERN}, found 'a*b': a star is the last",
        ),
        (
            "{endpoints: [a], allowed_networks: [10.0.0.7/8]}",
            f"pico.yaml:2: policies[0].allowed_networks[0]: wants {NETWORK}, found '10.0.0.7/8': {BEYOND} '10.0.0.0/8'",
        ),
        (
            "{endpoints: ['*/a']}",
            f"pico.yaml:2: policies[0].endpoints[0]: wants {ENDPOINT_PATTERN}, found '*/a': a star is the last",
        ),
        (
            "{endpoints: ['acme/']}",
            f"pico.yaml:2: policies[0].endpoints[0]: wants {ENDPOINT_PATTERN}, found 'acme/': a slash stands between",
        ),
        (
            "{endpoints: [b, 'acme/a']}",
            "pico.yaml:2: policies[0]: endpoints has 'acme/a', but upstream.tenants has no tenant 'acme'",
        ),
        ("{endpoints: [a], burst: 2}", "pico.yaml:2: policies[0]: burst has no meaning without requests_per_second"),
        (
            "{endpoints: [a], basic_auth: ['s3cret']}",
            f"pico.yaml:2: policies[0].basic_auth[0]: wants {USER}, found something else, which is not shown",
        ),
        (
            "{endpoints: [a], basic_auth: ['bob:sha256:s3cret']}",
            "pico.yaml:2: policies[0].basic_auth[0]: the hash of user 'bob' is not one that 'pico server password'",
        ),
        ("{endpoints: [a], basic_auth: ['a:b', 'a:c']}", "pico.yaml:2: policies[0]: basic_auth has the user 'a' twice"),
        (
            "{endpoints: [a], request_headers: {add: ['X-Env']}}",
            f"pico.yaml:2: policies[0].request_headers.add[0]: wants {FIELD_LINE}, found 'X-Env': the colon is missing",
        ),
        (
            "{endpoints: [a], request_headers: {remove: [X_Forwarded-For]}}",
            f"pico.yaml:2: policies[0].request_headers.remove[0]: wants {FIELD_NAME}, found 'X_Forwarded-For': {OWN}",
        ),
        (
            "{endpoints: ['b*']}\n- {endpoints: [x]}\n- {endpoints: [bc, 'bd*', x]}",
            "pico.yaml:4: policies[2]: never holds, because policies before it have all of its endpoints",
        ),
    ],
)
def test_mistakes(policy: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(ServerConfig, f"policies:\n- {policy}\n", {}, "pico.yaml")
    assert str(caught.value).startswith(message)


def test_what_a_field_may_be() -> None:
    assert field_line("X-Env:  a b ") == "X-Env: a b"
    assert field_name("X_Env") == "X_Env"
    wrong = [
        "",
        "X Env: a",
        ": a",
        "X-Env: a\r\nHost: b",
        "X-Env: ä",
        "Host: a",
        "Content-Length: 1",
        "x-pico-forward: 1",
    ]
    for text in wrong:
        with pytest.raises(ConfigError):
            field_line(text)


def test_patterns() -> None:
    assert [endpoint_pattern(each) for each in ("*", "A-*", "B", "T/A*", "t/*")] == ["*", "a-*", "b", "t/a*", "t/*"]
    for text in ("", "a/", "/a", "a/b/c", "*/a", "a b*", "**", "x" * 256):
        with pytest.raises(ConfigError):
            endpoint_pattern(text)
    assert covers("a*", "a*")
    assert covers("a*", "ab")
    assert covers("*", "a*")
    assert not covers("a", "a*")
    assert not covers("ab*", "a*")
    assert covers("a", "t/a")
    assert covers("t/*", "t/a*")
    assert not covers("t/a", "a")
    assert not covers("t/*", "u/a")


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ("2001:db8::/32", "2001:db8::1", "32.1.13.184"),
        ("fe80::/10", "fe80::1%eth0", "::1"),
        ("private", "172.31.0.1", "172.32.0.1"),
        ("private", "fd00::1", "fe80::1"),
        ("loopback", "127.9.9.9", "128.0.0.1"),
        ("loopback", "::1", "::2"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
    ],
)
def test_networks(name: str, inside: str, outside: str) -> None:
    address, other = address_of(inside), address_of(outside)
    assert address is not None
    assert other is not None
    assert address in Networks((network(name),))
    assert other not in Networks((network(name),))


def test_an_address_that_is_not_one() -> None:
    assert address_of("") is None
    assert address_of("pico.example.com") is None


def test_users() -> None:
    assert user("a:b:c").has(b"b:c")
    assert user("a:ü").has("ü".encode())
    for text in ("", "a", ":b", "a:", "a\n:b"):
        with pytest.raises(ConfigError):
            user(text)
