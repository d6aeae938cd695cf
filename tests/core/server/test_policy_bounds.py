"""The bounds that a policy sets for a client: its rate, credentials, requests in flight, and bodies."""

import base64
from typing import Any

import pytest

from pico_core.boundary import Accepted, Connected, ConnectionLost, Received, Send
from pico_core.config.policies import user
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.core.server.policy_scene import (
    BODY,
    CHALLENGE,
    CREDENTIALS,
    IN_FLIGHT,
    NEXT,
    OTHERS,
    RATE,
    TOO_LARGE,
    clustered_with,
    play_with,
    policy,
    served,
    under,
    with_basic,
)
from tests.core.server.test_peers import FIRST, dial
from tests.core.server.test_policies import BOTH
from tests.core.server.test_tcp_route import ACCEPTED, ASKING
from tests.play import Data, Open, Reset, joined, node_of


@BOTH
def test_more_requests_than_the_rate(scene: Any) -> None:
    play = scene(requests_per_second=0.5, burst=2, denied_networks=OTHERS)
    for _ in range(2):
        play >> Received(CLIENT, GET)
        play.take()
        play >> ConnectionLost(CLIENT, "")
        play.take()
        client_joins(play)
    assert play >> Received(CLIENT, GET) << error(429, "Too Many Requests", RATE, "Retry-After: 2")
    assert play >> Received(CLIENT, ASKING) << error(429, "Too Many Requests", RATE, "Retry-After: 2")
    play >> Accepted(NEXT, "proxy", "192.0.2.8", 5000) >> Received(NEXT, GET)
    assert play.take(), "another client is not affected"
    play >> 2.0 >> Received(CLIENT, GET)
    assert not any(isinstance(each, Send) and each.connection == CLIENT for each in play.take())


def test_the_burst_is_that_of_a_second_where_none_is_given() -> None:
    play = play_with(requests_per_second=1.5)
    served(play >> Received(CLIENT, GET))
    play >> Received(CLIENT, GET) << Data(AGENT, 2, GET_SENT) >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert play >> Received(CLIENT, GET) << error(429, "Too Many Requests", RATE, "Retry-After: 1")


# --- credentials ---


@BOTH
@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"Authorization: Bearer YTpi\r\n",
        b"Authorization: Basic\r\n",
        b"Authorization: Basic !\r\n",
        b"Authorization: Basic %b\r\n" % base64.b64encode(b"a:c"),
        b"Authorization: Basic %b\r\n" % base64.b64encode(b"b:b"),
        b"Authorization: Basic %b\r\n" % base64.b64encode(b":"),
        b"Authorization: Basic %b\r\n" % base64.b64encode(b"a"),
        b"Authorization: Basic %b\r\n" % base64.b64encode(b"a:" + b"b" * 9_000),
        b"Authorization: Basic YTpi\r\nauthorization: Basic YTpi\r\n",
    ],
)
def test_wrong_credentials(scene: Any, field: bytes) -> None:
    play = scene(basic_auth=(user("a:b"),)) >> Received(CLIENT, GET[:-2] + field + b"\r\n")
    assert play << error(401, "Unauthorized", CREDENTIALS, CHALLENGE)


@BOTH
def test_the_tcp_route_and_upgrades_want_credentials_too(scene: Any) -> None:
    refused = error(401, "Unauthorized", CREDENTIALS, CHALLENGE)
    assert scene(basic_auth=(user("a:b"),)) >> Received(CLIENT, ASKING) << refused
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert scene(basic_auth=(user("a:b"),)) >> Received(CLIENT, upgrade) << refused


def test_the_service_is_not_told_the_password() -> None:
    play = play_with(basic_auth=(user("a:b"), user("c:d:e")))
    assert served(play >> Received(CLIENT, with_basic(GET, b"c:d:e")))
    play = clustered_with(basic_auth=(user("a:b"),)) >> Received(CLIENT, with_basic(GET, b"a:b")) << dial(FIRST, 20)
    (sent,) = (play >> Connected(FIRST, "192.0.2.20", 8000)).take()
    assert isinstance(sent, Send)
    assert b"uthorization" not in joined(sent.data)


def test_a_realm_is_quoted() -> None:
    play = proxy_play(under(policy("*", basic_auth=(user("a:b"),))))
    play >> Received(CLIENT, b'GET / HTTP/1.1\r\nHost: a\r\nx-pico-endpoint: a"\\b\r\n\r\n')
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert b'WWW-Authenticate: Basic realm="a\\"\\\\b", charset="UTF-8"\r\n' in joined(answer.data)


# --- in flight ---


@BOTH
def test_more_requests_in_flight_than_a_client_may_have(scene: Any) -> None:
    play = scene(max_in_flight=1) >> Received(CLIENT, GET)
    play.take()
    client_joins(play, NEXT)
    refused = error(429, "Too Many Requests", IN_FLIGHT, "Retry-After: 1", client=NEXT)
    assert play >> Received(NEXT, GET) << refused
    assert play >> Received(NEXT, ASKING) << refused
    play >> ConnectionLost(CLIENT, "")
    play.take()
    play >> Received(NEXT, GET)
    assert not any(isinstance(each, Send) and each.connection == NEXT for each in play.take()), "there is room now"
    policies = node_of(play).facts.policies
    assert policies.denials["in_flight"] == 2


def test_a_tcp_connection_holds_its_place_until_it_ends() -> None:
    play = play_with(max_in_flight=1) >> Received(CLIENT, ASKING) << Open(AGENT, 2) << ACCEPTED
    client_joins(play, NEXT)
    refused = error(429, "Too Many Requests", IN_FLIGHT, "Retry-After: 1", client=NEXT)
    assert play >> Received(NEXT, GET) << refused
    play >> Reset(AGENT, 2)
    play.take()
    play >> Received(NEXT, GET)
    assert play.take()[0] == Open(AGENT, 4)


def test_nothing_is_kept_of_clients_that_are_gone() -> None:
    play = play_with(max_in_flight=1)
    served(play >> Received(CLIENT, GET))
    policies = node_of(play).facts.policies
    found = policies.of("e1")
    assert found is not None
    assert not found.in_flight


# --- bodies ---

PUT = b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"


@BOTH
def test_a_body_that_says_it_is_too_long(scene: Any) -> None:
    play = scene(max_body_bytes=4) >> Received(CLIENT, PUT)
    assert play.take()[0] == error(413, TOO_LARGE, BODY, "Connection: close")


def test_a_body_that_turns_out_to_be_too_long() -> None:
    play = play_with(max_body_bytes=4) >> Received(CLIENT, CHUNKED + b"3\r\nabc\r\n")
    play.take()
    play >> Received(CLIENT, b"2\r\nde\r\n")
    answer, *_, reset = play.take()
    assert answer == error(413, TOO_LARGE, BODY, "Connection: close")
    assert reset == Reset(AGENT, 2)


def test_a_chunked_body_that_is_too_long_at_once() -> None:
    play = play_with(max_body_bytes=4) >> Received(CLIENT, CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n")
    (answer, *_) = play.take()
    assert answer == error(413, TOO_LARGE, BODY)


def test_bodies_that_are_short_enough() -> None:
    play = play_with(max_body_bytes=5)
    play >> Received(CLIENT, PUT + b"hello")
    (_, sent) = play.take()
    assert isinstance(sent, Data)
    assert sent.data.endswith(b"\r\n\r\nhello")
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    for piece in (CHUNKED, b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"):
        play >> Received(CLIENT, piece)
    sent_on = b"".join(each.data for each in play.take() if isinstance(each, Data))
    assert sent_on.endswith(b"0\r\n\r\n")
    assert play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
