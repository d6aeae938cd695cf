"""Requests that leave through another node of the cluster, and those that come from one."""

import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
)
from pico_core.config.server import ServerConfig
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, GET, GET_SENT, NUMBERED, OK, client_joins, error
from tests.core.server.test_tcp_route import ACCEPTED, ASKING
from tests.neighbours import know
from tests.play import PIKO, Data, End, GoAway, Nothing, Open, Play, joined, node_of, server_play

SEEMS_DEAD_S = 5.0
"""A node that does not answer for so long is unreachable."""

FIRST = 2
SECOND = 4
HOP = b"x-piko-forward: true\r\nx-pico-forward: true\r\nx-piko-endpoint: e1\r\n"
GET_FORWARDED = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + HOP + FORWARDED + b"\r\n"
FROM_NODE = GET[:-2] + HOP + b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
SERVICES_421 = b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n"
PASSED_421 = SERVICES_421[:-2] + NUMBERED + b"\r\n"
MISDIRECTED = SERVICES_421.replace(b"\r\n\r\n", b"\r\nX-Pico-Failure: misdirected\r\n\r\n")
NO_UPSTREAM = error(502, "Bad Gateway", "no available upstreams")


def dial(connection: int, node: int) -> Connect:
    """Return the command that connects to a node's proxy port."""
    return Connect(connection, f"192.0.2.{node}", 8000, 3.0)


def clustered() -> Play:
    """Return a server that knows node 20, which serves e1, and a client."""
    play = server_play()
    know(play, 20)
    return client_joins(play)


def asked() -> Play:
    """Return a play in which a request was forwarded."""
    return (
        clustered()
        >> Received(CLIENT, GET)
        << dial(FIRST, 20)
        >> Connected(FIRST, "192.0.2.20", 8000)
        << Send(FIRST, GET_FORWARDED)
    )


def test_a_request_goes_to_the_node_that_has_the_tunnel_over_connections_that_are_kept() -> None:
    assert (
        asked()
        >> Received(FIRST, OK)
        << Send(CLIENT, OK)
        >> Received(CLIENT, GET)
        << Send(FIRST, GET_FORWARDED)
        >> Received(FIRST, OK)
        << Send(CLIENT, OK)
        >> 62.0
        << Close(FIRST)
    )


def test_an_agent_of_our_own_comes_first() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1")
    assert play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)


def test_a_stale_route_leads_elsewhere() -> None:
    play = asked()
    know(play, 21)
    assert (
        play
        >> Received(FIRST, MISDIRECTED)
        << dial(SECOND, 21)
        >> Connected(SECOND, "192.0.2.21", 8000)
        << Send(SECOND, GET_FORWARDED)
    )
    assert asked() >> Received(FIRST, MISDIRECTED) << Nothing() >> 3.0 << NO_UPSTREAM


def test_a_stale_route_of_a_post_leads_elsewhere_too() -> None:
    play = clustered()
    know(play, 21)
    play >> Received(CLIENT, GET.replace(b"GET", b"POST"))
    (first,) = play.take()
    assert isinstance(first, Connect)
    play >> Connected(FIRST, first.host, 8000)
    play.take()
    other = 41 - int(first.host[-2:])
    assert play >> Received(FIRST, MISDIRECTED) << dial(SECOND, other)


def test_a_misdirected_answer_of_a_service_is_an_answer() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1")
    client_joins(play) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> Data(AGENT, 2, SERVICES_421) << Send(CLIENT, PASSED_421)
    assert asked() >> Received(FIRST, SERVICES_421) << Send(CLIENT, PASSED_421)


def test_a_body_that_cannot_be_repeated_ends_with_the_stale_route() -> None:
    play = clustered()
    know(play, 21)
    body = bytes(100_000)
    head = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 100000\r\n\r\n"
    play >> Received(CLIENT, head + body)
    (first,) = play.take()
    assert isinstance(first, Connect)
    play >> Connected(FIRST, first.host, 8000)
    play.take()
    assert (
        play >> Received(FIRST, MISDIRECTED) << error(502, "Bad Gateway", "upstream unreachable", reason="misdirected")
    )


def test_a_node_that_cannot_be_reached_is_passed_over() -> None:
    play = clustered() >> Received(CLIENT, GET) << dial(FIRST, 20)
    know(play, 21)
    assert (
        play
        >> ConnectFailed(FIRST, "connection refused")
        << dial(SECOND, 21)
        >> ConnectFailed(SECOND, "connection refused")
        << Nothing()
        >> 3.0
        << NO_UPSTREAM
    )
    assert [log.message for log in play.logs if log.level == "warning"] == ["cannot forward to a node"] * 2


def test_a_node_lost_under_a_request_is_passed_over() -> None:
    play = asked()
    play.agent_registers(AGENT, "e1")
    assert play >> ConnectionLost(FIRST, "reset") << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)


