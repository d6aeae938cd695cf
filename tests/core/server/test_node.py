"""The life of a server: opening ports, admin, draining, leaving."""

import random

import msgspec
import pytest

from pico_core.boundary import (
    Accepted,
    Close,
    ConnectionLost,
    DatagramReceived,
    EofReceived,
    Exit,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Received,
    Resolve,
    Resolved,
    Send,
    SendEof,
    ShutdownRequested,
    StopListening,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.server import ClusterConfig, GossipConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.play import Data, End, GoAway, Nothing, Open, Play, server_play

ADMIN = 21
CLOSING_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
STOPPED = (StopListening("upstream"), StopListening("proxy"))


def text(status: bytes, body: bytes, kind: bytes = b"text/plain; charset=utf-8", more: bytes = b"") -> Send:
    """Return an answer of the admin port; ``more`` are the last field lines."""
    more += b"retry-after: 1\r\n" if status.startswith(b"503") else b""
    return Send(
        ADMIN,
        b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-content-type-options: nosniff\r\n%b\r\n%b"
        % (status, kind, len(body), more, body),
    )


CLOSING = b"connection: close\r\nallow: GET, HEAD\r\n"


def ask(path: bytes) -> Received:
    """Return a request to the admin port."""
    return Received(ADMIN, b"GET %b HTTP/1.1\r\nHost: pico:8002\r\n\r\n" % path)


def operator(play: Play) -> Play:
    """Let an operator connect to the admin port."""
    return play >> Accepted(ADMIN, "admin", "192.0.2.3", 6000)


# --- start ---


def test_the_admin_port_opens_first_and_says_when_the_node_is_ready() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    assert play.take()[0] == Listen("admin", "", 8002)
    play >> Listening("admin", "::", 8002)
    assert (
        operator(play)
        >> ask(b"/health")
        << text(b"200 OK", b"ok\n")
        >> ask(b"/ready")
        << text(b"503 Service Unavailable", b"starting\n")
    )
    ready = operator(server_play())
    assert ready >> ask(b"/ready") << text(b"200 OK", b"running\n")
    messages = [(log.subsystem, log.message) for log in ready.logs]
    assert messages[-1] == ("server", "ready")
    assert ("proxy", "listening") in messages
    assert ready.logs[0].fields == {"addr": "0.0.0.0:8002"}


@pytest.mark.parametrize(
    ("listener", "key", "address"),
    [("proxy", "proxy", ":8000"), ("upstream", "upstream", ":8001"), ("gossip-streams", "cluster.gossip", ":8003")],
)
def test_a_port_that_cannot_be_opened_ends_the_node(listener: str, key: str, address: str) -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    play.take()
    name = listener.removesuffix("-streams")
    assert (
        play
        >> ListenFailed(listener, "address already in use")
        << Exit(
            1,
            f"cannot listen on {name} address '{address}': address already in use; "
            f"choose another one with --{key}.bind-addr",
        )
    )


# --- admin ---


def test_unknown_paths_and_methods() -> None:
    assert (
        operator(server_play())
        >> ask(b"/nowhere")
        << text(b"404 Not Found", b'{"error": "not found"}', b"application/json")
        >> Received(ADMIN, b"POST /health HTTP/1.1\r\nHost: pico\r\nContent-Length: 0\r\n\r\n")
        << text(b"405 Method Not Allowed", b"only GET and HEAD are served here\n", more=CLOSING)
        << SendEof(ADMIN)
    )


# --- stop ---


def test_an_idle_node_still_serves_for_the_drain_delay() -> None:
    play = server_play() >> 100.0 >> ShutdownRequested()
    assert (
        client_joins(operator(play))
        >> ask(b"/ready")
        << text(b"503 Service Unavailable", b"draining\n")
        >> ask(b"/health")
        << text(b"200 OK", b"ok\n")
        >> 102.0
        >> Received(CLIENT, GET)
        << Nothing()
        >> 105.0
        << error(502, "Bad Gateway", "no available upstreams", "Connection: close")
        << SendEof(CLIENT)
        >> 106.5
        << STOPPED[0]
        << STOPPED[1]
        << Exit(0, "")
    )


def test_a_node_that_stops_says_what_it_waits_for_and_for_how_long() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> ShutdownRequested()
    assert play
    assert [log.fields for log in play.logs if log.message == "draining"] == [
        {"requests": 1, "tunnels": 1, "at_most_s": 45.0, "hint": "a second signal stops it at once"}
    ]


def test_agents_are_asked_to_go_elsewhere_one_after_the_other() -> None:
    play = server_play()
    for connection in (AGENT, 3, 5, 7):
        play.agent_registers(connection, "e1", (b"x-piko-instance", b"%d" % connection))
    assert (
        play
        >> ShutdownRequested()
        << Nothing()
        >> 0.1
        << GoAway(AGENT)
        >> 0.3
        << GoAway(3)
        >> 0.55
        << GoAway(5)
        >> 0.8
        << GoAway(7)
        >> 4.9
        << Nothing()
    )
    done = (play >> 6.5).take()
    assert done == [*STOPPED, Close(AGENT), Close(3), Close(5), Close(7), Exit(0, "")]


def test_an_agent_that_does_not_understand_is_let_go_when_its_requests_end() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> ShutdownRequested()
    assert (
        play
        >> 0.1
        << GoAway(AGENT)
        >> Data(AGENT, 2, OK)
        << End(AGENT, 2)
        << Close(AGENT)
        << Send(CLIENT, CLOSING_OK)
        << SendEof(CLIENT)
    )


def test_a_request_in_flight_is_waited_for_and_answered_with_close() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    assert (
        client_joins(play)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> ShutdownRequested()
        >> 20.0
        << GoAway(AGENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, CLOSING_OK)
        << SendEof(CLIENT)
        >> 21.5
        << STOPPED[0]
        << STOPPED[1]
        << Close(AGENT)
        << Exit(0, "")
    )
    assert play.logs[-1].fields == {"in_flight": 0}


def test_requests_still_work_while_the_node_drains() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    assert (
        client_joins(client_joins(play), 5)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> ShutdownRequested()
        >> 1.0
        << GoAway(AGENT)
        >> Received(5, GET)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(5, CLOSING_OK)
        << SendEof(5)
    )


def test_the_grace_period_ends_what_does_not_end() -> None:
    config = msgspec.convert({"grace_period_s": 10.0}, ServerConfig)
    play = proxy_play(config) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> ShutdownRequested() >> 7.9 << GoAway(AGENT)
    done = (play >> 10.0).take()
    assert done[:2] == [*STOPPED]
    assert done[-1] == Exit(0, "")
    assert Close(AGENT) in done


def test_a_second_signal_ends_the_node_at_once() -> None:
    assert proxy_play() >> ShutdownRequested() >> ShutdownRequested() << Exit(1, "stopped at once by a second signal")


def drawing() -> Play:
    """Return a node that has asked for any gossip port."""
    config = ServerConfig(cluster=ClusterConfig(gossip=GossipConfig(bind_addr=Address("127.0.0.1", 0))))
    play = Play(ServerNode(config, "node-1", random.Random(1))) >> Tick()
    play.take()
    return play


def test_another_gossip_port_is_drawn_where_udp_has_not_the_number_that_tcp_got() -> None:
    play = drawing() >> Listening("gossip-streams", "127.0.0.1", 40001) << ListenDatagram("gossip", "127.0.0.1", 40001)
    play >> ListenFailed("gossip", "address already in use")
    play << StopListening("gossip-streams") << Listen("gossip-streams", "127.0.0.1", 0)
    play >> Listening("gossip-streams", "127.0.0.1", 40002) << ListenDatagram("gossip", "127.0.0.1", 40002)
    assert play >> Listening("gossip", "127.0.0.1", 40002)


def test_a_gossip_port_is_drawn_again_sixteen_times_and_no_more() -> None:
    play = drawing()
    for port in range(40000, 40017):
        play >> Listening("gossip-streams", "127.0.0.1", port) << ListenDatagram("gossip", "127.0.0.1", port)
        play >> ListenFailed("gossip", "address already in use")
        if port < 40016:
            play << StopListening("gossip-streams") << Listen("gossip-streams", "127.0.0.1", 0)
    reason = "cannot listen on gossip address '127.0.0.1:0': address already in use"
    assert play << Exit(1, f"{reason}; choose another one with --cluster.gossip.bind-addr")


def test_a_gossip_port_that_was_chosen_is_not_drawn() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    play.take()
    play >> Listening("gossip-streams", "", 8003) << ListenDatagram("gossip", "", 8003)
    (exit_,) = (play >> ListenFailed("gossip", "address already in use")).take()
    assert isinstance(exit_, Exit)


# --- the cluster around it ---


def test_a_tunnel_that_came_before_the_last_port_was_open_counts() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    for name in ("admin", "upstream", "proxy"):
        play >> Listening(name, "0.0.0.0", 1)
    play.take()
    play.agent_registers(AGENT, "e1")
    play >> Listening("gossip-streams", "0.0.0.0", 8003) >> Listening("gossip", "0.0.0.0", 8003)
    play.take()
    machine = play.machine
    assert isinstance(machine, ServerNode)
    assert machine.facts.registry.counts() == {"e1": 1}
    assert client_joins(play) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)


