"""A response that breaks off: the access log says which side ended it, the metric counts it, the client can tell."""

import json
from collections.abc import Callable

import pytest

from pico_core.boundary import Abort, Close, Connected, ConnectionLost, EofReceived, Received, Send
from pico_core.server.node import ServerNode
from tests.core.agent.scene import DIAL, SERVER, SERVICE
from tests.core.agent.scene import GET as GET_IN_TUNNEL
from tests.core.agent.scene import asked as asked_of_agent
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, proxy_play
from tests.core.server.test_peers import FIRST, GET_FORWARDED, clustered, dial
from tests.play import Cue, Data, End, Open, Play, Reset

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhalf"
BODIES = {SIZED: SIZED, CHUNKED: CHUNKED, UNTIL_CLOSE: CHUNKED}
"""What the upstream sends, and what is passed on: a body without length has chunks from there on."""

ENDED_BY_CLIENT = {"client": 1, "upstream": 0}
ENDED_BY_UPSTREAM = {"client": 0, "upstream": 1}
WHOLE = {"client": 0, "upstream": 0}

by_body = pytest.mark.parametrize("began", BODIES, ids=["sized", "chunked", "until close"])


def incomplete(play: Play) -> object:
    """Return which side the only line of the access log names; it also must tell what the client has seen."""
    (line,) = [json.loads(b"{" + line + b"}") for line in play.access_log]
    assert line["status"] == 200
    return line.get("incomplete")


def reason(play: Play) -> object:
    (line,) = [json.loads(b"{" + line + b"}") for line in play.access_log]
    return line["reason"]


def counted(play: Play) -> dict[str, int]:
    assert isinstance(play.machine, ServerNode)
    return play.machine.facts.metrics.incomplete


def tunnelled(began: bytes) -> Play:
    """Return a server whose agent has sent the beginning of a response."""
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    return play >> Data(AGENT, 2, began) << Send(CLIENT, BODIES[began])


def through_a_node(began: bytes) -> Play:
    """Return a server to which another node has sent the beginning of a response."""
    play = clustered() >> Received(CLIENT, GET) << dial(FIRST, 20)
    play >> Connected(FIRST, "192.0.2.20", 8000) << Send(FIRST, GET_FORWARDED)
    return play >> Received(FIRST, began) << Send(CLIENT, BODIES[began])


@by_body
def test_the_agents_stream_is_reset(began: bytes) -> None:
    play = tunnelled(began)
    assert play >> Reset(AGENT, 2) << Close(CLIENT)
    assert (incomplete(play), counted(play)) == ("upstream", ENDED_BY_UPSTREAM)
    assert reason(play) == "service-lost"


@by_body
def test_the_tunnel_is_lost(began: bytes) -> None:
    play = tunnelled(began)
    assert play >> ConnectionLost(AGENT, "reset") << Close(CLIENT)
    assert reason(play) == "tunnel-lost"


@by_body
def test_the_agents_tunnel_is_lost(began: bytes) -> None:
    play = tunnelled(began)
    assert play >> ConnectionLost(AGENT, "reset") << Close(CLIENT)
    assert (incomplete(play), counted(play)) == ("upstream", ENDED_BY_UPSTREAM)


def test_the_other_nodes_connection_ends_and_with_it_a_body_without_length() -> None:
    play = through_a_node(UNTIL_CLOSE) >> EofReceived(FIRST)
    assert Send(CLIENT, b"0\r\n\r\n") in play.take(), "the body ends as it should"
    assert (incomplete(play), counted(play)) == (None, WHOLE)


LOST = ConnectionLost(FIRST, "reset")


@pytest.mark.parametrize(
    ("began", "end"),
    [*((each, LOST) for each in BODIES), (SIZED, EofReceived(FIRST)), (CHUNKED, EofReceived(FIRST))],
)
def test_the_other_nodes_connection_ends_too_early(began: bytes, end: ConnectionLost | EofReceived) -> None:
    play = through_a_node(began) >> end
    commands = play.take()
    assert Close(CLIENT) in commands
    assert not any(isinstance(each, Send) for each in commands), "no last chunk, so that the client can tell"
    assert (incomplete(play), counted(play)) == ("upstream", ENDED_BY_UPSTREAM)


@pytest.mark.parametrize("through", [tunnelled, through_a_node])
@by_body
def test_the_client_leaves(began: bytes, through: Callable[[bytes], Play]) -> None:
    play = through(began) >> ConnectionLost(CLIENT, "reset")
    assert play.take()
    assert (incomplete(play), counted(play)) == ("client", ENDED_BY_CLIENT)


@by_body
def test_a_whole_response_is_not_marked(began: bytes) -> None:
    play = tunnelled(began)
    rest: dict[bytes, Cue] = {SIZED: Data(AGENT, 2, b" done"), CHUNKED: Data(AGENT, 2, b"0\r\n\r\n")}
    play >> (rest.get(began) or End(AGENT, 2))
    assert play.take()
    assert (incomplete(play), counted(play)) == (None, WHOLE)


@by_body
def test_an_agent_whose_service_breaks_off(began: bytes) -> None:
    play = asked_of_agent() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET_IN_TUNNEL)
    play >> Received(SERVICE, began) << Data(SERVER, 2, BODIES[began])
    assert play >> ConnectionLost(SERVICE, "reset") << End(SERVER, 2)
    assert incomplete(play) == "upstream"


@by_body
def test_an_agent_whose_server_is_not_interested_any_more(began: bytes) -> None:
    play = asked_of_agent() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET_IN_TUNNEL)
    play >> Received(SERVICE, began) << Data(SERVER, 2, BODIES[began])
    assert play >> Reset(SERVER, 2) << Abort(SERVICE)
    assert incomplete(play) == "client"
