"""Tokens and tenants at the ports of a node: who is let in, to which endpoint, and what the service sees."""

import itertools
import math
import random
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from pico_core.access.secret import Secret
from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Command,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    FileRead,
    ReadFile,
    Received,
    Send,
    SendEof,
    Tick,
)
from pico_core.config.auth import AuthConfig, KeySetConfig
from pico_core.config.secrets import KeySetSource
from pico_core.config.server import AdminConfig, ProxyConfig, ServerConfig, TenantConfig, UpstreamConfig
from pico_core.config.values import Address, Origin
from pico_core.errors import ConfigError
from pico_core.server.exposure import open_ports
from pico_core.server.node import ServerNode
from tests.core.access.keys import NOW_S, OTHER_SECRET, SECRET, bearer, part, signed, signing, token
from tests.core.access.test_keys import key_set, member
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, client_joins, error
from tests.play import Data, End, GoAway, Nothing, Open, Play, Reset, joined, server_play

AUTH = AuthConfig(hmac_secret_key=Secret(SECRET), leeway_s=0.0)
OTHER = AuthConfig(hmac_secret_key=Secret(OTHER_SECRET), leeway_s=0.0)
PROXY = ServerConfig(proxy=ProxyConfig(auth=AUTH))
UPSTREAM = ServerConfig(upstream=UpstreamConfig(auth=AUTH))
ADMIN = ServerConfig(admin=AdminConfig(auth=AUTH))
TENANTS = ServerConfig(
    upstream=UpstreamConfig(
        tenants=(
            TenantConfig(id="acme", auth=AUTH),
            TenantConfig(id="globex", auth=OTHER, max_tunnels=1, max_streams=2),
        )
    )
)
OK = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 02:45:26 GMT\r\nContent-Length: 2\r\n\r\nok"
UNAUTHORISED = "WWW-Authenticate: Bearer"


def node_of(play: Play) -> ServerNode:
    assert isinstance(play.machine, ServerNode)
    return play.machine


def playing(config: ServerConfig) -> Play:
    """Return a server at 0 s, when the wall clock shows ``NOW_S``."""
    return server_play(config) >> Tick(NOW_S)


def get(fields: bytes = b"", host: bytes = b"e1.example.com", target: bytes = b"/") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, host, fields)


def shows(text: str, name: bytes = b"Authorization") -> bytes:
    return b"%b: %b\r\n" % (name, bearer(text))


def denied(reason: str, at: float = 0.0) -> Send:
    """Return the answer at a time of the play."""
    answer = error(401, "Unauthorized", reason, UNAUTHORISED)
    head, _, body = joined(answer.data).partition(b"\r\n\r\n")
    date = formatdate(NOW_S + at, usegmt=True).encode()
    return Send(CLIENT, b"%b\r\nDate: %b\r\n\r\n%b" % (head, date, body))


def sent(fields: bytes = b"") -> bytes:
    return b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + fields + FORWARDED + b"\r\n"


def proxied(config: ServerConfig = PROXY) -> Play:
    play = playing(config)
    play.agent_registers(AGENT, "e1")
    return client_joins(play)


def texts(commands: list[Any]) -> list[bytes]:
    return [joined(each.data) for each in commands if isinstance(each, (Send, Data))]


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
def test_who_is_not_let_in(fields: bytes, reason: str) -> None:
    assert proxied() >> Received(CLIENT, get(fields)) << denied(reason)


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


def test_without_keys_nothing_is_taken_and_nobody_is_asked() -> None:
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
    wanted = error(426, "Upgrade Required", "a WebSocket is wanted here", "Connection: keep-alive")
    play >> Received(CLIENT, get(shows(token("e1")), target=b"/_pico/v1/tcp/e1"))
    assert len(play.take()) == 1
    assert wanted


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


def clock(play: Play, until: int, wall_s: float = NOW_S) -> Play:
    """Let time pass with ticks that tell the wall clock, as a driver's do."""
    while play.now < until:
        play >> min(play.now + 0.5, until) >> Tick(wall_s + play.now)
    return play


def test_a_raw_connection_ends_with_its_token() -> None:
    play = clock(piped(), 19)
    play >> Data(AGENT, 2, b"on") << Send(CLIENT, b"on")
    assert clock(play, 22) << Abort(CLIENT) << Reset(AGENT, 2)