def joining(members: list[str]) -> Play:
    """Return a node that has just opened its ports, on one address, and has others to join."""
    config = ServerConfig(cluster=ClusterConfig(join=tuple(Address(member, 8003) for member in members)))
    play = Play(ServerNode(config, "node-1", random.Random(1))) >> Tick()
    for name in ("admin", "upstream", "proxy", "gossip-streams", "gossip"):
        play >> Listening(name, "192.0.2.10", 8000)
    return operator(play)


def test_readiness_waits_a_moment_for_the_others_and_no_longer() -> None:
    play = joining(["192.0.2.20"])
    play.take()
    (answer,) = (play >> ask(b"/ready")).take()
    assert answer == text(b"503 Service Unavailable", b"starting\n")
    play >> 2.1
    play.take()
    (answer,) = (play >> ask(b"/ready")).take()
    assert answer == text(b"200 OK", b"running\n")


def test_a_name_without_addresses_is_not_another_node() -> None:
    play = joining(["pico.example"])
    (lookup,) = [each for each in play.take() if isinstance(each, Resolve)]
    assert lookup.name == "pico.example"
    play >> Resolved(lookup.query, (), "") >> 0.2
    play.take()
    (answer,) = (play >> ask(b"/ready")).take()
    assert answer == text(b"200 OK", b"running\n")
    play >> Resolved(77, ("192.0.2.20",), "") >> Resolved(lookup.query, ("192.0.2.20",), "")
    assert play
    done = (play >> 70.0).take()
    assert not [each for each in done if isinstance(each, Exit)]


