"""The registration of an agent at the upstream port: what is agreed on, and what is refused."""

import random

import msgspec
import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    SendEof,
    ShutdownRequested,
)
from pico_core.config.ports import UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.gossip.state import MAX_ENDPOINTS
from pico_core.mux.frame import HEADER
from pico_core.proxy.reasons import reason_of
from pico_core.websocket.encoding import encode_frame
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, client_joins, refusal
from tests.core.server.tunnel_scene import ACCEPTED, HANDSHAKE, SECOND, connected
from tests.play import Data, Nothing, Open, joined, server_play


def test_the_101_is_the_registration() -> None:
    play = connected() >> Received(AGENT, HANDSHAKE[:50]) << Nothing() >> Received(AGENT, HANDSHAKE[50:])
    assert play << Send(AGENT, ACCEPTED)
    (opened,) = [log for log in play.logs if log.subsystem == "upstream" and log.message == "tunnel opened"]
    assert opened.fields == {"endpoint": "my-endpoint", "client": "192.0.2.1"}
    request = GET.replace(b"e1", b"My-Endpoint")
    # What a Piko server sends: SYN on an empty window update or, as here, on the data.
    (sent,) = (client_joins(play) >> Received(CLIENT, request)).take()
    assert isinstance(sent, Send)
    assert b"GET / HTTP/1.1\r\nHost: My-Endpoint.example.com\r\n" in joined(sent.data)


def test_a_smaller_first_window_is_agreed_on_by_repeating_the_offer() -> None:
    offer = b"X-Pico-First-Window: 65536\r\n\r\n"
    play = connected() >> Received(AGENT, HANDSHAKE[:-2] + offer)
    own = ACCEPTED.index(b"x-pico-node")
    assert play << Send(AGENT, ACCEPTED[:own] + offer.lower()[:-2] + ACCEPTED[own:])
    (sent,) = (client_joins(play) >> Received(CLIENT, GET.replace(b"e1", b"my-endpoint"))).take()
    assert isinstance(sent, Send)
    # The stream begins with 64 KiB each way, and the server grants the rest of a full window with the SYN.
    assert bytes.fromhex("0001 0001 00000002 00030000") in joined(sent.data)


@pytest.mark.parametrize(("configured", "announced", "told"), [(30, 1_024, b"30"), (1_024, 76, b"76")])
def test_the_agent_is_told_how_many_streams_the_server_opens_at_most(
    configured: int, announced: int, told: bytes
) -> None:
    config = msgspec.convert({"upstream": {"max_streams": configured}}, ServerConfig)
    offer = b"X-Pico-Max-Streams: %d\r\n\r\n" % announced
    (answer,) = (connected(server_play(config)) >> Received(AGENT, HANDSHAKE[:-2] + offer)).take()
    assert isinstance(answer, Send)
    assert b"\r\nx-pico-max-streams: %b\r\n" % told in joined(answer.data)


@pytest.mark.parametrize("value", [b"65537", b"0", b"-1", b"65536, 65536", b"9" * 100])
def test_another_first_window_is_not_agreed_on(value: bytes) -> None:
    play = connected() >> Received(AGENT, HANDSHAKE[:-2] + b"X-Pico-First-Window: %b\r\n\r\n" % value)
    assert play << Send(AGENT, ACCEPTED)


def test_endpoints_have_no_case() -> None:
    play = server_play()
    play.agent_registers(AGENT, "My%2DEndpoint")
    request = GET.replace(b"e1", b"MY-endpoint")
    assert (
        client_joins(play)
        >> Received(CLIENT, request)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT.replace(b"e1", b"MY-endpoint"))
    )


def test_an_endpoint_that_no_host_name_reaches_is_warned_of_once() -> None:
    play = server_play()
    play.agent_registers(AGENT, "a.b")
    play.agent_registers(9, "a.b")
    play.agent_registers(SECOND, "Api")  # a host name has no case, and neither has an endpoint
    assert play
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.message.startswith("no host name reaches this endpoint")
    assert warning.fields == {"endpoint": "a.b"}


@pytest.mark.slow
def test_a_node_takes_no_more_endpoints_than_it_can_tell_the_others_of() -> None:
    """Each registration beyond is told why and when to come again; names that come and go do not fill the node."""
    play = server_play(ServerConfig(upstream=UpstreamConfig(registration_burst=3 * MAX_ENDPOINTS)))
    tunnels = range(1, 2 * MAX_ENDPOINTS, 2)
    for connection in tunnels:
        play >> Accepted(connection, "upstream", "192.0.2.1", 4000)
        play >> Received(connection, HANDSHAKE.replace(b"my-endpoint", b"e%d" % connection))
    assert len(play.take()) == MAX_ENDPOINTS
    beyond = 2 * MAX_ENDPOINTS + 1
    reason = f"this node serves {MAX_ENDPOINTS} endpoints and takes no further one; connect again, or add nodes"
    refused = refusal(503, "Service Unavailable", reason, "Retry-After: 10", "Connection: close", client=beyond)
    play >> Accepted(beyond, "upstream", "192.0.2.1", 4000)
    assert play >> Received(beyond, HANDSHAKE) << refused << SendEof(beyond)
    same = beyond + 2
    play >> Accepted(same, "upstream", "192.0.2.1", 4000)
    assert play >> Received(same, HANDSHAKE.replace(b"my-endpoint", b"e1")) << Send(same, ACCEPTED)
    for number in range(300):
        leaving, coming = tunnels[number + 1], same + 2 + 2 * number
        play >> EofReceived(leaving) >> ConnectionLost(leaving, "")
        play >> Accepted(coming, "upstream", "192.0.2.1", 4000)
        assert (
            play >> Received(coming, HANDSHAKE.replace(b"my-endpoint", b"new-%d" % number)) << Close(leaving)
            << Send(coming, ACCEPTED)
        )  # fmt: skip


