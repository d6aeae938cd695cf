"""Policies at work: each refusal, through the node that a client sends to and through the one that has the tunnel."""

import base64
from http import HTTPStatus
from typing import Any

import msgspec
import pytest

from pico_core.boundary import Accepted, Close, Connected, ConnectionLost, Received, Send
from pico_core.config.networks import network
from pico_core.config.policies import FieldsConfig, PolicyConfig, user
from pico_core.config.server import ServerConfig
from pico_core.http.message import RequestHead
from pico_core.server.field_edits import FieldEdit
from pico_core.server.policies import MAX_VERDICTS, Policies
from tests.core.http.growth import grows_linearly
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.core.server.admin.scene import node_of
from tests.core.server.test_peers import FIRST, FROM_NODE, HOP, dial, know
from tests.core.server.test_proofs import KEYED, proved
from tests.core.server.test_tcp_route import ACCEPTED, ASKING
from tests.play import Data, Nothing, Open, Play, Reset, joined, server_play

NEXT = 5
NETWORK = "this client's network is not allowed here"
RATE = "too many requests of this client"
CREDENTIALS = "wrong or missing credentials"
IN_FLIGHT = "too many requests of this client in flight"
BODY = "request body too long"
TOO_LARGE = HTTPStatus(413).phrase
CHALLENGE = 'WWW-Authenticate: Basic realm="e1", charset="UTF-8"'
OTHERS = (network("198.51.100.0/24"),)
"""A network that the client of the scene is not in."""


def under(*policies: PolicyConfig) -> ServerConfig:
    return ServerConfig(policies=policies)


def policy(*endpoints: str, **keys: Any) -> PolicyConfig:
    return PolicyConfig(endpoints=endpoints or ("e1",), **keys)


def play_with(**keys: Any) -> Play:
    """Return a server whose policy for e1 has these keys, with an agent for e1 and a client."""
    return proxy_play(under(policy(**keys)))


def clustered_with(**keys: Any) -> Play:
    """Return such a server without a tunnel, which knows that node 20 serves e1, and a client."""
    play = server_play(under(policy(**keys)))
    know(play, 20)
    return client_joins(play)


def served(play: Play, stream: int = 2) -> Play:
    """Let the agent answer the request in a stream that is new."""
    return play << Open(AGENT, stream) << Data(AGENT, stream, GET_SENT) >> Data(AGENT, stream, OK) << Send(CLIENT, OK)


def with_basic(request: bytes, credentials: bytes) -> bytes:
    return request[:-2] + b"Authorization: Basic %b\r\n\r\n" % base64.b64encode(credentials)


BOTH = pytest.mark.parametrize(
    "scene", [play_with, clustered_with], ids=["the tunnel is here", "the tunnel is elsewhere"]
)


# --- which policy holds ---


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


def test_what_is_remembered_is_bounded() -> None:
    policies = Policies((policy("a-*", denied_networks=OTHERS),))
    for number in range(2 * MAX_VERDICTS):
        found = policies.of(f"a-{number}")
        assert found is not None
        assert found.lets_in(f"10.0.{number // 256}.{number % 256}")
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
    peer = node_of(play).facts.view.get("node-20")
    assert peer is not None
    peer.claims["e1"] = "http"
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


# --- rate ---


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


# --- header fields ---

EDITS: dict[str, Any] = {
    "request_headers": FieldsConfig(add=("X-Env: prod",), remove=("Cookie",)),
    "response_headers": FieldsConfig(add=("X-Frame-Options: DENY",), remove=("Server",)),
}
ODD = GET[:-2] + b"X_Env: forged\r\ncookie: a=b\r\nX-Envy: 1\r\nx-env: forged\r\n\r\n"
SERVED = b"HTTP/1.1 200 OK\r\nserver: x\r\nX-Frame-Options: ALLOW\r\nContent-Length: 2\r\n\r\nok"
EDITED = b"HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 2\r\n\r\nok"
ODD_SENT = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nX-Envy: 1\r\nX-Env: prod\r\n" + FORWARDED + b"\r\n"


