"""The fields of a registration in both directions, and several listeners of one agent."""

import re

import pytest
from msgspec.structs import replace

from pico_core.boundary import (
    Close,
    Connect,
    Connected,
    ConnectionLost,
    EofReceived,
    Exit,
    Received,
    Send,
    ShutdownRequested,
)
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.values import Origin
from pico_core.mux.frame import DATA, HEADER, SYN
from pico_core.tunnel.agreement import FIRST_WINDOW, SECOND_AGENT, SECOND_AGENT_CAME
from pico_core.websocket.encoding import encode_frame
from pico_core.websocket.handshake import accept_handshake
from tests.core.agent.listener_scene import FINAL, NEXT, again, connecting, refusal, registered_raw, server, warnings
from tests.core.agent.scene import CONNECT, DIAL, GET, OK, SERVER, SERVICE, agent_config, asked, registered
from tests.play import Data, End, GoAway, Nothing, Notice, Open, Play, agent_play, joined


@pytest.mark.parametrize(("answer", "sent_bytes"), [((FIRST_WINDOW,), 65_536), ((), 262_144)])
def test_the_first_window_of_streams_is_the_one_that_the_server_agrees_to(
    answer: tuple[tuple[bytes, bytes], ...], sent_bytes: int
) -> None:
    play = registered_raw(answer)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    frames = HEADER.pack(DATA, SYN, 2, len(head)) + head
    play >> Received(SERVER, b"\x82%c" % len(frames) + frames)
    (connect,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> Connected(connect.connection, "127.0.0.1", 3000)
    play.take()
    play >> Received(connect.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
    sent = b"".join(joined(each.data) for each in play.take() if isinstance(each, Send))
    assert sent_bytes < len(sent) < sent_bytes + 200


def test_an_agent_has_one_name_and_each_of_its_listeners_another() -> None:
    config = agent_config()
    second = replace(config.listeners[0], endpoint_id="e2", protocol="tcp")
    play = agent_play(replace(config, listeners=(*config.listeners, second)))
    assert play << CONNECT << server(NEXT)
    play >> Connected(SERVER, "127.0.0.1", 8001) >> Connected(NEXT, "127.0.0.1", 8001)
    one, two = [joined(each.data) for each in play.take() if isinstance(each, Send)]
    assert b"\r\nx-pico-protocol: tcp\r\n" in two
    names = re.compile(rb"x-pi[ck]o-(agent|instance): ([0-9a-f]{16})\r\n")
    first, other = dict(names.findall(one)), dict(names.findall(two))
    assert first[b"agent"] == other[b"agent"]
    assert first[b"instance"] != other[b"instance"]


def test_another_agent_at_the_endpoint_is_told_of() -> None:
    play = registered_raw((SECOND_AGENT,))
    assert play
    assert warnings(play) == ["another agent serves this endpoint too, and gets a part of its requests"]
    assert warnings(registered_raw(((b"x-pico-notice", b"something newer"),))) == []


def test_another_agent_that_comes_later_is_told_of_once() -> None:
    play = registered()
    for text in (b"something newer", SECOND_AGENT_CAME, SECOND_AGENT_CAME):
        play >> Notice(SERVER, text)
    assert play
    assert warnings(play) == ["another agent serves this endpoint too, and gets a part of its requests"]


def test_an_endpoint_that_is_another_agents_is_asked_for_again() -> None:
    answer = refusal(b"409 Conflict").replace(b"\r\n", b"\r\nRetry-After: 5\r\n", 1)
    play = connecting() >> Received(SERVER, answer) << Close(SERVER) >> ConnectionLost(SERVER, "")
    assert play >> 4.9 << Nothing()
    assert play >> 10.1 << server(NEXT)
    assert warnings(play) == ["the server refused: 409 why"]


# --- several listeners ---


def two_listeners() -> Play:
    listeners = tuple(ListenerConfig(endpoint_id=name, addr=Origin("127.0.0.1", 3000)) for name in ("e1", "e2"))
    return agent_play(AgentConfig(listeners=listeners, connect=agent_config().connect)) << server(2) << server(4)


def test_every_listener_has_its_own_tunnel_and_the_last_one_ends_the_agent() -> None:
    play = two_listeners()
    play.server_accepts(2)
    play.server_accepts(4)
    assert play >> Open(4, 2) >> Data(4, 2, GET) << Connect(6, "127.0.0.1", 3000, 10.0)
    assert play >> ShutdownRequested() << GoAway(2) << GoAway(4) << Close(2)
    assert play >> ConnectionLost(4, "reset") << Exit(0, "")


def refused(play: Play, connection: int) -> Play:
    """Let the server refuse the endpoint that asks through ``connection``."""
    play >> Connected(connection, "127.0.0.1", 8001)
    play.take()
    return play >> Received(connection, FINAL) << Close(connection)


def test_one_endpoint_refused_for_good_leaves_the_others() -> None:
    play = two_listeners()
    play.server_accepts(2)
    assert refused(play, 4) >> ConnectionLost(4, "") >> 60.0
    (told,) = [log for log in play.logs if log.level == "error"]
    assert (told.message, told.fields["endpoint"], told.fields["reason"]) == ("endpoint refused", "e2", "400 why")
    assert play >> Open(2, 2) >> Data(2, 2, GET) << Connect(6, "127.0.0.1", 3000, 10.0)


def test_the_last_endpoint_refused_for_good_ends_the_agent() -> None:
    play = refused(two_listeners(), 2)
    assert refused(play, 4) << Exit(1, "the server at http://127.0.0.1:8001 refused endpoint 'e2': 400 why")


def test_leaving_after_a_refusal() -> None:
    play = two_listeners()
    play.server_accepts(2)
    assert refused(play, 4) >> ShutdownRequested() << GoAway(2) << Close(2) << Exit(0, "")


def test_a_refusal_while_a_tunnel_serves_is_tried_again() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT)
    assert refused(play, NEXT) >> 0.2 << again(6)
    assert play >> Open(SERVER, 2) >> Data(SERVER, 2, GET) << Connect(8, "127.0.0.1", 3000, 10.0)


def test_the_last_stream_may_end_from_either_side() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000) << Send(SERVICE, GET)
    assert (
        play
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, OK)
        >> ShutdownRequested()
        << GoAway(SERVER)
        >> End(SERVER, 2)
        << End(SERVER, 2)
        << Close(SERVER)
        << Exit(0, "")
    )