def test_a_raw_connection_may_outlive_its_token() -> None:
    lasting = msgspec.structs.replace(AUTH, disable_disconnect_on_expiry=True)
    play = clock(piped(ServerConfig(proxy=ProxyConfig(auth=lasting))), 40)
    assert play >> Data(AGENT, 2, b"on") << Send(CLIENT, b"on")


def test_a_response_that_makes_progress_outlives_its_token() -> None:
    play = proxied() >> Received(CLIENT, get(shows(token("e1", lasts_s=20))))
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    play.take()
    clock(play, 40)
    assert play >> Data(AGENT, 2, b"x" * 100) << Send(CLIENT, b"x" * 100)


def test_another_node_gets_the_token_and_checks_it_too() -> None:
    play = playing(PROXY)
    node = node_of(play)
    peer = node.facts.view.add("n2", "192.0.2.8")
    node.facts.view.set_proxy_addr(peer, Address("192.0.2.8", 8000))
    node.facts.view.set_endpoint(peer, "e1", 1)
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


def registers(play: Play, endpoint: str, fields: bytes = b"", connection: int = 11) -> Play:
    """Let an agent ask for an endpoint."""
    head = (
        b"GET /pico/v1/upstream/%b HTTP/1.1\r\nHost: pico:8001\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n%b\r\n"
    )
    play >> Accepted(connection, "upstream", "192.0.2.1", 4000)
    return play >> Received(connection, head % (endpoint.encode(), fields))


def answer(play: Play) -> bytes:
    return b"".join(texts(play.take()))


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
def test_a_tunnel_may_outlive_its_token(lasting: bool) -> None:
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


# --- tenants ---


def tenant_agent(play: Play, connection: int, tenant: bytes, secret: str, endpoint: str = "e1", **claims: Any) -> None:
    text = signed(claims, secret=secret)
    play.agent_registers(connection, endpoint, (b"Authorization", bearer(text)), (b"x-piko-tenant-id", tenant))


def test_tenants_have_endpoints_of_their_own() -> None:
    play = playing(TENANTS)
    tenant_agent(play, AGENT, b"acme", SECRET)
    tenant_agent(play, 5, b"GLOBEX", OTHER_SECRET)
    assert sorted(node_of(play).facts.registry.counts()) == ["acme/e1", "globex/e1"]
    client_joins(play)
    for fields, host, agent in (
        (b"x-pico-tenant-id: acme\r\n", b"e1.example.com", AGENT),
        (b"x-piko-tenant-id: Globex\r\n", b"e1.example.com", 5),
        (b"", b"e1.globex.example.com", 5),
        (b"x-pico-endpoint: e1\r\n", b"shop.Acme.example.com:8000", AGENT),
        (b"x-pico-tenant-id: acme\r\n", b"e1.globex.example.com", AGENT),
    ):
        play >> Received(CLIENT, get(fields, host))
        commands = play.take()
        (data,) = [each for each in commands if isinstance(each, Data)]
        assert data.tunnel == agent
        assert b"tenant" not in data.data
        play >> Data(agent, data.stream, OK)
        play.take()
    for fields, host in (
        (b"", b"e1.example.com"),
        (b"x-pico-tenant-id: initech\r\n", b"e1.example.com"),
        (b"", b"e1.acme"),
    ):
        play >> Received(CLIENT, get(fields, host)) << denied("unknown tenant")
    assert play


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (shows(token()), b"unknown tenant"),
        (shows(token()) + b"x-piko-tenant-id: initech\r\n", b"unknown tenant"),
        (b"x-piko-tenant-id: acme\r\n", b"missing authorization"),
        (shows(token()) + b"x-piko-tenant-id: globex\r\n", b"invalid token"),
        (shows(token(tenant="globex")) + b"x-piko-tenant-id: acme\r\n", b"endpoint not permitted"),
    ],
)
def test_agents_without_a_tenant_or_with_the_key_of_another_one(fields: bytes, reason: bytes) -> None:
    said = answer(registers(playing(TENANTS), "e1", fields))
    assert said.startswith(b"HTTP/1.1 401 ")
    assert said.endswith(b'{"error":"%b"}' % reason)


def test_a_tenant_without_keys_has_those_of_the_port() -> None:
    config = ServerConfig(upstream=UpstreamConfig(auth=AUTH, tenants=(TenantConfig(id="acme"),)))
    play = playing(config)
    tenant = b"x-pico-tenant-id: acme\r\n"
    assert answer(registers(play, "e1", tenant + shows(token(tenant="acme")))).startswith(b"HTTP/1.1 101")
    assert b"missing authorization" in answer(registers(play, "e1", tenant, 13))
    assert b"endpoint not permitted" in answer(registers(play, "e1", tenant + shows(token(tenant="x")), 15))


