"""Tokens at the ports of a node: which clients are let in, to which endpoint, and what the service sees."""

import msgspec
import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Connect,
    Connected,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    Tick,
)
from pico_core.config.ports import ProxyConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from tests.core.access.keys import NOW_S, OTHER_SECRET, bearer, signed, token
from tests.core.proxy.scene import AGENT, CLIENT, client_joins, error
from tests.core.server.tokens import (
    ADMIN,
    AUTH,
    OK,
    PROXY,
    UPSTREAM,
    answer,
    clock,
    denied,
    get,
    playing,
    proxied,
    registers,
    sent,
    shows,
    texts,
)
from tests.neighbours import know
from tests.play import Data, GoAway, Open, Play, Reset, node_of, server_play

# --- the proxy port ---


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"", "missing authorization"),
        (b"Authorization:\r\n", "missing authorization"),
        (b"Authorization: nonsense\r\n", "invalid authorization"),
        (b"Authorization: Basic eDp5\r\n", "unsupported auth type"),
        (shows("a.b.c"), "invalid token"),
        (shows(token(lasts_s=-1)), "expired token"),
        (shows(token("e2", "e*1")), "endpoint not permitted"),
        (shows(token("e1")) + shows(token()), "invalid authorization"),
        (shows(token("e1")) + shows("x", b"x-pico-authorization"), "invalid token"),
        (b"X-Authorization: " + bearer(token()) + b"\r\n", "missing authorization"),
        (b"Authorization_: " + bearer(token()) + b"\r\n", "missing authorization"),
        (b"x_pico_authorization: " + bearer(token()) + b"\r\n", "missing authorization"),
    ],
)
def test_clients_that_are_not_let_in(fields: bytes, reason: str) -> None:
    assert proxied() >> Received(CLIENT, get(fields)) << denied(reason)


def test_no_client_is_let_in_while_the_time_is_not_known() -> None:
    """Every token would look as if it had not expired."""
    play = server_play(PROXY)
    client_joins(play) >> Received(CLIENT, get(shows(token("e1", lasts_s=-10))))
    assert play << error(503, "Service Unavailable", "the time is not known yet")


def test_a_token_is_taken_out_of_the_request() -> None:
    text = token("e1")
    for fields, left in (
        (shows(text), b""),
        (b"A: b\r\n" + shows(text, b"AUTHORIZATION") + b"C: d\r\n", b"A: b\r\nC: d\r\n"),
        (shows(text, b"x-pico-authorization") + b"Authorization: Basic eDp5\r\n", b"Authorization: Basic eDp5\r\n"),
        (shows(text, b"x-piko-authorization"), b""),
    ):
        play = proxied() >> Received(CLIENT, get(fields)) << Open(AGENT, 2) << Data(AGENT, 2, sent(left))
        assert play


def test_without_keys_nothing_is_taken_out_or_asked_for() -> None:
    fields = b"Authorization: Basic eDp5\r\n"
    play = proxied(ServerConfig())
    assert play >> Received(CLIENT, get(fields)) << Open(AGENT, 2) << Data(AGENT, 2, sent(fields))


def test_every_request_of_a_connection_is_checked() -> None:
    """Equal heads are remembered with what their token permits; it is compared with the clock for each of them."""
    play = proxied()
    good = get(shows(token("e1", lasts_s=10)))
    play >> Received(CLIENT, good) << Open(AGENT, 2) << Data(AGENT, 2, sent())
    for _ in range(3):
        play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
        play >> Received(CLIENT, good) << Data(AGENT, 2, sent())
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    play >> Received(CLIENT, get()) << denied("missing authorization")
    other = get(shows(token("e1", lasts_s=10)), b"e2.example.com")
    play >> Received(CLIENT, other) << denied("endpoint not permitted")
    play >> Received(CLIENT, good) << Data(AGENT, 2, sent()) >> Data(AGENT, 2, OK)
    play << Send(CLIENT, OK) >> 9.0 >> Tick(NOW_S + 10)
    assert play >> Received(CLIENT, good) << denied("expired token", 10)