def test_frames_right_behind_the_registration_count() -> None:
    play = agent_play(agent_config()) << CONNECT >> Connected(SERVER, "127.0.0.1", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    go_away = joined(encode_frame((HEADER.pack(3, 0, 0, 0),), 12, None))
    assert play >> Received(SERVER, accept_handshake(joined(request.data)) + go_away) << again(NEXT)


def test_an_old_tunnel_lost_before_it_was_left() -> None:
    play = registered() >> GoAway(SERVER) << again(NEXT)
    play.server_accepts(NEXT)
    assert play >> 1.0 >> EofReceived(SERVER) << Close(SERVER) >> ConnectionLost(SERVER, "") >> 60.0
    assert warnings(play) == []


# --- the name of an endpoint ---


@pytest.mark.parametrize(
    ("endpoint", "protocol", "told"),
    [
        ("a.b", "http", "no host name reaches this endpoint: clients have to name it with the header x-pico-endpoint"),
        ("x" * 64, "http", "no host name reaches this endpoint"),
        ("a:b", "http", "no host name reaches this endpoint"),
        ("Api", "http", "an endpoint ID has no case in Pico, and only its header reaches this one in a Piko cluster"),
        ("a.b", "tcp", ""),
        ("my-api_2", "http", ""),
    ],
)
def test_an_endpoint_that_no_host_name_reaches(endpoint: str, protocol: str, told: str) -> None:
    listener = replace(agent_config(protocol).listeners[0], endpoint_id=endpoint)
    play = agent_play(replace(agent_config(), listeners=(listener,))) << CONNECT
    assert play
    assert [message.startswith(told) for message in warnings(play)] == ([True] if told else [])