def test_fields_are_added_and_removed() -> None:
    play = play_with(**EDITS) >> Received(CLIENT, ODD) << Open(AGENT, 2) << Data(AGENT, 2, ODD_SENT)
    play >> Data(AGENT, 2, SERVED) << Send(CLIENT, EDITED)
    assert play >> Received(CLIENT, ODD) << Data(AGENT, 2, ODD_SENT) >> Data(AGENT, 2, SERVED) << Send(CLIENT, EDITED)


def test_fields_are_changed_by_the_first_node_alone() -> None:
    play = clustered_with(**EDITS) >> Received(CLIENT, ODD) << dial(FIRST, 20)
    sent = ODD_SENT.replace(FORWARDED, HOP + FORWARDED)
    play >> Connected(FIRST, "192.0.2.20", 8000) << Send(FIRST, sent) >> Received(FIRST, SERVED)
    assert play << Send(CLIENT, EDITED)


def test_answers_in_pieces_upgrades_and_own_ones_are_changed_too() -> None:
    play = play_with(**EDITS) >> Received(CLIENT, GET)
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4\r\n\r\nok")
    assert play << Send(CLIENT, b"HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 4\r\n\r\nok")
    assert play >> Data(AGENT, 2, b"ok") << Send(CLIENT, b"ok")
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n"
    play >> Received(CLIENT, upgrade)
    play.take()
    play >> Data(
        AGENT, 2, b"HTTP/1.1 101 Switching Protocols\r\nServer: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    )
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert b"Server" not in joined(answer.data)
    assert b"X-Frame-Options: DENY\r\n" in joined(answer.data)
    refused = play_with(allowed_networks=OTHERS, **EDITS) >> Received(CLIENT, GET)
    assert refused << error(403, "Forbidden", NETWORK, "X-Frame-Options: DENY")


TRAILERS = b"0\r\nCookie: a=b\r\nx_env: forged\r\nX-Sum: 1\r\n\r\n"


@BOTH
@pytest.mark.parametrize("cut", [0, 1], ids=["in one piece", "in two"])
def test_trailers_of_requests_bring_no_field_back(scene: Any, cut: int) -> None:
    play = scene(**EDITS)
    for piece in (CHUNKED + b"3\r\nabc\r\n" + TRAILERS[:cut], TRAILERS[cut:]):
        play >> Received(CLIENT, piece)
    commands = play.take()
    if dial(FIRST, 20) in commands:
        commands = (play >> Connected(FIRST, "192.0.2.20", 8000)).take()
    sent = b"".join(joined(each.data) for each in commands if isinstance(each, Send | Data))
    assert sent.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert b"X-Env: prod\r\n" in sent


@BOTH
def test_trailers_and_interim_heads_of_responses_bring_no_field_back(scene: Any) -> None:
    play = scene(**EDITS) >> Received(CLIENT, GET)
    if dial(FIRST, 20) in play.take():
        (play >> Connected(FIRST, "192.0.2.20", 8000)).take()

    def answers(data: bytes) -> bytes:
        play >> (Received(FIRST, data) if scene is clustered_with else Data(AGENT, 2, data))
        (sent,) = play.take()
        assert isinstance(sent, Send)
        return joined(sent.data)

    hints = answers(b"HTTP/1.1 103 Early Hints\r\nServer: x\r\nX-Frame-Options: ALLOW\r\nLink: </a>\r\n\r\n")
    assert hints == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert answers(b"0\r\nServer: x\r\nx_frame-options: ALLOW\r\nX-Sum: 1\r\n\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"


def test_a_response_that_breaks_off_is_still_cut() -> None:
    play = play_with(**EDITS) >> Received(CLIENT, GET)
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
    play.take()
    assert play >> Reset(AGENT, 2) << Close(CLIENT) << Nothing()


@pytest.mark.parametrize("line", [b"Authorization: Basic%b!", b"Authorization: Basic a%bb", b"Cookie:%bx", b"A:%b"])
def test_hostile_fields_take_linear_time(line: bytes) -> None:
    found = Policies((policy(basic_auth=(user("a:b"),), **EDITS),)).of("e1")
    assert found is not None

    def work(size: int) -> None:
        head = RequestHead(b"GET", b"/", 1, b"e1", line % (b" \t" * size) + b"\r\n", True)
        assert not found.knows(head)
        edit = FieldEdit.of(FieldsConfig(remove=("Cookie", "A-B")))
        assert edit is not None
        edit.of_request(head)

    assert grows_linearly(work, 8_000)