def test_frames_right_behind_the_handshake_count() -> None:
    go_away = HEADER.pack(3, 0, 0, 0)
    behind = joined(encode_frame((go_away,), len(go_away), random.Random(1)))
    play = connected() >> Received(AGENT, HANDSHAKE + behind) << Send(AGENT, ACCEPTED)
    (sent, closed) = play.take()
    assert isinstance(sent, Send)
    assert joined(sent.data) == b"\x82\x0c" + go_away
    assert closed == Close(AGENT)


def test_a_higher_minor_version_is_accepted() -> None:
    assert connected() >> Received(AGENT, HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.2", 1)) << Send(AGENT, ACCEPTED)


@pytest.mark.parametrize(
    ("old", "new", "status", "phrase", "reason"),
    [
        (b"/piko/v1/upstream/", b"/nowhere/", 404, "Not Found",
         "not found: agents connect to /pico/v1/upstream/{endpoint}"),
        (b"my-endpoint", b"a/b", 404, "Not Found", "not found: agents connect to /pico/v1/upstream/{endpoint}"),
        (b"my-endpoint", b"", 404, "Not Found", "not found: agents connect to /pico/v1/upstream/{endpoint}"),
        (b"Version: 13", b"Version: 8", 426, "Upgrade Required", "not a WebSocket handshake of version 13"),
        (b"Upgrade: websocket\r\n", b"", 400, "Bad Request", "not a WebSocket handshake of version 13"),
        (b"Host: 127.0.0.1:8001\r\n", b"", 400, "Bad Request", "missing Host"),
        (b"GET ", b"\x16\x03\x01", 400, "Bad Request", "malformed request line"),
        (b"Go-http", b"x" * 17_000, 431, "Request Header Fields Too Large", "message head too large"),
    ],
)  # fmt: skip
def test_what_is_not_a_registration_is_refused(old: bytes, new: bytes, status: int, phrase: str, reason: str) -> None:
    assert old in HANDSHAKE
    play = connected()
    refused = refusal(status, phrase, reason, "Connection: close", client=AGENT)
    assert (
        play
        >> Received(AGENT, HANDSHAKE.replace(old, new, 1))
        << refused
        << SendEof(AGENT)
        >> Received(AGENT, b"more")
        >> ConnectionLost(AGENT, "")
        >> 30.0
    )
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.fields == {"client": "192.0.2.1", "status": status, "code": reason_of(status), "reason": reason}


def test_an_invalid_endpoint_is_refused() -> None:
    play = connected() >> Received(AGENT, HANDSHAKE.replace(b"my-endpoint", b"a%2Fb"))
    (answer, closed) = play.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nx-pico-refused: final\r\n" in joined(answer.data)
    assert closed == SendEof(AGENT)


def test_a_node_that_stops_takes_no_new_tunnel() -> None:
    play = server_play() >> ShutdownRequested()
    assert (
        connected(play)
        >> Received(AGENT, HANDSHAKE)
        << refusal(
            503,
            "Service Unavailable",
            "this node is about to stop; connect again",
            "x-pico-refused: leaving",
            "Connection: close",
            client=AGENT,
            reason="draining",
        )
        << SendEof(AGENT)
    )


@pytest.mark.parametrize("so_far", [b"", HANDSHAKE[:-2]])
def test_half_a_handshake_is_not_waited_for(so_far: bytes) -> None:
    play = connected()
    if so_far:
        play >> Received(AGENT, so_far)
    assert play >> 9.5 << Nothing() >> 10.5 << Close(AGENT) >> 20.6 << Abort(AGENT)


def test_an_agent_that_leaves_before_the_handshake_is_forgotten() -> None:
    assert connected() >> EofReceived(AGENT) << Close(AGENT) >> ConnectionLost(AGENT, "") >> 30.0
    assert connected() >> ConnectionLost(AGENT, "reset") >> 30.0


def test_warnings_about_refusals_are_limited() -> None:
    play = server_play()
    for connection in range(1, 101, 2):
        play >> Accepted(connection, "upstream", "192.0.2.1", 4000) >> Received(connection, b" ")
    play.take()
    assert len([log for log in play.logs if log.level == "warning"]) == 10
    play >> 11.0 >> Accepted(201, "upstream", "192.0.2.1", 4000) >> Received(201, b" ")
    play.take()
    suppressed, last = [log for log in play.logs if log.level == "warning"][10:]
    assert suppressed.fields == {"suppressed": 40}
    assert last.fields["client"] == "192.0.2.1"
