"""``/status/limits``: every limit of a node, with its key, its value and its use."""

import json
from typing import Any

from pico_core.boundary import Accepted, Close, EofReceived, HandshakeBegan, HandshakeFailed, Received, Send
from pico_core.config.declare import leaves
from pico_core.config.policies import PolicyConfig
from pico_core.config.ports import ProxyConfig, TenantConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.server.admin.limits import LIMITS, POLICY_LIMITS, TENANT_LIMITS
from tests.core.server.admin.scene import ask, document, joins
from tests.play import server_play

BOUNDS = ("max_", "_timeout", "timeout", "registration_", "grace_period", "drain_delay")
"""Parts of the names of keys that bound what others may do."""

NOT_OF_OTHERS = {"cluster.join_timeout", *(f"{port}.auth.jwks.timeout" for port in ("proxy", "upstream", "admin"))}
"""Keys with such a name that bound what the node itself does."""


def rows(config: ServerConfig) -> dict[str, dict[str, Any]]:
    """Return the limits of a node with one tunnel and two clients, of which one has begun a head."""
    play = server_play(config)
    play.agent_registers(1, "e1")
    play >> Accepted(101, "proxy", "192.0.2.7", 4000) >> Accepted(103, "proxy", "2001:db8::1", 4000)
    play >> Accepted(105, "proxy", "2001:db8::2", 4000) >> Received(101, b"GET / HT")
    found = document(joins(play), "/status/limits")
    return {row["key"]: row for row in found}


def test_values_and_use() -> None:
    found = rows(ServerConfig(max_connections=1000, proxy=ProxyConfig(max_connections=100, timeout_s=7.5)))
    assert (found["max_connections"]["limit"], found["max_connections"]["used"]) == (1000, 5)
    assert (found["proxy.max_connections"]["limit"], found["proxy.max_connections"]["used"]) == (100, 3)
    assert (found["max_address_share (proxy)"]["limit"], found["max_address_share (proxy)"]["used"]) == (50, 2)
    assert found["upstream.max_connections"]["used"] == 1
    assert found["connections of the admin port"]["used"] == 1
    assert found["proxy.http.max_unfinished_bytes"]["used"] == len(b"GET / HT")
    assert (found["proxy.timeout"]["limit"], found["proxy.timeout"]["used"]) == ("7s500ms", None)
    assert (found["endpoints of the node"]["limit"], found["endpoints of the node"]["used"]) == (20_000, 1)
    assert all(row["then"] for row in found.values())


def test_handshakes_in_progress_are_counted() -> None:
    play = joins(server_play())
    for listener in ("proxy", "proxy", "proxy", "upstream"):
        play >> HandshakeBegan(listener)
    play >> Accepted(101, "proxy", "192.0.2.7", 4000) >> HandshakeFailed("proxy", "192.0.2.8", "the client went away")
    found = {row["key"]: row for row in document(play, "/status/limits")}
    assert (found["proxy.tls.max_handshakes"]["limit"], found["proxy.tls.max_handshakes"]["used"]) == (512, 1)
    assert found["upstream.tls.max_handshakes"]["used"] == 1
    assert found["admin.tls.max_handshakes"]["used"] == 0
    assert found["upstream.tls.handshake_timeout"]["limit"] == "10s"


def test_requests_that_wait_for_a_route_are_counted() -> None:
    play = server_play()
    play.agent_registers(1, "e1")
    play >> EofReceived(1) << Close(1) >> Accepted(101, "proxy", "192.0.2.7", 4000)
    play >> Received(101, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n")
    found = {row["key"]: row for row in document(joins(play), "/status/limits")}
    assert (found["proxy.max_waiting"]["limit"], found["proxy.max_waiting"]["used"]) == (512, 1)
    assert found["proxy.wait_timeout"]["limit"] == "3s"


def test_tenants_and_policies_have_theirs() -> None:
    tenants = (TenantConfig(id="acme", max_tunnels=3), TenantConfig(id="beta"))
    policies = (PolicyConfig(endpoints=("e1",), max_in_flight=5),)
    found = rows_without_traffic(ServerConfig(upstream=UpstreamConfig(tenants=tenants), policies=policies))
    assert found["upstream.tenants.acme.max_tunnels"]["limit"] == 3
    assert found["upstream.tenants.acme.max_tunnels"]["used"] == 0
    assert "upstream.tenants.beta.max_tunnels" not in found
    assert found["policies[0].max_in_flight"]["limit"] == 5
    assert "policies[0].max_body_bytes" not in found


def rows_without_traffic(config: ServerConfig) -> dict[str, dict[str, Any]]:
    play = joins(server_play(config)) >> ask("/status/limits")
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert isinstance(answer.data, bytes)
    return {row["key"]: row for row in json.loads(answer.data.partition(b"\r\n\r\n")[2])}


def test_every_key_that_bounds_others_is_among_the_limits() -> None:
    declared = {each.key.partition(" ")[0] for each in LIMITS}
    bounds = {
        leaf.name
        for leaf in leaves(ServerConfig)
        if leaf.name.rpartition(".")[2].startswith(BOUNDS) or leaf.name.endswith("_timeout")
    }
    assert bounds - NOT_OF_OTHERS <= declared, sorted(bounds - NOT_OF_OTHERS - declared)
    keyed = {each.key.partition(" ")[0] for each in LIMITS if not each.fixed}
    assert keyed <= {leaf.name for leaf in leaves(ServerConfig)}
    assert set(TENANT_LIMITS) <= {leaf.name for leaf in leaves(TenantConfig)}
    assert set(POLICY_LIMITS) <= {leaf.name for leaf in leaves(PolicyConfig)}