def test_heads_that_differ_in_a_value_are_checked_and_lose_their_token() -> None:
    """Such heads are read without a parser (``http.learning``), also where the token itself is what differs."""
    play = proxied()
    good = [shows(token("e1", lasts_s=10 + number)) for number in range(8)]
    first = True
    for fields in (*[good[0]] * 8, *good, *[good[1]] * 4):
        for cookie in (b"Cookie: a=%d\r\n" % play.now, b"Cookie: b\r\n"):
            play >> Received(CLIENT, get(b"A: b\r\n" + fields + cookie))
            if first:
                play << Open(AGENT, 2)
            first = False
            play << Data(AGENT, 2, sent(b"A: b\r\n" + cookie)) >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
        play >> play.now + 0.25
    play >> Received(CLIENT, get(b"A: b\r\n" + good[1] + b"Cookie: c\r\n", b"e2.example.com"))
    play << denied("endpoint not permitted", 5) >> Received(CLIENT, get(b"A: b\r\n" + shows("a.b") + b"Cookie: c\r\n"))
    play << denied("invalid token", 5) >> 9.0 >> Tick(NOW_S + 11)
    assert play >> Received(CLIENT, get(b"A: b\r\n" + good[1] + b"Cookie: c\r\n")) << denied("expired token", 11)


def test_the_host_of_heads_that_differ_in_it_decides_the_endpoint() -> None:
    play = proxied()
    play.agent_registers(13, "e3")
    fields = shows(token("e1", "e3"))
    play >> Received(CLIENT, get(fields)) << Open(AGENT, 2) << Data(AGENT, 2, sent()) >> Data(AGENT, 2, OK)
    play << Send(CLIENT, OK) >> Received(CLIENT, get(fields, b"e3.example.com")) << Open(13, 2)
    for agent, host in ((13, b"e3"), (AGENT, b"e1"), (13, b"e3"), (AGENT, b"e1"), (13, b"e3")):
        if (agent, play.now) != (13, 0.0):
            play >> Received(CLIENT, get(fields, host + b".example.com"))
        play << Data(agent, 2, sent().replace(b"e1.example.com", host + b".example.com"))
        play >> Data(agent, 2, OK) << Send(CLIENT, OK) >> play.now + 0.25
    assert play >> Received(CLIENT, get(fields, b"e4.example.com")) << denied("endpoint not permitted", 1)


def test_the_endpoint_that_is_permitted_is_the_one_that_is_routed_to() -> None:
    play = playing(PROXY)
    play.agent_registers(AGENT, "e1")
    client_joins(play)
    limited = shows(token("e1"))
    for fields, host in ((b"x-pico-endpoint: E2\r\n", b"e1.example.com"), (b"", b"E2.e1.com"), (b"", b"e2.e1")):
        play >> Received(CLIENT, get(limited + fields, host)) << denied("endpoint not permitted")
    play >> Received(CLIENT, get(limited, b"E1.example.com")) << Open(AGENT, 2)
    (data,) = play.take()
    assert isinstance(data, Data)


def test_the_tcp_route_asks_before_it_answers_anything_else() -> None:
    play = proxied()
    for route in (b"/_pico/v1/tcp/e1", b"/_piko/v1/tcp/e1"):
        play >> Received(CLIENT, get(target=route)) << denied("missing authorization")
        play >> Received(CLIENT, get(shows(token("e2")), target=route)) << denied("endpoint not permitted")
    said = answer(play >> Received(CLIENT, get(shows(token("e1")), target=b"/_pico/v1/tcp/e1")))
    assert said.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b'"error":"a WebSocket is wanted here"' in said


UPGRADE = b"Connection: Upgrade\r\nUpgrade: x\r\n"


def piped(config: ServerConfig = PROXY) -> Play:
    """Return a play in which a raw connection was opened with a token that lasts for 20 s."""
    play = proxied(config) >> Received(CLIENT, get(shows(token("e1", lasts_s=20)) + UPGRADE))
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    play.take()
    play >> Data(AGENT, 2, b"hello") << Send(CLIENT, b"hello")
    assert play
    return play


