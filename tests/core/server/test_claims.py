"""The owner of an endpoint: second agents, and what an endpoint speaks, at one node and at two."""

import pytest

from pico_core.boundary import Accepted, Connected, ConnectionLost, Received, Send
from pico_core.config.policies import PolicyConfig
from pico_core.config.server import ServerConfig
from pico_core.server.claims import Registration
from pico_core.tunnel.agreement import SECOND_AGENT_CAME
from tests.core.proxy.scene import AGENT, CLIENT, GET, client_joins, error
from tests.core.server.test_peers import FIRST, FROM_NODE, GET_FORWARDED, SEEMS_DEAD_S, dial
from tests.core.server.test_tcp_route import ACCEPTED, ASKING
from tests.core.server.tunnel_scene import HANDSHAKE, SECOND
from tests.neighbours import know
from tests.play import GoAway, Notice, Open, Play, joined, node_of, server_play

ONE = (b"x-pico-agent", b"one")
TWO = (b"x-pico-agent", b"two")
SPEAKS_HTTP = (b"x-pico-protocol", b"http")
SPEAKS_TCP = (b"x-pico-protocol", b"tcp")
WARNING = "a second agent serves an endpoint"
IS_TCP = "this endpoint takes TCP connections and no HTTP requests: see 'pico forward tcp --help'"
IS_HTTP = "this endpoint takes HTTP requests and no TCP connections"
NOT_TCP = error(404, "Not Found", IS_HTTP)
NOT_HTTP = error(404, "Not Found", IS_TCP)


def under(second_agent: str) -> Play:
    return server_play(ServerConfig(policies=(PolicyConfig(endpoints=("e1",), second_agent=second_agent),)))


def registers(play: Play, *headers: tuple[bytes, bytes], connection: int = SECOND, host: str = "192.0.2.1") -> bytes:
    """Let an agent ask for e1, and return the answer."""
    asking = b"".join(b"%b: %b\r\n" % header for header in headers)
    request = HANDSHAKE.replace(b"my-endpoint", b"e1")[:-2] + asking + b"\r\n"
    play >> Accepted(connection, "upstream", host, 4000) >> Received(connection, request)
    answer = play.take()[0]
    assert isinstance(answer, Send)
    return joined(answer.data)


def warnings(play: Play) -> list[str]:
    return [str(log.fields["other_at"]) for log in play.logs if log.message == WARNING]


def identity(*headers: tuple[bytes, bytes], client: str = "192.0.2.1", owner: str = "") -> str:
    return Registration.read(b"".join(b"%b: %b\r\n" % each for each in headers), "e1", client, owner).identity


# --- second agents ---


def test_the_same_agent_may_have_several_tunnels_and_come_again() -> None:
    for policy in ("warn", "refuse"):
        play = under(policy)
        play.agent_registers(AGENT, "e1", ONE, (b"x-piko-instance", b"1"))
        assert b"x-pico-notice" not in registers(play, ONE, (b"x-piko-instance", b"2"))
        assert b" 101 " in registers(play, ONE, (b"x-piko-instance", b"1"), connection=9, host="198.51.100.1")
        assert warnings(play) == []


def test_both_sides_are_told_of_a_second_agent() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", ONE)
    answer = registers(play, TWO)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nx-pico-notice: second-agent\r\n\r\n" in answer
    assert warnings(play) == ["this node"]
    assert node_of(play).facts.metrics.second_agents == {"accepted": 1, "refused": 0}
    assert b"x-pico-notice" not in registers(play, TWO, connection=9), "once is enough"


def test_the_first_agent_is_told_when_the_second_comes() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", ONE)
    request = HANDSHAKE.replace(b"my-endpoint", b"e1")[:-2] + b"x-pico-agent: two\r\n\r\n"
    play >> Accepted(SECOND, "upstream", "192.0.2.1", 4000) >> Received(SECOND, request)
    assert Notice(AGENT, SECOND_AGENT_CAME) in play.take()
    play >> Accepted(9, "upstream", "192.0.2.1", 4000) >> Received(9, request)
    assert not any(isinstance(each, Notice) for each in play.take()), "it is known"


