"""The head of a request behind the proxy."""

from pico_core.boundary import Received, Send
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, GET, GET_SENT, NUMBERED, OK, proxy_play
from tests.play import Data, Open


def test_what_a_client_says_about_its_origin_is_replaced() -> None:
    assert (
        proxy_play()
        >> Received(
            CLIENT,
            b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n"
            b"X-Forwarded-For: 10.0.0.1\r\nx-forwarded-proto: https\r\nX-FORWARDED-HOST: bank\r\n"
            b"X_Forwarded_For: 10.0.0.2\r\nAccept: */*\r\n\r\n",
        )
        << Open(AGENT, 2)
        << Data(AGENT, 2, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nAccept: */*\r\n" + FORWARDED + b"\r\n")
    )


def test_connection_cannot_take_away_what_is_added() -> None:
    assert (
        proxy_play()
        >> Received(
            CLIENT,
            b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nConnection: keep-alive, X-Forwarded-For, x-drop\r\n"
            b"X-Drop: 1\r\nX-Keep: 2\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: x\r\nTE: trailers\r\n\r\n",
        )
        << Open(AGENT, 2)
        << Data(
            AGENT,
            2,
            b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nX-Keep: 2\r\nConnection: TE\r\nTE: trailers\r\n"
            + FORWARDED
            + b"\r\n",
        )
    )


def test_fields_of_ours_are_consumed_however_they_are_spelt() -> None:
    assert (
        proxy_play()
        >> Received(
            CLIENT,
            b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nx-piko-forward: true\r\nX-Pico-Authorization: Bearer s\r\n"
            b"X_Pico_Endpoint: e2\r\nX-Piko-Anything: 1\r\nAuthorization: Basic eA==\r\n\r\n",
        )
        << Open(AGENT, 2)
        << Data(
            AGENT, 2, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nAuthorization: Basic eA==\r\n" + FORWARDED + b"\r\n"
        )
    )


def test_an_http_1_0_request_without_host_gets_one() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b"GET / HTTP/1.0\r\nx-pico-endpoint: e1\r\n\r\n")
        << Open(AGENT, 2)
        << Data(
            AGENT,
            2,
            b"GET / HTTP/1.1\r\nHost: localhost\r\n"
            b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: localhost\r\n"
            + NUMBERED
            + b"\r\n",
        )
    )


def test_a_higher_minor_version_is_served_as_1_1_in_both_directions() -> None:
    """RFC 9110 section 2.5; what is sent on has our own version, and both connections stay open."""
    asking, answer = GET.replace(b"HTTP/1.1", b"HTTP/1.2"), OK.replace(b"HTTP/1.1", b"HTTP/1.7")
    assert (
        proxy_play()
        >> Received(CLIENT, asking)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, answer)
        << Send(CLIENT, OK)
        >> Received(CLIENT, asking)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, answer)
        << Send(CLIENT, OK)
    )


HIGH = b"/caf\xc3\xa9/\xff\x80?q=\xe2\x82\xac"


def test_bytes_above_ascii_in_a_target_pass_as_they_are() -> None:
    """Some clients do not percent-encode them, and no reader takes them for anything else."""
    play = proxy_play() >> Received(CLIENT, GET.replace(b"GET /", b"GET " + HIGH, 1)) << Open(AGENT, 2)
    assert play << Data(AGENT, 2, GET_SENT.replace(b"GET /", b"GET " + HIGH, 1))
