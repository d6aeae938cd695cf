"""Which policy holds for a request, and which clients' networks it lets in."""

from typing import Any

import msgspec
import pytest

from pico_core.boundary import Accepted, Connected, Received, Send
from pico_core.config.networks import network
from pico_core.config.policies import user
from pico_core.server.policies import Policies
from tests.core.memory import reachable_bytes
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.core.server.policy_scene import (
    CHALLENGE,
    CREDENTIALS,
    IN_FLIGHT,
    NETWORK,
    NEXT,
    OTHERS,
    RATE,
    clustered_with,
    play_with,
    policy,
    served,
    under,
    with_basic,
)
from tests.core.server.test_peers import FIRST, FROM_NODE, dial
from tests.core.server.test_proofs import KEYED, proved
from tests.core.server.test_tcp_route import ACCEPTED, ASKING
from tests.neighbours import know
from tests.play import Data, Open, Play, joined, node_of, server_play

BOTH = pytest.mark.parametrize(
    "scene", [play_with, clustered_with], ids=["the tunnel is here", "the tunnel is elsewhere"]
)


def test_the_first_policy_that_has_the_endpoint_holds() -> None:
    policies = Policies((policy("a", "b-*"), policy("b-1", "c"), policy("*"), policy("d")))
    found = {name: policies.of(name) for name in ("a", "b-", "b-1", "b", "c", "d", "")}
    assert {name: each.index for name, each in found.items() if each} == {
        "a": 0,
        "b-": 0,
        "b-1": 0,
        "b": 2,
        "c": 1,
        "d": 2,
        "": 2,
    }
    assert Policies((policy("a"),)).of("b") is None


def test_a_pattern_without_a_tenant_says_nothing_about_the_names_of_tenants() -> None:
    policies = Policies((policy("ac*", "acme"), policy("acme/p*"), policy("pay"), policy("*")))
    found = {name: policies.of(name) for name in ("acme/pay", "acme/other", "acme/acre", "acre/pay", "acme", "b/acme")}
    assert {name: each.index for name, each in found.items() if each} == {
        "acme/pay": 1,
        "acme/other": 3,
        "acme/acre": 0,
        "acre/pay": 2,
        "acme": 0,
        "b/acme": 0,
    }
    assert Policies((policy("acme*"),)).of("acme/pay") is None


def test_what_is_remembered_is_bounded() -> None:
    policies = Policies((policy("a-*", denied_networks=OTHERS),))
    sizes = {}
    for number in range(4_097):
        assert policies.of(f"a-{number}")
        if number >= 4_095:
            sizes["name", number] = reachable_bytes(policies)
    (found,) = policies
    for number in range(4_097):
        assert found.lets_in(f"10.0.{number // 256}.{number % 256}")
        if number >= 4_095:
            sizes["address", number] = reachable_bytes(found)
    for kind in ("name", "address"):
        assert sizes[kind, 4_096] < sizes[kind, 4_095] / 2, "all of them are forgotten"
    assert policies.of("b") is None


def test_other_policies_hold_from_the_next_request_on() -> None:
    limited, other = policy(requests_per_second=0.5), policy("e2")
    play = proxy_play(under(limited))
    served(play >> Received(CLIENT, GET))
    policies = node_of(play).facts.policies
    policies.configure((other, limited))
    assert play >> Received(CLIENT, GET) << error(429, "Too Many Requests", RATE, "Retry-After: 2"), (
        "it goes on counting"
    )
    found = policies.of("e1")
    assert found is not None
    assert found.index == 1
    policies.configure(())
    assert not policies.any
    play >> Received(CLIENT, GET) << Data(AGENT, 2, GET_SENT) >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    policies.configure((policy(allowed_networks=OTHERS),))
    assert play >> Received(CLIENT, GET) << error(403, "Forbidden", NETWORK)


def test_a_request_in_flight_gives_its_place_back_to_the_policy_that_it_met() -> None:
    config = policy(max_in_flight=1)
    play = proxy_play(under(config)) >> Received(CLIENT, GET)
    play.take()
    policies = node_of(play).facts.policies
    policies.configure(())
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    policies.configure((config,))
    assert play >> Received(CLIENT, GET) << Data(AGENT, 2, GET_SENT)


def test_requests_in_flight_count_for_a_changed_policy_too() -> None:
    play = proxy_play(under(policy(max_in_flight=1))) >> Received(CLIENT, GET)
    play.take()
    policies = node_of(play).facts.policies
    policies.configure((policy(max_in_flight=1, max_body_bytes=9),))
    client_joins(play, NEXT)
    refused = error(429, "Too Many Requests", IN_FLIGHT, "Retry-After: 1", client=NEXT)
    assert play >> Received(NEXT, GET) << refused
    play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert play >> Received(NEXT, GET) << Data(AGENT, 2, GET_SENT)


# --- networks ---


@BOTH
def test_a_network_that_is_not_allowed(scene: Any) -> None:
    refused = error(403, "Forbidden", NETWORK)
    assert scene(allowed_networks=OTHERS) >> Received(CLIENT, GET) << refused >> Received(CLIENT, GET) << refused
    assert scene(denied_networks=(network("192.0.2.0/24"),)) >> Received(CLIENT, GET) << refused
    both = scene(allowed_networks=(network("192.0.2.0/24"),), denied_networks=(network("192.0.2.7"),))
    assert both >> Received(CLIENT, GET) << refused
    assert scene(allowed_networks=OTHERS) >> Received(CLIENT, ASKING) << refused, "the TCP route too"