@pytest.mark.parametrize("policy", ["warn", "allow"])
def test_the_first_agent_is_told_of_one_at_another_node(policy: str) -> None:
    play = under(policy)
    play.agent_registers(AGENT, "e1", ONE)
    know(play, 20, claim=f"http {identity(ONE)}")
    assert not any(isinstance(each, Notice) for each in play.take()), "its own tunnel there"
    know(play, 21, claim=f"http {identity(ONE)} {identity(TWO)}")
    assert (Notice(AGENT, SECOND_AGENT_CAME) in play.take()) is (policy == "warn")


def test_agents_without_a_name_are_told_apart_by_their_address() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1")
    assert b"x-pico-notice" not in registers(play)
    assert b"x-pico-notice" in registers(play, connection=9, host="192.0.2.2")


def test_a_second_agent_may_be_allowed() -> None:
    play = under("allow")
    play.agent_registers(AGENT, "e1", ONE)
    assert b"x-pico-notice" not in registers(play, TWO)
    assert warnings(play) == []


def test_a_second_agent_may_be_refused_until_the_first_has_left() -> None:
    play = under("refuse")
    play.agent_registers(AGENT, "e1", ONE)
    answer = registers(play, TWO)
    assert answer.startswith(b"HTTP/1.1 409 Conflict\r\n")
    assert b"\r\nRetry-After: 5\r\n" in answer
    assert b'{"error":"another agent serves this endpoint, and its policy lets only one"}' in answer
    assert node_of(play).facts.metrics.second_agents == {"accepted": 0, "refused": 1}
    play >> GoAway(AGENT)
    play.take()
    assert registers(play, TWO, connection=9).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("policy", ["warn", "refuse"])
def test_a_second_agent_at_another_node(policy: str) -> None:
    play = under(policy)
    peer = know(play, 20, claim=f"http {identity(ONE)}")
    assert b" 101 " in registers(play, ONE), "the same agent moves"
    answer = registers(play, TWO, connection=9)
    if policy == "refuse":
        assert answer.startswith(b"HTTP/1.1 409 ")
    else:
        assert b"x-pico-notice" in answer
        assert warnings(play) == ["this node, node-20"]
    peer.falls_silent()
    play >> SEEMS_DEAD_S >> ConnectionLost(SECOND, "")
    play.take()
    assert b" 101 " in registers(play, TWO, connection=11), "a node that is gone holds nothing"


def test_what_a_piko_node_serves_is_nobodys() -> None:
    play = under("refuse")
    know(play, 20)
    assert b" 101 " in registers(play, TWO)


def test_the_owner_of_a_token_counts_and_not_the_agent() -> None:
    assert identity(ONE, owner="team") == identity(TWO, owner="team")
    assert identity(ONE, owner="team") != identity(ONE, owner="other")
    assert len({identity(ONE), identity(TWO), identity(), identity(client="192.0.2.2"), identity(owner="one")}) == 5
    assert len(identity(owner="x" * 10_000)) == 16


# --- what an endpoint speaks ---


def test_http_requests_do_not_reach_tcp_endpoints() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", SPEAKS_TCP)
    assert client_joins(play) >> Received(CLIENT, GET) << NOT_HTTP
    assert play >> Received(CLIENT, ASKING) << Open(AGENT, 2) << ACCEPTED
    metrics = node_of(play).facts.metrics
    assert (metrics.failures["tcp-endpoint"], metrics.upstream_requests) == (1, 1)


def test_tcp_connections_do_not_reach_http_endpoints() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", SPEAKS_HTTP)
    assert client_joins(play) >> Received(CLIENT, ASKING) << NOT_TCP
    play >> Received(CLIENT, GET)
    assert play.take()[0] == Open(AGENT, 2)


def test_an_agent_that_does_not_tell_gets_both() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1")
    assert client_joins(play) >> Received(CLIENT, ASKING) << Open(AGENT, 2) << ACCEPTED


