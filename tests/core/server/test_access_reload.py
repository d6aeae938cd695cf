"""Other keys and tenants while a node runs, and what a node says of its open ports."""

import math

import msgspec
import pytest

from pico_core.access.secret import Secret
from pico_core.boundary import Close, ConfigReloaded, Connect, FileRead, Received, Send, SendEof
from pico_core.config.auth import AuthConfig, KeySetConfig
from pico_core.config.load import load
from pico_core.config.policies import PolicyConfig
from pico_core.config.ports import AdminConfig, ProxyConfig, TenantConfig, UpstreamConfig
from pico_core.config.secrets import KeySetSource
from pico_core.config.server import ClusterConfig, GossipConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.errors import ConfigError
from pico_core.server.exposure import UNGUARDED, open_ports
from pico_core.server.node import ServerNode
from pico_core.server.reloading import take_over
from tests.core.access.keys import NOW_S, OTHER_SECRET, SECRET, bearer, signed, signing, token
from tests.core.access.test_keys import key_set, member
from tests.core.proxy.scene import AGENT, CLIENT, GET, client_joins, proxy_play
from tests.core.server.tokens import (
    AUTH,
    OK,
    OTHER,
    PROXY,
    TENANTS,
    answer,
    denied,
    get,
    of_set,
    playing,
    proxied,
    published,
    refusal_of,
    registers,
    sent,
    shows,
    tenant_agent,
    with_set,
)
from tests.play import Data, Open, joined, node_of


def reloaded(node: ServerNode, config: ServerConfig, now: float) -> None:
    take_over(node.facts, node.access, node.proxies, (), node.admission.limits, config, now)


# --- reload ---


def test_other_keys_are_taken_over_and_nothing_is_dropped() -> None:
    play = playing(ServerConfig(proxy=ProxyConfig(auth=AUTH), upstream=UpstreamConfig(auth=AUTH)))
    play.agent_registers(AGENT, "e1", (b"Authorization", bearer(token("e1"))))
    client_joins(play)
    old, new = get(shows(token("e1"))), get(shows(signed({}, secret=OTHER_SECRET)))
    play >> Received(CLIENT, old) << Open(AGENT, 2) << Data(AGENT, 2, sent())
    node = node_of(play)
    reloaded(node, ServerConfig(proxy=ProxyConfig(auth=OTHER), upstream=UpstreamConfig(auth=OTHER)), play.now)
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    play >> Received(CLIENT, old) << denied("invalid token")
    play >> Received(CLIENT, new) << Data(AGENT, 2, sent()) >> Data(AGENT, 2, OK)
    play.take()
    assert b"invalid token" in answer(registers(play, "e1", shows(token("e1"))))
    reloaded(node, ServerConfig(), play.now)
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
        reloaded(node_of(play), ServerConfig(admin=AdminConfig(auth=wrong)), 0.0)
    assert play >> Received(CLIENT, get()) << denied("missing authorization")


def test_a_set_that_was_fetched_is_kept_where_only_the_rules_change() -> None:
    play, (connect,) = with_set(of_set())
    assert isinstance(connect, Connect)
    published(play, connect.connection, key_set(member("rsa")))
    play.take()
    config = of_set()
    auth = msgspec.structs.replace(config.proxy.auth, audience="x")
    reloaded(node_of(play), msgspec.structs.replace(config, proxy=ProxyConfig(auth=auth)), play.now)
    play.take()
    assert refusal_of(play, "rsa", "rsa") == b"401", "it has no audience; 503 would say that the set is not known"


def test_tunnels_of_a_removed_tenant_are_closed() -> None:
    play = playing(TENANTS)
    tenant_agent(play, AGENT, b"acme", SECRET)
    tenant_agent(play, 5, b"globex", OTHER_SECRET)
    acme, _ = TENANTS.upstream.tenants
    reloaded(node_of(play), ServerConfig(upstream=UpstreamConfig(tenants=(acme,))), play.now)
    assert Close(5) in play.take()
    assert sorted(node_of(play).facts.registry.counts()) == ["acme/e1"]
    assert node_of(play).access.tenants["acme"].tunnels == 1