def test_a_node_is_not_avoided_for_a_response_that_breaks_off() -> None:
    """The node works: what ended is the service behind it, or the way between them."""
    began = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    play = asked() >> Received(FIRST, began) << Send(CLIENT, began) >> ConnectionLost(FIRST, "reset") << Close(CLIENT)
    know(play, 21)
    asked_nodes = set()
    for connection in range(11, 41, 2):
        client_joins(play, connection) >> Received(connection, GET)
        (command,) = play.take()
        assert isinstance(command, Connect)
        asked_nodes.add(command.host)
    assert asked_nodes == {"192.0.2.20", "192.0.2.21"}


def test_a_client_that_leaves_resets_the_connection_to_the_node() -> None:
    assert asked() >> EofReceived(CLIENT) << Abort(FIRST) << Close(CLIENT)


def test_a_node_that_moved_is_reached_at_its_new_address() -> None:
    play = asked() >> Received(FIRST, OK) << Send(CLIENT, OK)
    know(play, 20).says("proxy_addr", "192.0.2.30:8000")
    assert play >> Received(CLIENT, GET) << dial(SECOND, 30)


def test_a_node_that_is_forgotten_loses_its_connections() -> None:
    """It is silent from the beginning; a minute after the server found it unreachable, nothing is kept of it."""
    play = asked()
    know(play, 20).falls_silent()
    play >> Received(FIRST, OK) << Send(CLIENT, OK) >> 30.0
    assert play >> Received(CLIENT, GET) << Send(FIRST, GET_FORWARDED) >> Received(FIRST, OK) << Send(CLIENT, OK)
    assert node_of(play).facts.view.get("node-20")
    assert play >> 70.0 << Close(FIRST)
    assert node_of(play).facts.view.get("node-20") is None


# --- requests that another node forwards ---


def from_node(play: Play, request: bytes = FROM_NODE) -> Play:
    """Let node 20 connect and forward a request."""
    return play >> Accepted(9, "proxy", "192.0.2.20", 7000) >> Received(9, request)


UPLOAD = FROM_NODE.replace(b"GET", b"POST")[:-2] + b"Content-Length: 100000\r\n\r\n"
UPLOAD_SENT = (
    b"POST / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 100000\r\nX-Forwarded-For: 203.0.113.9\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: e1.example.com\r\n" + NUMBERED + b"\r\n"
)


def with_leaving_agent(play: Play) -> Play:
    """Let an agent of ours register in a cluster of two, and say that it leaves."""
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    return play >> GoAway(AGENT) << Nothing()


def test_a_request_whose_sender_could_not_know_is_served_by_an_agent_that_leaves() -> None:
    play = with_leaving_agent(clustered())
    assert from_node(play, UPLOAD) << Open(AGENT, 2) << Data(AGENT, 2, UPLOAD_SENT)
    play >> 2.0 >> Received(9, bytes(100_000)) << Data(AGENT, 2, bytes(100_000)) << Nothing()
    assert play >> Data(AGENT, 2, OK) << GoAway(AGENT) << End(AGENT, 2) << Close(AGENT) << Send(9, OK)


def test_a_request_that_its_sender_keeps_goes_back_to_it() -> None:
    play = from_node(with_leaving_agent(clustered()))
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    piko = FROM_NODE.replace(b"x-pico-forward: true\r\n", b"")
    first, *_ = from_node(with_leaving_agent(clustered()), piko).take()
    assert first == Open(AGENT, 2), "a Piko node would not send it again"


def test_requests_of_clients_do_not_go_to_an_agent_that_leaves() -> None:
    play = with_leaving_agent(clustered())
    assert play >> Received(CLIENT, GET) << dial(FIRST, 20)


def test_an_agent_of_pikos_that_is_sent_away_serves_what_was_sent_before() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1", PIKO)
    node_of(play).shed(1, play.now)
    play >> 0.0 << GoAway(AGENT)
    assert from_node(play, UPLOAD) << Open(AGENT, 2) << Data(AGENT, 2, UPLOAD_SENT)


def test_an_agent_that_leaves_is_done_when_all_nodes_have_heard() -> None:
    play = with_leaving_agent(clustered())
    assert play >> 0.9 << Nothing() >> 1.1 << GoAway(AGENT) << Close(AGENT)
    play = with_leaving_agent(clustered()) >> EofReceived(AGENT) << Close(AGENT)
    assert play >> ConnectionLost(AGENT, "") >> 2.0 << Nothing()
    answer, *_ = from_node(play, UPLOAD).take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 421 ")


def test_a_node_is_trusted_to_report_the_client() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1")
    expected = (
        b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nX-Forwarded-For: 203.0.113.9\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: e1.example.com\r\n" + NUMBERED + b"\r\n"
    )
    assert from_node(play) << Open(AGENT, 2) << Data(AGENT, 2, expected)