def test_the_first_node_refuses_by_what_the_other_tells() -> None:
    play = server_play()
    know(play, 20, claim="tcp 0123456789abcdef")
    assert client_joins(play) >> Received(CLIENT, GET) << NOT_HTTP
    assert play >> Received(CLIENT, ASKING) << dial(FIRST, 20)
    play = server_play()
    know(play, 20, claim="http 0123456789abcdef")
    assert client_joins(play) >> Received(CLIENT, ASKING) << NOT_TCP
    assert play >> Received(CLIENT, GET) << dial(FIRST, 20)


def test_a_node_with_the_right_protocol_is_chosen() -> None:
    play = server_play()
    know(play, 20, claim="tcp a")
    know(play, 21, claim="- a")
    play.agent_registers(AGENT, "e1", SPEAKS_TCP)
    assert client_joins(play) >> Received(CLIENT, GET) << dial(FIRST, 21)


def test_the_node_with_the_tunnel_refuses_what_was_forwarded() -> None:
    play = server_play()
    know(play, 20)
    play.agent_registers(AGENT, "e1", SPEAKS_TCP)
    play >> Accepted(CLIENT, "proxy", "192.0.2.20", 5000) >> Received(CLIENT, FROM_NODE)
    assert play << error(404, "Not Found", IS_TCP, "X-Pico-Failure: tcp-endpoint", entry=False)
    from_piko = FROM_NODE.replace(b"x-pico-forward: true\r\n", b"")
    assert play >> Received(CLIENT, from_piko) << NOT_HTTP


def test_a_refusal_of_the_other_node_is_passed_on_as_ours() -> None:
    play = server_play()
    know(play, 20)
    client_joins(play) >> Received(CLIENT, GET) << dial(FIRST, 20)
    play >> Connected(FIRST, "192.0.2.20", 8000) << Send(FIRST, GET_FORWARDED)
    refused = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX-Pico-Failure: tcp-endpoint\r\n\r\n"
    assert play >> Received(FIRST, refused) << NOT_HTTP


def test_an_agent_that_says_something_else_is_refused() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", SPEAKS_HTTP)
    answer = registers(play, SPEAKS_TCP)
    assert answer.startswith(b"HTTP/1.1 409 ")
    assert b'{"error":"another agent serves this endpoint as http, this one as tcp"}' in answer
    play = server_play()
    know(play, 20, claim="tcp x")
    assert registers(play, SPEAKS_HTTP).startswith(b"HTTP/1.1 409 ")
    assert registers(play, connection=9).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("claim", ["", " ", "x", "HTTP a", "-", "tcp", "\x00" * 100, "http " + "a " * 500])
def test_odd_claims_of_nodes_do_no_harm(claim: str) -> None:
    play = under("refuse")
    know(play, 20, claim=claim)
    client_joins(play) >> Received(CLIENT, GET)
    assert play.take()
    assert registers(play, TWO).startswith(b"HTTP/1.1 ")


# --- what nodes tell each other ---


def told(play: Play) -> dict[str, str]:
    gossip = node_of(play).facts.gossip
    entries = gossip.entries("node-1") or []
    return {each.key: each.value for each in entries if "endpoint:" in each.key and not each.deleted}


def test_other_nodes_are_told_without_a_change_of_what_piko_reads() -> None:
    play = server_play()
    play.agent_registers(AGENT, "E1", ONE, SPEAKS_TCP)
    play.agent_registers(SECOND, "e1", TWO, SPEAKS_TCP)
    identities = " ".join(sorted((identity(ONE), identity(TWO))))
    assert told(play) == {"_internal:pico:endpoint:e1": f"tcp {identities}", "endpoint:e1": "2"}
    for connection in (AGENT, SECOND):
        play >> ConnectionLost(connection, "")
    play.take()
    assert told(play) == {}


def test_what_is_told_has_a_bound() -> None:
    play = server_play()
    for connection in range(1, 21, 2):
        play.agent_registers(connection, "e1", (b"x-pico-agent", b"%d" % connection))
    assert len(told(play)["_internal:pico:endpoint:e1"]) == len("-") + 4 * 17