def test_a_client_token_may_be_for_a_tenant() -> None:
    config = msgspec.structs.replace(TENANTS, proxy=ProxyConfig(auth=AUTH))
    play = playing(config)
    tenant_agent(play, AGENT, b"acme", SECRET)
    client_joins(play)
    of_acme = shows(token("e1", tenant="Acme"))
    play >> Received(CLIENT, get(of_acme)) << Open(AGENT, 2) << Data(AGENT, 2, sent()) >> Data(AGENT, 2, OK)
    play.take()
    other = of_acme + b"x-pico-tenant-id: globex\r\n"
    play >> Received(CLIENT, get(other)) << denied("endpoint not permitted")
    play >> Received(CLIENT, get(of_acme, b"e1.globex.example.com")) << denied("endpoint not permitted")
    play >> Received(CLIENT, get(shows(token("e1")))) << denied("unknown tenant")
    assert (
        play
        >> Received(CLIENT, get(shows(token("e1")), b"e1.acme.x"))
        << Data(AGENT, 2, sent().replace(b"e1.example.com", b"e1.acme.x"))
    )


def test_another_node_is_told_the_tenant() -> None:
    play = playing(TENANTS)
    node = node_of(play)
    peer = node.facts.view.add("n2", "192.0.2.8")
    node.facts.view.set_proxy_addr(peer, Address("192.0.2.8", 8000))
    node.facts.view.set_endpoint(peer, "acme/e1", 1)
    client_joins(play) >> Received(CLIENT, get(host=b"e1.acme.example.com"))
    (connect,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> Connected(connect.connection, "192.0.2.8", 8000)
    (request,) = texts(play.take())
    assert b"x-piko-endpoint: e1\r\nx-pico-tenant-id: acme\r\n" in request


def test_a_tenant_has_so_many_tunnels_and_an_agent_that_comes_again_takes_no_new_place() -> None:
    play = playing(TENANTS)
    instance = (b"x-piko-instance", b"one")
    headers = ((b"Authorization", bearer(signed({}, secret=OTHER_SECRET))), (b"x-piko-tenant-id", b"globex"))
    play.agent_registers(AGENT, "e1", *headers, instance)
    fields = b"x-piko-tenant-id: globex\r\n" + shows(signed({}, secret=OTHER_SECRET))
    assert b"HTTP/1.1 101 " in answer(registers(play, "e1", fields + b"x-piko-instance: one\r\n", 5))
    said = answer(registers(play, "e2", fields))
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 10\r\n" in said
    assert said.endswith(b'{"error":"too many tunnels of this tenant"}')
    play >> EofReceived(5) >> ConnectionLost(5, "")
    play.take()
    assert answer(registers(play, "e2", fields, 13)).startswith(b"HTTP/1.1 101 ")


def test_a_tenant_has_so_many_requests_in_flight() -> None:
    play = playing(TENANTS)
    tenant_agent(play, 5, b"globex", OTHER_SECRET)
    tenant_agent(play, AGENT, b"acme", SECRET)
    for client in (21, 23, 25):
        client_joins(play, client) >> Received(client, get(b"x-pico-tenant-id: globex\r\n"))
    assert len([each for each in play.take() if isinstance(each, Open)]) == 2
    play >> 1.0
    (refused,) = texts(play.take())
    assert refused.startswith(b"HTTP/1.1 503 ")
    client_joins(play, 27) >> Received(27, get(b"x-pico-tenant-id: acme\r\n"))
    assert Open(AGENT, 2) in play.take()
    play >> Data(5, 2, OK) >> End(5, 2)
    play.take()
    client_joins(play, 29) >> Received(29, get(b"x-pico-tenant-id: globex\r\n"))
    assert [each for each in play.take() if isinstance(each, Open)]
    assert node_of(play).access.tenants["globex"].in_flight == 2


def test_a_tenant_registers_so_often() -> None:
    tenant = TenantConfig(id="acme", auth=AUTH, registration_burst=2, registration_rate=0.5)
    play = playing(ServerConfig(upstream=UpstreamConfig(tenants=(tenant,))))
    fields = b"x-piko-tenant-id: acme\r\n" + shows(token())
    for connection in (11, 13):
        assert answer(registers(play, "e1", fields, connection)).startswith(b"HTTP/1.1 101 ")
    said = answer(registers(play, "e1", fields, 15))
    assert said.endswith(b'{"error":"too many registrations of this tenant"}')
    assert b"Retry-After: 2\r\n" in said


def test_without_tenants_the_header_means_nothing_to_clients() -> None:
    play = proxied(ServerConfig())
    assert play >> Received(CLIENT, get(b"x-pico-tenant-id: acme\r\n")) << Open(AGENT, 2) << Data(AGENT, 2, sent())


# --- the admin port ---

ADMIN_CLIENT = 31


def asked(play: Play, path: bytes, fields: bytes = b"") -> bytes:
    play >> Accepted(ADMIN_CLIENT, "admin", "192.0.2.7", 5000)
    play >> Received(ADMIN_CLIENT, b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, fields))
    said = answer(play)
    play >> EofReceived(ADMIN_CLIENT) >> ConnectionLost(ADMIN_CLIENT, "")
    play.take()
    return said