def test_networks_that_are_let_in() -> None:
    assert served(play_with(denied_networks=OTHERS) >> Received(CLIENT, GET))
    allowed = play_with(allowed_networks=(*OTHERS, network("192.0.2.0/24")))
    assert allowed >> Received(CLIENT, ASKING) << Open(AGENT, 2) << ACCEPTED


def test_endpoints_without_a_policy_are_open() -> None:
    assert served(proxy_play(under(policy("e2", allowed_networks=OTHERS))) >> Received(CLIENT, GET))


def marked(*, keys: bool = False, proof: bool = False, **policy_keys: Any) -> Play:
    """Return a server with a tunnel that gets a request from node 20's address, marked as forwarded."""
    config = under(policy(**policy_keys))
    play = server_play(msgspec.structs.replace(config, cluster=KEYED.cluster) if keys else config)
    play.agent_registers(AGENT, "e1")
    know(play, 20)
    request = proved(node_of(play)) if proof else FROM_NODE
    return play >> Accepted(CLIENT, "proxy", "192.0.2.20", 5000) >> Received(CLIENT, request)


def test_a_node_asks_nothing_that_the_first_pico_node_has_provably_asked() -> None:
    play = marked(keys=True, proof=True, allowed_networks=OTHERS, max_in_flight=1, basic_auth=(user("a:b"),))
    assert play.take()[0] == Open(AGENT, 2)


@pytest.mark.parametrize("keys", [False, True])
def test_a_mark_that_is_not_proved_spares_a_client_no_question(keys: bool) -> None:
    refused = error(401, "Unauthorized", CREDENTIALS, CHALLENGE, entry=keys)
    assert marked(keys=keys, basic_auth=(user("a:b"),)) << refused
    assert marked(keys=keys, allowed_networks=OTHERS) << error(403, "Forbidden", NETWORK, entry=keys)
    play = marked(keys=keys, requests_per_second=0.5)
    play.take()
    play >> Data(AGENT, 2, OK)
    play.take()
    limited = error(429, "Too Many Requests", RATE, "Retry-After: 2", entry=keys)
    assert play >> Received(CLIENT, FROM_NODE) << limited


def test_a_node_that_forwards_hands_the_credentials_to_one_that_asks_again() -> None:
    """The node with the tunnel does not pass them on; a Piko node, which claims nothing, would."""
    config = {"basic_auth": (user("a:b"),)}
    play = clustered_with(**config)
    know(play, 20, claim="http")
    play >> Received(CLIENT, with_basic(GET, b"a:b")) << dial(FIRST, 20)
    (sent,) = (play >> Connected(FIRST, "192.0.2.20", 8000)).take()
    assert isinstance(sent, Send)
    request = joined(sent.data)
    assert b"uthorization" not in request
    for keys, passes in ((config, True), ({}, True), ({"basic_auth": (user("a:c"),)}, False)):
        other = server_play(under(policy(**keys)))
        other.agent_registers(AGENT, "e1")
        know(other, 20)
        other >> Accepted(CLIENT, "proxy", "192.0.2.20", 5000) >> Received(CLIENT, request)
        texts = b"".join(each.data for each in other.take() if isinstance(each, Data))
        assert bool(texts) is passes
        assert b"redentials" not in texts
    stranger = play_with(**config) >> Received(
        CLIENT, with_basic(GET, b"a:b").replace(b"Authorization", b"X-Pico-Credentials")
    )
    assert stranger << error(401, "Unauthorized", CREDENTIALS, CHALLENGE)


def test_rates_of_forwarded_requests_are_those_of_the_clients_that_the_node_tells() -> None:
    play = marked(requests_per_second=0.5)
    for last in (8, 7):
        play.take()
        play >> Data(AGENT, 2, OK)
        play.take()
        play >> Received(CLIENT, FROM_NODE.replace(b"203.0.113.9", b"203.0.113.%d" % last))
        assert any(isinstance(each, Data) for each in play.take())


def test_a_node_asks_on_behalf_of_nodes_without_policies_by_the_address_they_tell() -> None:
    from_piko = FROM_NODE.replace(b"x-pico-forward: true\r\n", b"")
    for inside, answer in (("203.0.113.9", None), ("192.0.2.20", error(403, "Forbidden", NETWORK))):
        play = server_play(under(policy(allowed_networks=(network(inside),))))
        play.agent_registers(AGENT, "e1")
        know(play, 20)
        play >> Accepted(CLIENT, "proxy", "192.0.2.20", 5000) >> Received(CLIENT, from_piko)
        if answer is None:
            assert play.take()[0] == Open(AGENT, 2)
        else:
            assert play << answer


def test_a_stranger_that_claims_to_be_a_node_is_asked() -> None:
    play = play_with(allowed_networks=(network("203.0.113.9"),)) >> Received(CLIENT, FROM_NODE)
    assert play << error(403, "Forbidden", NETWORK)
