"""Which endpoint a request is for, and what the client hears when there is none."""

import pytest

from pico_core.boundary import Received
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head
from pico_core.proxy.endpoint import endpoint_in_path, endpoint_of, normalise_endpoint
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, client_joins, error, proxy_play
from tests.play import Data, Open, server_play


def endpoint(*lines: bytes) -> str:
    head = b"GET / HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    return endpoint_of(parse_request_head(head, HeadLimits()))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"Host: e1.example.com"], "e1"),
        ([b"Host: e1.example.com:8000"], "e1"),
        ([b"Host: E1.Example.Com."], "e1"),
        ([b"Host: e1.b"], "e1"),
        ([b"Host: 1e.2.3.4"], "1e"),
        ([b"Host: other.example.com", b"x-pico-endpoint: E1"], "e1"),
        ([b"Host: 192.0.2.1", b"X-Piko-Endpoint: e1"], "e1"),
        ([b"Host: [::1]:8000", b"x-pico-endpoint: e1"], "e1"),
        ([b"Host: x", b"x-pico-endpoint: e1", b"x-piko-endpoint: e1"], "e1"),
        ([b"Host: x", b"x-pico-endpoint: e.1:2"], "e.1:2"),
        ([b"Host: x", b"x-pico-endpoint: " + b"e" * 255], "e" * 255),
    ],
)
def test_names_the_endpoint(lines: list[bytes], expected: str) -> None:
    assert endpoint(*lines) == expected


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([b"Host: localhost"], "missing endpoint id"),
        ([b"Host: localhost."], "missing endpoint id"),
        ([b"Host: localhost:8000"], "missing endpoint id"),
        ([b"Host: 192.0.2.1"], "missing endpoint id"),
        ([b"Host: 192.0.2.1:8000"], "missing endpoint id"),
        ([b"Host: [2001:db8::1]"], "missing endpoint id"),
        ([b"Host: [::ffff:192.0.2.1]:80"], "missing endpoint id"),
        ([b"Host: .example.com"], "invalid endpoint id"),
        ([b"Host: x", b"x-pico-endpoint: a/b"], "invalid endpoint id"),
        ([b"Host: x", b"x-pico-endpoint: a b"], "invalid endpoint id"),
        ([b"Host: x", b"x-pico-endpoint: \xe9"], "invalid endpoint id"),
        ([b"Host: x", b"x-pico-endpoint: " + b"e" * 256], "invalid endpoint id"),
        ([b"Host: x", b"x-pico-endpoint: a", b"x-piko-endpoint: b"], "contradicting header fields"),
    ],
)
def test_refuses_where_no_endpoint_is_named(lines: list[bytes], reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        endpoint(*lines)
    assert (caught.value.status, caught.value.reason) == (400, reason)


def test_has_one_spelling() -> None:
    assert normalise_endpoint("My-Endpoint") == "my-endpoint"
    assert endpoint_in_path(b"My%2dEndpoint") == "my-endpoint"


def test_an_endpoint_in_the_header_wins_and_is_not_passed_on() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b"GET /a?b=%20 HTTP/1.1\r\nhost: other.example.com\r\nX-Pico-Endpoint: E1\r\nA: b\r\n\r\n")
        << Open(AGENT, 2)
        << Data(
            AGENT,
            2,
            b"GET /a?b=%20 HTTP/1.1\r\nhost: other.example.com\r\nA: b\r\n"
            + FORWARDED.replace(b"e1.example", b"other.example")
            + b"\r\n",
        )
    )


def test_the_client_hears_that_the_endpoint_is_missing_and_may_go_on() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        << error(400, "Bad Request", "missing endpoint id")
        >> Received(CLIENT, b"GET / HTTP/1.1\r\nHost: localhost\r\nx-pico-endpoint: a/b\r\n\r\n")
        << error(400, "Bad Request", "invalid endpoint id")
    )


def test_the_client_hears_that_no_upstream_is_there() -> None:
    play = client_joins(server_play())
    assert (
        play
        >> Received(CLIENT, b"GET / HTTP/1.1\r\nHost: e2.example.com\r\n\r\n")
        << error(502, "Bad Gateway", "no available upstreams")
    )
    assert b'"endpoint":"e2","status":502' in play.access_log[0]