def test_a_node_is_not_ready_while_lookups_fail_and_says_what_it_waits_for() -> None:
    play = joining(["pico.example"]) >> 4.0
    (lookup,) = [each for each in play.take() if isinstance(each, Resolve)]
    play >> ask(b"/ready")
    assert play << text(b"503 Service Unavailable", b"starting: waits for 'pico.example' (not answered yet)\n")
    play >> Resolved(lookup.query, (), "temporary failure in name resolution") >> 8.0
    queries = [each.query for each in play.take() if isinstance(each, Resolve)]
    play >> ask(b"/ready")
    reason = b"starting: waits for 'pico.example' (temporary failure in name resolution)\n"
    assert play << text(b"503 Service Unavailable", reason)
    assert "cannot look up a name to join" in [log.message for log in play.logs if log.level == "warning"]
    play >> Resolved(queries[-1], (), "") >> 8.1 >> ask(b"/ready") << text(b"200 OK", b"running\n")
    assert "no other node was found: this one is alone" in [log.message for log in play.logs]


def test_lookups_that_fail_delay_a_node_for_the_join_timeout_at_most() -> None:
    play = joining(["pico.example"]) >> 59.0
    play.take()
    assert "ready" not in [log.message for log in play.logs]
    play >> 60.1
    assert Exit not in map(type, play.take()), "a name that leads nowhere does not stop the node"
    assert "ready" in [log.message for log in play.logs]


def test_a_node_without_any_answer_gives_up_with_a_reason() -> None:
    play = joining(["192.0.2.20"]) >> 61.0
    (exit_,) = [each for each in play.take() if isinstance(each, Exit)]
    assert exit_.code == 1
    assert exit_.message.startswith("no node of '192.0.2.20:8003' answered within cluster.join_timeout (60 s)")


def test_garbage_on_the_gossip_port_changes_nothing() -> None:
    play = server_play() >> Accepted(31, "gossip-streams", "192.0.2.66", 9000)
    play >> Received(31, b"GET / HTTP/1.1\r\n\r\n" * 10) << Close(31)
    for data in (b"", b"x", b"GET / HTTP/1.1\r\n\r\n", bytes(1_400)):
        play >> DatagramReceived("gossip", data, "192.0.2.66", 9000)
    assert play
    assert [log.message for log in play.logs if log.level == "warning"] == ["malformed stream"]


def test_half_open_gossip_streams_are_closed() -> None:
    play = server_play()
    for connection in (31, 33, 35):
        play >> Accepted(connection, "gossip-streams", "192.0.2.66", 9000)
    assert play >> EofReceived(33) << Close(33) >> ConnectionLost(33, "") >> ConnectionLost(35, "reset")
    assert play >> WritingPaused(31) >> WritingResumed(31)
    assert play >> 9.5 << Nothing() >> 10.6 << Close(31)


def test_gossip_before_the_node_knows_itself_is_not_heard() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    play.take()
    assert play >> DatagramReceived("gossip", b"x", "192.0.2.66", 9000) >> Resolved(1, (), "")
    assert play >> Accepted(31, "gossip-streams", "192.0.2.66", 9000) << Close(31)


def test_a_node_told_to_stop_before_it_was_ready() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    play.take()
    assert play >> ShutdownRequested() >> 6.0 << STOPPED[0] << STOPPED[1] << Exit(0, "")
    late = joining(["192.0.2.20"])
    late.take()
    late >> ShutdownRequested() >> 3.0
    late.take()
    assert late >> ask(b"/ready") << text(b"503 Service Unavailable", b"draining\n")


def test_shedding_asks_some_agents_to_go_elsewhere_once_each() -> None:
    play = server_play()
    for connection in (AGENT, 3, 5):
        play.agent_registers(connection, "e1", (b"x-piko-instance", b"%d" % connection))
    machine = play.machine
    assert isinstance(machine, ServerNode)
    machine.shed(2, play.now)
    machine.shed(0, play.now)
    assert play << GoAway(AGENT) << GoAway(3)
    machine.shed(2, play.now)
    assert play << GoAway(5)
    assert [log.fields for log in play.logs if log.message == "shedding tunnels"] == [{"count": 2}, {"count": 2}]
    assert play >> ShutdownRequested() >> 4.0