def test_a_request_makes_one_hop_only() -> None:
    assert from_node(clustered()) << error(
        421,
        "Misdirected Request",
        "no available upstreams",
        "X-Pico-Failure: misdirected",
        client=9,
        reason="misdirected",
        entry=False,
    )
    piko = FROM_NODE.replace(b"x-pico-forward: true\r\n", b"")
    assert from_node(clustered(), piko) << error(502, "Bad Gateway", "no available upstreams", client=9)


def test_the_mark_of_an_outsider_counts_for_nothing() -> None:
    assert (
        clustered()
        >> Received(CLIENT, FROM_NODE)
        << dial(FIRST, 20)
        >> Connected(FIRST, "192.0.2.20", 8000)
        << Send(FIRST, GET_FORWARDED)
    )


# --- TCP routes ---


def test_a_tcp_route_is_forwarded_as_an_upgrade() -> None:
    play = clustered() >> Received(CLIENT, ASKING) << dial(FIRST, 20) >> Connected(FIRST, "192.0.2.20", 8000)
    (sent,) = play.take()
    assert isinstance(sent, Send)
    assert joined(sent.data).startswith(b"GET /_piko/v1/tcp/e1 HTTP/1.1\r\n")
    (accepted,) = (play >> Received(FIRST, joined(ACCEPTED.data))).take()
    assert isinstance(accepted, Send)
    assert sorted(joined(accepted.data).splitlines()) == sorted(joined(ACCEPTED.data).splitlines())
    assert play >> Received(CLIENT, b"raw") << Send(FIRST, b"raw") >> Received(FIRST, b"back") << Send(CLIENT, b"back")


def test_a_tcp_route_is_checked_before_it_leaves() -> None:
    asking = ASKING.replace(b"Upgrade: websocket", b"Upgrade: foo")
    refused = error(400, "Bad Request", "not a WebSocket handshake of version 13")
    assert clustered() >> Received(CLIENT, asking) << refused >> 60.0


def test_without_a_node_to_forward_to() -> None:
    assert clustered() >> Received(CLIENT, GET.replace(b"e1", b"e2")) << NO_UPSTREAM << Nothing()


def test_a_get_does_not_wait_for_a_node_that_seems_dead() -> None:
    play = asked()
    know(play, 21)
    know(play, 22, "e2").falls_silent()
    assert play >> SEEMS_DEAD_S << Nothing()
    assert [log.fields["node"] for log in play.logs if log.message == "node unreachable"] == ["node-22"]
    know(play, 20).falls_silent()
    play = play >> 2 * SEEMS_DEAD_S << Abort(FIRST) << dial(SECOND, 21) >> Connected(SECOND, "192.0.2.21", 8000)
    assert play << Send(SECOND, GET_FORWARDED)


def test_a_post_waits_for_a_node_that_seems_dead() -> None:
    play = clustered() >> Received(CLIENT, GET.replace(b"GET", b"POST")) << dial(FIRST, 20)
    play >> Connected(FIRST, "192.0.2.20", 8000)
    play.take()
    know(play, 20).falls_silent()
    assert play >> SEEMS_DEAD_S << Nothing()
    assert [log.fields["node"] for log in play.logs if log.message == "node unreachable"] == ["node-20"]


def test_nothing_is_kept_of_a_request_that_found_no_route() -> None:
    play = asked() >> Received(FIRST, MISDIRECTED) << Nothing() >> 3.0 << NO_UPSTREAM
    assert play
    machine = play.machine
    assert isinstance(machine, ServerNode)
    assert not machine.peers.exchanges


@pytest.mark.parametrize(
    ("max_connections", "count", "kept"),
    [
        pytest.param(0, 500, 500, id="all fit into the part of the descriptors that is reserved for them"),
        pytest.param(8 * 400, 500, 400, id="as many as fit"),
        pytest.param(8 * 240, 500, 256, id="a few at least"),
        pytest.param(8 * 5_000, 4_097, 4_096, id="however many fit"),
    ],
)
def test_connections_to_a_node_are_kept_after_a_burst(max_connections: int, count: int, kept: int) -> None:
    play = server_play(ServerConfig(max_connections=max_connections))
    know(play, 20)
    clients = range(1_001, 1_001 + 2 * count, 2)
    for number in clients:
        client_joins(play, number) >> Received(number, GET)
    connects: list[int] = []
    while opening := [each.connection for each in play.take() if isinstance(each, Connect)]:
        for connection in opening:
            play >> Connected(connection, "192.0.2.20", 8000)
        connects += opening
    assert len(connects) == len(clients)
    for connection in connects:
        play >> Received(connection, OK)
        if Close(connection) in play.take():
            play >> ConnectionLost(connection, "")
    for number in clients:
        play >> Received(number, GET)
    assert sum(isinstance(each, Send) for each in play.take()) == kept