@pytest.mark.parametrize("path", [b"/metrics", b"/status/cluster/nodes", b"/status/upstream/endpoints", b"/nothing"])
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
    node = node_of(play)
    peer = node.facts.view.add("n2", "192.0.2.8")
    peer.admin_addr = Address("192.0.2.8", 8002)
    play >> Accepted(ADMIN_CLIENT, "admin", "192.0.2.7", 5000)
    question = b"GET /status/cluster/nodes?forward=n2 HTTP/1.1\r\nHost: a\r\n%b\r\n" % shows(token())
    play >> Received(ADMIN_CLIENT, question)
    (connect,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> Connected(connect.connection, "192.0.2.8", 8002)
    assert b"x-pico-authorization: " + bearer(token()) in answer(play)


# --- key sets ---


def of_set(url: str = "http://192.0.2.50:80/keys", content: bytes = b"", **more: Any) -> ServerConfig:
    path = url.removeprefix("file://") if url.startswith("file") else ""
    origin = None if path else Origin("192.0.2.50", 443 if "https" in url else 80, url.partition(":")[0])
    source = KeySetSource(url, origin, "/keys", path, Secret(content.decode()))
    return ServerConfig(proxy=ProxyConfig(auth=AuthConfig(jwks=KeySetConfig(endpoint=source, **more))))


def with_set(config: ServerConfig) -> tuple[Play, list[Command]]:
    """Return a node that has just started, and the connections and files that it asks for."""
    play = Play(ServerNode(config, "node-1", random.Random(1)), 0.0) >> Tick(NOW_S)
    asked_for: list[Command] = [each for each in play.take() if isinstance(each, (Connect, ReadFile))]
    return client_joins(play), asked_for


def published(play: Play, connection: int, content: bytes, status: bytes = b"200 OK") -> Play:
    play >> Connected(connection, "192.0.2.50", 80)
    (request,) = [text for text in texts(play.take()) if text.startswith(b"GET /keys")]
    assert request.startswith(b"GET /keys HTTP/1.1\r\nHost: 192.0.2.50:80\r\n")
    play >> Received(connection, b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content)
    play >> ConnectionLost(connection, "")
    return play


def refusal_of(play: Play, kind: str, kid: str = "") -> bytes:
    """Return the status with which a new client is refused; empty if it is let in, although there is no agent."""
    client = next(_clients)
    client_joins(play, client) >> Tick(NOW_S) >> Received(client, get(shows(token(kind=kind, kid=kid))))
    for each in play.take():
        if isinstance(each, Send) and each.connection == client:
            return joined(each.data)[9:12].replace(b"502", b"")
    return b""


_clients = itertools.count(101, 2)


def test_a_set_is_fetched_at_the_start_and_again() -> None:
    play, asked_for = with_set(of_set(cache_ttl_s=60.0))
    (connect,) = asked_for
    assert isinstance(connect, Connect)
    assert (connect.host, connect.port, connect.tls) == ("192.0.2.50", 80, "")
    assert refusal_of(play, "rsa", "rsa") == b"503", "no token can be verified yet, which is not its fault"
    assert refusal_of(play, "rsa") == b"503"
    published(play, connect.connection, key_set(member("rsa")))
    play.take()
    assert refusal_of(play, "rsa", "rsa") == b""
    play >> 59.0
    assert not [each for each in play.take() if isinstance(each, Connect) and each.host == "192.0.2.50"]
    play >> 61.0
    assert [each for each in play.take() if isinstance(each, Connect) and each.host == "192.0.2.50"]


def test_a_set_at_https_names_a_profile() -> None:
    _, (connect,) = with_set(of_set("https://192.0.2.50/keys"))
    assert isinstance(connect, Connect)
    assert (connect.port, connect.tls) == (443, "jwks")


def fetches(play: Play) -> list[int]:
    return [each.connection for each in play.take() if isinstance(each, Connect) and each.host == "192.0.2.50"]


def test_a_set_that_cannot_be_had_is_tried_again_and_the_last_one_stays() -> None:
    play, (connect,) = with_set(of_set(cache_ttl_s=30.0))
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    play >> 31.0
    not_a_set = key_set({"kty": "oct"})
    for pause_s, content, status in (
        (5, b"", b""),
        (10, b"<html>", b"200 OK"),
        (20, b"gone", b"404 Not Found"),
        (30, not_a_set, b"200 OK"),
    ):
        (connection,) = fetches(play)
        if status:
            published(play, connection, content, status)
        else:
            play >> ConnectFailed(connection, "connection refused")
        play >> play.now + pause_s - 0.1
        assert not fetches(play)
        play >> play.now + 0.2
    play >> Tick(NOW_S)
    assert refusal_of(play, "rsa", "rsa") == b""
    warnings = [
        log.fields["reason"] for log in play.logs if log.message.startswith("the key set cannot be read: the last")
    ]
    assert warnings[0] == "connection refused"
    assert "it is not a key set: it is not JSON" in warnings
    assert "the answer was 404" in warnings


def test_an_unknown_kid_fetches_the_set_but_not_often() -> None:
    play, (connect,) = with_set(of_set())
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    assert refusal_of(play, "ecdsa", "ecdsa") == b"401", "it was fetched a moment ago"
    play >> 20.0 >> Tick(NOW_S)
    play.take()
    client_joins(play, 51) >> Received(51, get(shows(token(kind="ecdsa", kid="ecdsa"))))
    commands = play.take()
    (again,) = [each for each in commands if isinstance(each, Connect)]
    (said,) = texts(commands)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in said
    published(play, again.connection, key_set(member("rsa"), member("ecdsa")))
    assert refusal_of(play, "ecdsa", "ecdsa") == b""
    for kid in ("x", "y", "z"):
        assert refusal_of(play, "eddsa", kid) == b"401"
    assert not fetches(play)


def test_garbage_and_wrong_signatures_never_fetch_a_set() -> None:
    play, (connect,) = with_set(of_set())
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    play >> 100.0 >> Tick(NOW_S)
    play.take()
    header, claims, _ = token(kind="rsa", kid="rsa").split(".")
    for text in ("a.b.c", f"{header}.{claims}.{part(b'0' * 256)}", token(), token(kind="ecdsa")):
        client = next(_clients)
        client_joins(play, client) >> Received(client, get(shows(text)))
        assert [b"invalid token" in said for said in texts(play.take())] == [True]
    assert play << Nothing()


def test_a_set_in_a_file_is_there_at_once() -> None:
    path = "/etc/pico/keys.json"
    play, asked_for = with_set(of_set("file://" + path, key_set(member("rsa"))))
    assert not asked_for
    assert refusal_of(play, "ecdsa", "ecdsa") == b"503", "the file may have changed since the start"
    assert refusal_of(play, "rsa", "rsa") == b""


def test_a_file_that_changes() -> None:
    path = "/etc/pico/keys.json"
    play, _ = with_set(of_set("file://" + path, key_set(member("rsa"))))
    play >> 10.5
    (read,) = [each for each in play.take() if isinstance(each, ReadFile)]
    assert (read.path, read.max_bytes) == (path, 262_144)
    play >> FileRead(read.query, key_set(member("ecdsa")), "") >> Tick(NOW_S)
    assert refusal_of(play, "ecdsa", "ecdsa") == b""
    play >> 21.0
    (read,) = [each for each in play.take() if isinstance(each, ReadFile)]
    play >> FileRead(read.query, b"", "No such file or directory") >> Tick(NOW_S)
    assert refusal_of(play, "ecdsa", "ecdsa") == b""


# --- reload ---


def test_other_keys_are_taken_over_and_nothing_is_dropped() -> None:
    play = playing(ServerConfig(proxy=ProxyConfig(auth=AUTH), upstream=UpstreamConfig(auth=AUTH)))
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer(token("e1"))))
    client_joins(play)
    old, new = get(shows(token("e1"))), get(shows(signed({}, secret=OTHER_SECRET)))
    play >> Received(CLIENT, old) << Open(AGENT, 2) << Data(AGENT, 2, sent())
    node = node_of(play)
    node.reload_access(ServerConfig(proxy=ProxyConfig(auth=OTHER), upstream=UpstreamConfig(auth=OTHER)), play.now)
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    play >> Received(CLIENT, old) << denied("invalid token")
    play >> Received(CLIENT, new) << Data(AGENT, 2, sent()) >> Data(AGENT, 2, OK)
    play.take()
    assert b"invalid token" in answer(registers(play, "e1", shows(token("e1"))))
    node.reload_access(ServerConfig(), play.now)
    assert play >> Received(CLIENT, get()) << Data(AGENT, 2, sent())


