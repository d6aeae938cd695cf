"""Either side goes away: the other one can tell, and what can be saved is."""

import msgspec
import pytest

from pico_core.boundary import Abort, Accepted, Close, ConnectionLost, EofReceived, Received, Send, SendEof
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ServerConfig
from pico_core.proxy.failures import SERVICE_REFUSED, told_by_peer
from pico_core.proxy.replay import MAX_REPLAY_BYTES
from tests.core.proxy.scene import (
    AGENT,
    CLIENT,
    GET,
    GET_SENT,
    OK,
    asked,
    client_joins,
    error,
    proxy_play,
    put,
    put_sent,
)
from tests.play import Data, End, GoAway, Nothing, Open, Play, Reset, server_play

SECOND = 7
NO_UPSTREAM = error(502, "Bad Gateway", "no available upstreams")
INVALID = error(502, "Bad Gateway", "the service's response was not valid HTTP: malformed status line")
UNREACHABLE = error(502, "Bad Gateway", "upstream unreachable", reason="tunnel-lost")
POST = GET.replace(b"GET", b"POST")
POST_SENT = GET_SENT.replace(b"GET", b"POST")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def asked_of_two(request: bytes = GET, sent: bytes = GET_SENT) -> Play:
    """The same with a second agent for the endpoint."""
    play = proxy_play()
    play.agent_registers(SECOND, "e1")
    return play >> Received(CLIENT, request) << Open(AGENT, 2) << Data(AGENT, 2, sent)


# --- the client ---


@pytest.mark.parametrize("gone", [ConnectionLost(CLIENT, "reset"), EofReceived(CLIENT)])
@pytest.mark.parametrize("so_far", [b"", OK[:-1], CHUNKED])
def test_a_client_that_leaves_resets_the_stream_at_once(gone: ConnectionLost | EofReceived, so_far: bytes) -> None:
    play = asked()
    if so_far:
        play >> Data(AGENT, 2, so_far) << Send(CLIENT, so_far)
    play >> gone
    if isinstance(gone, EofReceived):
        play << Close(CLIENT)
    assert play << Reset(AGENT, 2)
    (line,) = play.access_log
    assert (b'"status":200' if so_far else b'"status":499') in line


def test_a_client_that_leaves_in_the_middle_of_its_request_resets_the_stream() -> None:
    assert asked(put(b"abc")[:-1], put_sent(b"abc")[:-1]) >> ConnectionLost(CLIENT, "") << Reset(AGENT, 2)