def test_tunnels_of_no_tenant_are_closed_when_there_are_tenants() -> None:
    """Nothing reaches them any more; the agent connects again and is told that it needs a tenant."""
    play = proxied(ServerConfig())
    reloaded(node_of(play), TENANTS, play.now)
    assert Close(AGENT) in play.take()
    assert not node_of(play).facts.registry.counts()


# --- what is open ---


def test_a_reload_that_takes_the_guards_away_is_warned_of() -> None:
    guarded = ServerConfig(proxy=ProxyConfig(auth=AUTH), policies=(PolicyConfig(endpoints=("*",)),))
    play = playing(guarded)
    play >> ConfigReloaded(guarded)
    play.take()
    assert not [log for log in play.logs if log.message == UNGUARDED]
    play >> ConfigReloaded(ServerConfig())
    play.take()
    found = {log.message: log for log in play.logs if log.subsystem == "access"}
    assert found[UNGUARDED].level == "warning"
    assert found[UNGUARDED].fields == {"ports": "proxy :8000", "keys": "proxy.auth"}
    assert found["no policy holds any more"].level == "warning"


def test_ports_that_anyone_may_use_are_named_once() -> None:
    assert open_ports(ServerConfig()) == [
        ("proxy :8000", "proxy.auth"),
        ("upstream :8001", "upstream.auth"),
        ("admin :8002", "admin.auth"),
        ("gossip :8003", "cluster.gossip.keys"),
    ]
    local = Address("127.0.0.1", 1)
    config = ServerConfig(
        proxy=ProxyConfig(auth=AUTH),
        upstream=UpstreamConfig(tenants=(TenantConfig(id="a", auth=AUTH), TenantConfig(id="b"))),
        admin=AdminConfig(bind_addr=local),
        cluster=ClusterConfig(gossip=GossipConfig(bind_addr=local)),
    )
    assert open_ports(config) == [("upstream :8001", "upstream.auth")]
    play, _ = with_set(ServerConfig())
    (line,) = [log for log in play.logs if log.subsystem == "access"]
    assert line.level == "warning"
    assert line.fields == {
        "ports": "proxy :8000, upstream :8001, admin :8002, gossip :8003",
        "keys": "proxy.auth, upstream.auth, admin.auth, cluster.gossip.keys",
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


# --- limits, times and logs ---


def test_limits_times_and_logs_change_while_it_runs() -> None:
    quiet = {"access_log": {"disable": True}, "timeout": "2s", "error_detail": "none"}
    before, after = (
        load(ServerConfig, "proxy: {timeout: 30s}\n", {}, ""),
        load(
            ServerConfig,
            f"proxy: {msgspec.json.encode(quiet).decode()}\nupstream: {{max_streams: 4, max_connections: 3}}\n"
            "max_connections: 50\n",
            {},
            "",
        ),
    )
    play = proxy_play(before)
    play >> Received(CLIENT, GET) << Open(AGENT, 2)
    play.take()
    assert play >> ConfigReloaded(after)
    (changed,) = [log for log in play.logs if log.message == "configuration read again"]
    names = str(changed.fields["changed"]).split(", ")
    assert {"max_connections", "proxy.timeout", "upstream.max_streams"} <= set(names)
    assert not [log for log in play.logs if log.message == "some changes need a restart"]
    assert play >> 3.0, "a request in flight keeps its time"
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    play >> Received(CLIENT, GET)
    play.take()
    (answer, *_) = (play >> 5.5).take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 504 ")
    assert joined(answer.data).endswith(b'{"error":"upstream timeout"}')
    assert play.access_log == []
    play.agent_registers(7, "e2")
    (tunnel,) = node_of(play).facts.registry.members("e2")
    assert tunnel.max_streams == 4
    assert node_of(play).admission.ports["upstream"].limits.most == 3
    assert node_of(play).admission.limits.most == 50