def test_a_raw_connection_ends_with_its_token() -> None:
    play = clock(piped(), 19)
    play >> Data(AGENT, 2, b"on") << Send(CLIENT, b"on")
    assert clock(play, 22) << Abort(CLIENT) << Reset(AGENT, 2)


def test_a_raw_connection_may_go_on_after_its_token_expired() -> None:
    lasting = msgspec.structs.replace(AUTH, disable_disconnect_on_expiry=True)
    play = clock(piped(ServerConfig(proxy=ProxyConfig(auth=lasting))), 40)
    assert play >> Data(AGENT, 2, b"on") << Send(CLIENT, b"on")


def test_a_response_that_makes_progress_goes_on_after_its_token_expired() -> None:
    play = proxied() >> Received(CLIENT, get(shows(token("e1", lasts_s=20))))
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    play.take()
    clock(play, 40)
    assert play >> Data(AGENT, 2, b"x" * 100) << Send(CLIENT, b"x" * 100)


def test_another_node_gets_the_token_and_checks_it_too() -> None:
    play = playing(PROXY)
    know(play, 8)
    client_joins(play) >> Received(CLIENT, get(shows(token("e1"))))
    (connect,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> Connected(connect.connection, "192.0.2.8", 8000)
    (request,) = texts(play.take())
    assert b"x-piko-authorization: " + bearer(token("e1")) in request
    assert b"\r\nAuthorization" not in request
    # What arrives there from the address of a member is asked for its token like anything else.
    play = proxied()
    marked = b"x-piko-forward: true\r\nx-pico-forward: true\r\n"
    play >> Received(CLIENT, get(marked)) << denied("missing authorization")
    own = b"Authorization: Basic eDp5\r\n"
    play >> Received(CLIENT, get(marked + own + shows(token("e1"), b"x-piko-authorization")))
    assert play << Open(AGENT, 2) << Data(AGENT, 2, sent(own))


# --- the upstream port ---


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"", b"missing authorization"),
        (shows(token("e2")), b"endpoint not permitted"),
        (shows(token(lasts_s=-1)), b"expired token"),
        (shows(signed({}, secret=OTHER_SECRET)), b"invalid token"),
        (shows(token()) + b"x-piko-tenant-id: acme\r\n", b"unknown tenant"),
        (b"Authorization: Basic eDp5\r\n", b"unsupported auth type"),
    ],
)
def test_registrations_that_are_refused(fields: bytes, reason: bytes) -> None:
    said = answer(registers(playing(UPSTREAM), "e1", fields))
    assert said.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"x-pico-refused: final\r\n" in said
    assert b"WWW-Authenticate: Bearer\r\n" in said
    assert said.endswith(b'{"error":"%b"}' % reason)


def test_registrations_that_are_accepted() -> None:
    for name in (b"Authorization", b"x-pico-authorization", b"x-piko-authorization"):
        assert answer(registers(playing(UPSTREAM), "E1", shows(token("e1"), name))).startswith(b"HTTP/1.1 101 ")


def test_a_tunnel_ends_with_its_token_and_its_agent_is_asked_before() -> None:
    play = playing(UPSTREAM)
    agent = (b"x-piko-instance", b"one")
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer(token("e1", lasts_s=30))), agent)
    clock(play, 19)
    assert [each for each in play.take() if isinstance(each, GoAway)] == []
    clock(play, 21)
    assert play.take() == [GoAway(AGENT)]
    clock(play, 29)
    assert not [each for each in play.take() if isinstance(each, Close)]
    clock(play, 31)
    assert Close(AGENT) in play.take()
    (closed,) = [log for log in play.logs if log.message == "tunnel closed"]
    assert closed.fields["reason"] == "its token has expired"
    assert node_of(play).facts.registry.endpoint_count == 0


def test_a_tunnel_with_little_time_left_is_not_asked_to_come_again() -> None:
    play = playing(UPSTREAM)
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer(token("e1", lasts_s=15))))
    clock(play, 14)
    assert not [each for each in play.take() if isinstance(each, (GoAway, Close))]
    clock(play, 16)
    assert Close(AGENT) in play.take()