def test_an_answer_to_a_client_that_left_is_dropped() -> None:
    assert (
        asked()
        >> ConnectionLost(CLIENT, "")
        << Reset(AGENT, 2)
        >> Data(AGENT, 2, OK)
        << Nothing()
        >> Accepted(5, "proxy", "192.0.2.7", 5001)
        >> Received(5, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


# --- the upstream, within a response ---


@pytest.mark.parametrize("so_far", [OK[:-1], CHUNKED, CHUNKED + b"1\r\na\r\n"])
@pytest.mark.parametrize("ending", [End(AGENT, 2), Reset(AGENT, 2)])
def test_a_response_cut_short_is_closed_without_an_end(so_far: bytes, ending: End | Reset) -> None:
    play = asked() >> Data(AGENT, 2, so_far) << Send(CLIENT, so_far) >> ending << Close(CLIENT)
    if isinstance(ending, End):
        play << End(AGENT, 2)
    assert play


def test_a_response_without_length_that_is_reset_is_cut_short() -> None:
    assert (
        asked()
        >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n\r\na")
        << Send(CLIENT, CHUNKED + b"1\r\na\r\n")
        >> Reset(AGENT, 2)
        << Close(CLIENT)
    )


def test_where_only_the_end_of_the_connection_ends_the_body_it_is_reset() -> None:
    assert (
        asked(b"GET / HTTP/1.0\r\nHost: e1.example.com\r\n\r\n")
        >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n\r\na")
        << Send(CLIENT, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\na")
        >> Reset(AGENT, 2)
        << Abort(CLIENT)
    )


def test_a_response_whose_chunks_break_is_cut_short() -> None:
    assert (
        asked()
        >> Data(AGENT, 2, CHUNKED)
        << Send(CLIENT, CHUNKED)
        >> Data(AGENT, 2, b"1\r\naXX")
        << Close(CLIENT)
        << Reset(AGENT, 2)
    )


def test_losing_the_agent_cuts_every_response_short() -> None:
    assert (
        asked()
        >> Data(AGENT, 2, CHUNKED)
        << Send(CLIENT, CHUNKED)
        >> ConnectionLost(AGENT, "reset")
        << Close(CLIENT)
        >> ConnectionLost(CLIENT, "")
        >> 60.0
    )


# --- the upstream, before its response ---


@pytest.mark.parametrize("ending", [End(AGENT, 2), Reset(AGENT, 2), Data(AGENT, 2, b"HTTP/1.1 2OO OK\r\n\r\n")])
def test_what_is_not_idempotent_is_not_sent_twice(ending: End | Reset | Data) -> None:
    play = asked(POST, POST_SENT) >> ending << (INVALID if isinstance(ending, Data) else UNREACHABLE)
    if not isinstance(ending, Reset):
        play << (End(AGENT, 2) if isinstance(ending, End) else Reset(AGENT, 2))
    assert play >> Received(CLIENT, GET) << Open(AGENT, 4) << Data(AGENT, 4, GET_SENT)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT"])
def test_what_is_idempotent_goes_to_another_agent(method: bytes) -> None:
    request, sent = GET.replace(b"GET", method), GET_SENT.replace(b"GET", method)
    response = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert (
        asked_of_two(request, sent)
        >> Reset(AGENT, 2)
        << Open(SECOND, 2)
        << Data(SECOND, 2, sent)
        >> Data(SECOND, 2, response)
        << Send(CLIENT, response)
    )


def test_losing_an_agent_moves_its_requests_to_another() -> None:
    assert (
        asked_of_two()
        >> ConnectionLost(AGENT, "reset")
        << Open(SECOND, 2)
        << Data(SECOND, 2, GET_SENT)
        >> Data(SECOND, 2, OK)
        << Send(CLIENT, OK)
    )


def test_a_request_whose_only_agent_is_lost_waits_a_moment_for_another_one() -> None:
    play = asked() >> EofReceived(AGENT) << Close(AGENT)
    assert play >> 2.9 << Nothing() >> 3.0 << NO_UPSTREAM
    play = asked() >> EofReceived(AGENT) << Close(AGENT) >> 2.9
    play.agent_registers(SECOND, "e1")
    assert play << Open(SECOND, 2) << Data(SECOND, 2, GET_SENT)


def test_a_new_request_after_the_loss_waits_as_well_but_not_one_much_later() -> None:
    play = proxy_play() >> EofReceived(AGENT) << Close(AGENT)
    assert play >> Received(CLIENT, GET) << Nothing() >> 3.0 << NO_UPSTREAM >> Received(CLIENT, GET) << NO_UPSTREAM


def test_requests_that_wait_are_bounded() -> None:
    play = proxy_play() >> EofReceived(AGENT) << Close(AGENT)
    for connection in range(101, 101 + 2 * ProxyConfig().max_waiting, 2):
        client_joins(play, connection) >> Received(connection, GET)
    assert play << Nothing() >> Received(CLIENT, GET) << NO_UPSTREAM
    play >> EofReceived(101) << Close(101)
    assert play >> Received(CLIENT, GET) << Nothing()


def test_the_only_agent_is_tried_once_more_where_a_stream_broke() -> None:
    play = asked() >> Data(AGENT, 2, b"") >> Reset(AGENT, 2) << Open(AGENT, 4) << Data(AGENT, 4, GET_SENT)
    assert play >> Reset(AGENT, 4) << Nothing() >> 3.0 << NO_UPSTREAM


def test_a_small_body_is_replayed_and_goes_on_where_it_was() -> None:
    assert (
        asked_of_two(put(b"abcdef")[:-3], put_sent(b"abcdef")[:-3])
        >> Received(CLIENT, b"d")
        << Data(AGENT, 2, b"d")
        >> Reset(AGENT, 2)
        << Open(SECOND, 2)
        << Data(SECOND, 2, put_sent(b"abcdef")[:-2])
        >> Received(CLIENT, b"ef")
        << Data(SECOND, 2, b"ef")
    )


def test_a_chunked_body_is_replayed_in_the_same_chunks() -> None:
    head = b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nTransfer-Encoding: chunked\r\n"
    sent = head + GET_SENT[GET_SENT.index(b"X-Forwarded") :] + b"1\r\na\r\n"
    assert (
        asked_of_two(head + b"\r\n1\r\na\r\n", sent)
        >> Received(CLIENT, b"0\r\n\r\n")
        << Data(AGENT, 2, b"0\r\n\r\n")
        >> Reset(AGENT, 2)
        << Open(SECOND, 2)
        << Data(SECOND, 2, sent + b"0\r\n\r\n")
    )


def test_a_body_up_to_the_limit_is_replayed_and_a_longer_one_is_not() -> None:
    body = bytes(MAX_REPLAY_BYTES)
    request, sent = put(body), put_sent(body)
    assert (
        asked_of_two(request[:-1], sent[:-1])
        >> Received(CLIENT, b"\x00")
        << Data(AGENT, 2, b"\x00")
        >> Reset(AGENT, 2)
        << Open(SECOND, 2)
        << Data(SECOND, 2, sent)
    )
    body += b"\x00"
    request, sent = put(body), put_sent(body)
    assert (
        asked_of_two(request[:-1_000], sent[:-1_000])
        >> Received(CLIENT, bytes(1_000))
        << Data(AGENT, 2, bytes(1_000))
        >> Reset(AGENT, 2)
        << UNREACHABLE
    )


def test_a_long_body_that_came_at_once_is_not_replayed() -> None:
    body = bytes(MAX_REPLAY_BYTES + 1)
    play = client_joins(proxy_play(), 5) >> Received(5, put(body))
    play.take()
    assert play >> Reset(AGENT, 2) << error(502, "Bad Gateway", "upstream unreachable", client=5, reason="tunnel-lost")


def test_no_answer_is_asked_for_again_once_a_byte_of_one_has_gone_out() -> None:
    assert asked_of_two() >> Data(AGENT, 2, CHUNKED) << Send(CLIENT, CHUNKED) >> Reset(AGENT, 2) << Close(CLIENT)


def test_an_agent_that_is_leaving_is_not_asked() -> None:
    play = proxy_play()
    play.agent_registers(SECOND, "e1")
    assert (
        play
        >> GoAway(AGENT)
        << GoAway(AGENT)
        << Close(AGENT)
        >> Received(CLIENT, GET)
        << Open(SECOND, 2)
        << Data(SECOND, 2, GET_SENT)
    )


def test_an_agent_without_a_free_stream_is_passed_over() -> None:
    play = proxy_play(msgspec.convert({"upstream": {"max_streams": 7}}, ServerConfig))
    far = play.tunnels[AGENT]
    for connection in range(101, 101 + 2 * 7, 2):
        client_joins(play, connection) >> Received(connection, GET)
    play.take()
    assert len(far.streams) == 7
    assert (
        play
        >> Received(CLIENT, GET)
        << Nothing()
        >> 0.1
        << error(503, "Service Unavailable", "too many requests in flight to this endpoint")
    )
    assert [log.message for log in play.logs if log.level == "warning"] == ["no tunnel can take more requests"]
    play.agent_registers(SECOND, "e1")
    assert play >> Received(CLIENT, GET) << Open(SECOND, 2) << Data(SECOND, 2, GET_SENT)


@pytest.mark.parametrize(("own", "announced"), [(2, ()), (1_024, (b"2",)), (2, (b"9",)), (2, (b"nonsense",))])
def test_a_tunnel_carries_as_many_requests_as_both_ends_allow(own: int, announced: tuple[bytes, ...]) -> None:
    play = server_play(msgspec.convert({"upstream": {"max_streams": own}}, ServerConfig))
    play.agent_registers(AGENT, "e1", *((b"x-pico-max-streams", value) for value in announced))
    for connection in (CLIENT, 11, 13):
        client_joins(play, connection)
    assert play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> Received(11, POST) << Open(AGENT, 4) << Data(AGENT, 4, POST_SENT)
    assert (
        play
        >> Received(13, POST)
        << Nothing()
        >> 0.1
        << error(503, "Service Unavailable", "too many requests in flight to this endpoint", client=13)
    )
    play.agent_registers(SECOND, "e1")
    assert play >> Received(13, POST) << Open(SECOND, 2) << Data(SECOND, 2, POST_SENT)


def test_a_stream_that_an_agent_refuses_is_for_another_agent() -> None:
    play = proxy_play()
    play.agent_registers(SECOND, "e1")
    play.tunnels[AGENT].tunnel.session.pause_output()
    assert play >> Received(CLIENT, POST) << Open(AGENT, 2) << Data(AGENT, 2, POST_SENT)
    play.tunnels[AGENT].streams[2].hold_acceptance()
    play.tunnels[AGENT].tunnel.session.resume_output()
    assert play >> Reset(AGENT, 2) << Open(SECOND, 2) << Data(SECOND, 2, POST_SENT)


def test_our_own_refusal_in_the_middle_of_an_upload_closes_the_connection() -> None:
    request = put(b"abc")[:-1].replace(b"PUT", b"POST")
    assert (
        asked(request, put_sent(b"abc")[:-1].replace(b"PUT", b"POST"))
        >> Reset(AGENT, 2)
        << error(502, "Bad Gateway", "upstream unreachable", "Connection: close", reason="tunnel-lost")
        << SendEof(CLIENT)
        >> Received(CLIENT, b"c")
        << Nothing()
        >> 2.5
        << Close(CLIENT)
    )


def test_details_of_a_failure_are_cut_and_longer_ones_are_not_read() -> None:
    told = SERVICE_REFUSED.because("x" * 201).fields_for_peer()
    assert told == b"X-Pico-Failure: service-refused; " + b"x" * 200 + b"\r\n"
    for size in (200, 201):
        failure = told_by_peer(b"service-refused; " + b"x" * size)
        assert failure is not None
        assert failure.detail == ("x" * 200 if size == 200 else "")