def test_what_has_not_changed_stays_remembered() -> None:
    play = playing(PROXY)
    access = node_of(play).access
    gate = access.gates["proxy.auth"]
    access.reload(ServerConfig(proxy=ProxyConfig(auth=AUTH), admin=AdminConfig(auth=OTHER)), 0.0)
    assert access.gates["proxy.auth"] is gate


def test_bad_keys_change_nothing() -> None:
    play = proxied()
    bad = KeySetSource("file:///k", None, "", "/k", Secret("nonsense"))
    wrong = AuthConfig(jwks=KeySetConfig(endpoint=bad))
    with pytest.raises(ConfigError, match=r"^admin.auth: is not a key set"):
        node_of(play).reload_access(ServerConfig(admin=AdminConfig(auth=wrong)), 0.0)
    assert play >> Received(CLIENT, get()) << denied("missing authorization")


def test_a_set_that_was_fetched_is_kept_where_only_the_rules_change() -> None:
    play, (connect,) = with_set(of_set())
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    play.take()
    config = of_set()
    auth = msgspec.structs.replace(config.proxy.auth, audience="x")
    node_of(play).reload_access(msgspec.structs.replace(config, proxy=ProxyConfig(auth=auth)), play.now)
    play.take()
    assert refusal_of(play, "rsa", "rsa") == b"401", "it has no audience; 503 would say that the set is not known"


