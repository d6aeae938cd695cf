"""Tenants: endpoints, keys and limits of their own."""

import msgspec
import pytest

from pico_core.boundary import Connect, Connected, ConnectionLost, EofReceived, Received
from pico_core.config.networks import network
from pico_core.config.policies import PolicyConfig, endpoint_pattern, user
from pico_core.config.ports import ProxyConfig, TenantConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.server.explain import explain
from tests.core.access.keys import OTHER_SECRET, SECRET, bearer, signed, token
from tests.core.proxy.scene import AGENT, CLIENT, client_joins
from tests.core.server.tokens import (
    AUTH,
    OK,
    TENANTS,
    answer,
    denied,
    get,
    playing,
    proxied,
    registers,
    sent,
    shows,
    tenant_agent,
    texts,
)
from tests.neighbours import know
from tests.play import Data, End, GoAway, Open, node_of

# --- tenants ---


def explained(config: ServerConfig, request: str) -> dict[str, str]:
    return dict(explain(config, request, "192.0.2.7").lines)


@pytest.mark.parametrize("pattern", ["e1", "e*", "*", "Acme/e1", "acme/e*", "acme/*"])
def test_policies_hold_for_endpoints_of_tenants(pattern: str) -> None:
    policy = PolicyConfig(
        endpoints=("e2", endpoint_pattern(pattern)), denied_networks=(network("192.0.2.0/24"),), second_agent="refuse"
    )
    config = msgspec.structs.replace(TENANTS, policies=(policy,))
    play = playing(config)
    tenant_agent(play, AGENT, b"acme", SECRET)
    client_joins(play) >> Received(CLIENT, get(b"x-pico-tenant-id: acme\r\n"))
    assert b"403 Forbidden" in answer(play)
    fields = shows(signed({}, secret=SECRET)) + b"x-piko-tenant-id: acme\r\nx-piko-agent: other\r\n"
    registers(play, "e1", fields)
    assert b"409 Conflict" in answer(play), "a second agent"
    told = explained(config, "GET http://e1.acme.example.com/")
    assert told["tenant"] == "acme"
    assert told["policy"] == f"policies[0], for {pattern.lower()}"
    assert told["answer"].startswith("403")


def test_a_policy_of_one_tenant_holds_for_no_other() -> None:
    policy = PolicyConfig(endpoints=("acme/*",), basic_auth=(user("a:b"),))
    config = msgspec.structs.replace(TENANTS, policies=(policy,))
    play = playing(config)
    tenant_agent(play, AGENT, b"globex", OTHER_SECRET)
    client_joins(play) >> Received(CLIENT, get(b"x-pico-tenant-id: globex\r\n"))
    assert any(isinstance(each, Data) for each in play.take())
    assert explained(config, "GET http://e1.globex.example.com/")["policy"] == "none"
    assert explained(config, "GET http://e1.acme.example.com/")["answer"].startswith("401")


def test_a_check_refuses_what_names_no_tenant_as_the_node_does() -> None:
    assert explained(TENANTS, "GET http://e1.example.com/")["answer"] == "401 unknown tenant"
    told = explained(ServerConfig(proxy=ProxyConfig(auth=AUTH)), "GET http://e1.example.com/")
    assert told["token"] == "proxy.auth asks for one; it is not looked at here"


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
    know(play, 8, "acme/e1")
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


def test_a_tunnel_that_leaves_takes_no_place_of_its_own_agent() -> None:
    play = playing(TENANTS)
    know(play, 8, "other")
    instance = (b"x-piko-instance", b"one")
    headers = ((b"Authorization", bearer(signed({}, secret=OTHER_SECRET))), (b"x-piko-tenant-id", b"globex"))
    play.agent_registers(AGENT, "e1", *headers, instance)
    play >> GoAway(AGENT) >> 0.3
    fields = b"x-piko-tenant-id: globex\r\n" + shows(signed({}, secret=OTHER_SECRET))
    assert b"HTTP/1.1 101 " in answer(registers(play, "e1", fields + b"x-piko-instance: one\r\n", 5))


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


def test_without_tenants_a_token_for_one_opens_nothing() -> None:
    play = proxied(ServerConfig(proxy=ProxyConfig(auth=AUTH)))
    assert play >> Received(CLIENT, get(shows(token("e1", tenant="acme")))) << denied("unknown tenant")
    assert play >> Received(CLIENT, get(shows(token("e1")))) << Open(AGENT, 2) << Data(AGENT, 2, sent())