@pytest.mark.parametrize("lasting", [True, False])
def test_a_tunnel_may_go_on_after_its_token_expired(lasting: bool) -> None:
    auth = msgspec.structs.replace(AUTH, disable_disconnect_on_expiry=lasting)
    play = playing(ServerConfig(upstream=UpstreamConfig(auth=auth)))
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer(token("e1", lasts_s=None if not lasting else 5))))
    clock(play, 60)
    assert not [each for each in play.take() if isinstance(each, (GoAway, Close))]


def test_the_clock_that_was_set_forward_ends_a_tunnel() -> None:
    play = playing(UPSTREAM)
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer(token("e1", lasts_s=3_600))))
    clock(play, 11, NOW_S + 3_600)
    assert Close(AGENT) in play.take()


# --- the admin port ---

ADMIN_CLIENT = 31


def asked(play: Play, path: bytes, fields: bytes = b"") -> bytes:
    play >> Accepted(ADMIN_CLIENT, "admin", "192.0.2.7", 5000)
    play >> Received(ADMIN_CLIENT, b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, fields))
    said = answer(play)
    play >> EofReceived(ADMIN_CLIENT) >> ConnectionLost(ADMIN_CLIENT, "")
    play.take()
    return said


@pytest.mark.parametrize(
    "path", [b"/metrics", b"/log-levels", b"/status/cluster/nodes", b"/status/upstream/endpoints", b"/nothing"]
)
def test_the_admin_port_asks_for_a_token_for_everything(path: bytes) -> None:
    play = playing(ADMIN)
    for fields, reason in (
        (b"", b"missing authorization"),
        (shows(token("e1")), b"endpoint not permitted"),
        (shows(token(tenant="acme")), b"endpoint not permitted"),
        (shows(token(lasts_s=-1)), b"expired token"),
        (shows(token()) + shows("x.y.z"), b"invalid authorization"),
    ):
        said = asked(play, path, fields)
        assert said.lower().startswith(b"http/1.1 401 ")
        assert b"www-authenticate: Bearer\r\n" in said
        assert said.endswith(b'{"error": "%b"}' % reason)
    for name in (b"Authorization", b"x-pico-authorization"):
        assert b" 401 " not in asked(play, path, shows(token(), name)).split(b"\r\n")[0]


def test_probes_need_no_token() -> None:
    play = playing(ADMIN)
    assert b" 200 " in asked(play, b"/health").split(b"\r\n")[0]
    assert b" 200 " in asked(play, b"/ready").split(b"\r\n")[0]


def test_a_question_to_another_node_takes_the_token_along() -> None:
    play = playing(ADMIN)
    know(play, 8)
    play >> Accepted(ADMIN_CLIENT, "admin", "192.0.2.7", 5000)
    question = b"GET /status/cluster/nodes?forward=node-8 HTTP/1.1\r\nHost: a\r\n%b\r\n" % shows(token())
    play >> Received(ADMIN_CLIENT, question)
    (connect,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> Connected(connect.connection, "192.0.2.8", 8002)
    assert b"x-pico-authorization: " + bearer(token()) in answer(play)


def test_a_token_that_is_shown_in_both_fields_reaches_no_service() -> None:
    play = proxied()
    text = token()
    play >> Received(CLIENT, get(shows(text) + shows(text, b"X-Pico-Authorization")))
    assert play << Open(AGENT, 2) << Data(AGENT, 2, sent())
    usual = b"Authorization: Basic YTpi\r\n"
    copies = (b"Authorization: bearer  " + text.encode() + b"\r\n", b"authorization:" + text.encode() + b"\r\n")
    for others, kept in (
        (usual, usual),
        (b"".join(copies), b""),
        (copies[0] + usual, usual),
        (usual + copies[1], usual),
    ):
        play = proxied()
        play >> Received(CLIENT, get(others + shows(text, b"X-Pico-Authorization")))
        assert play << Open(AGENT, 2) << Data(AGENT, 2, sent(kept))