def test_tunnels_of_a_tenant_that_is_no_more_are_closed() -> None:
    play = playing(TENANTS)
    tenant_agent(play, AGENT, b"acme", SECRET)
    tenant_agent(play, 5, b"globex", OTHER_SECRET)
    acme, _ = TENANTS.upstream.tenants
    node_of(play).reload_access(ServerConfig(upstream=UpstreamConfig(tenants=(acme,))), play.now)
    assert Close(5) in play.take()
    assert sorted(node_of(play).facts.registry.counts()) == ["acme/e1"]
    assert node_of(play).access.tenants["acme"].tunnels == 1


# --- what is open ---


def test_ports_that_anyone_may_use_are_named_once() -> None:
    assert open_ports(ServerConfig()) == [
        ("proxy :8000", "proxy.auth"),
        ("upstream :8001", "upstream.auth"),
        ("admin :8002", "admin.auth"),
    ]
    local = Address("127.0.0.1", 1)
    config = ServerConfig(
        proxy=ProxyConfig(auth=AUTH),
        upstream=UpstreamConfig(tenants=(TenantConfig(id="a", auth=AUTH), TenantConfig(id="b"))),
        admin=AdminConfig(bind_addr=local),
    )
    assert open_ports(config) == [("upstream :8001", "upstream.auth")]
    play, _ = with_set(ServerConfig())
    (line,) = [log for log in play.logs if log.subsystem == "access"]
    assert line.level == "warning"
    assert line.fields == {
        "ports": "proxy :8000, upstream :8001, admin :8002",
        "keys": "proxy.auth, upstream.auth, admin.auth",
    }


def test_no_secret_in_the_repr_of_anything() -> None:
    for thing in (TENANTS, PROXY, AUTH, FileRead(1, SECRET.encode(), ""), signing("hmac"), signing("hmac").verifying):
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)
    assert math.isinf(token_life())


def token_life() -> float:
    play = playing(PROXY)
    gate = node_of(play).access.gates["proxy.auth"]
    assert gate is not None
    return gate.check(bearer(token(lasts_s=None)), NOW_S).expires_at


def test_a_token_that_both_ends_of_a_head_name_must_agree() -> None:
    play = proxied()
    both = shows(token("e1"), b"x-pico-authorization") + shows(token(), b"x-piko-authorization")
    play >> Received(CLIENT, get(both))
    said = play.take()
    assert joined(said[0].data).startswith(b"HTTP/1.1 400 ")  # type: ignore[attr-defined]
    assert SendEof(CLIENT) in said
