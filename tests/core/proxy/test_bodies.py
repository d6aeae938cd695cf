"""Bodies pass as they come, in both directions, with one framing and no end that is not one."""

import msgspec
import pytest

from pico_core.boundary import Abort, Close, Received, Send, SendEof
from pico_core.config.server import ServerConfig
from tests.core.proxy.scene import (
    AGENT,
    CLIENT,
    FORWARDED,
    GET,
    GET_SENT,
    NUMBERED,
    OK,
    asked,
    error,
    proxy_play,
    put,
    put_sent,
)
from tests.play import Data, End, Nothing, Open, Reset, joined

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def head_request(version: bytes = b"1.1") -> bytes:
    return GET.replace(b"GET", b"HEAD").replace(b"1.1", version, 1)


# --- requests ---


def test_a_body_of_known_length_passes_as_it_comes() -> None:
    assert (
        asked(put(b"abcde")[:-4], put_sent(b"abcde")[:-4])
        >> Received(CLIENT, b"bc")
        << Data(AGENT, 2, b"bc")
        >> 3.0
        >> Received(CLIENT, b"de")
        << Data(AGENT, 2, b"de")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
    )


def test_a_chunked_body_passes_in_chunks_of_our_own_with_its_trailers() -> None:
    request = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\n" + CHUNKED
    assert (
        asked(request + b"\r\n3;x=y\r\nabc\r\n1\r\nd\r\n", request + FORWARDED + b"\r\n4\r\nabcd\r\n")
        >> Received(CLIENT, b"2")
        << Nothing()
        >> Received(CLIENT, b"\r\ne")
        << Data(AGENT, 2, b"1\r\ne\r\n")
        >> Received(CLIENT, b"f\r\n0\r\nChecksum: 1\r\nHo")
        << Data(AGENT, 2, b"1\r\nf\r\n")
        >> Received(CLIENT, b"p: 2\r\n\r\n")
        << Data(AGENT, 2, b"0\r\nChecksum: 1\r\nHop: 2\r\n\r\n")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
    )


def test_an_empty_chunked_body_is_one() -> None:
    request = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\n" + CHUNKED
    assert (
        asked(request + b"\r\n0\r\n\r\n", request + FORWARDED + b"\r\n0\r\n\r\n")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
    )


def test_a_broken_body_is_the_clients_fault() -> None:
    request = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\n" + CHUNKED
    assert (
        asked(request + b"\r\n", request + FORWARDED + b"\r\n")
        >> Received(CLIENT, b"+1\r\na\r\n")
        << error(400, "Bad Request", "malformed chunk size or extension", "Connection: close")
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
    )


def test_a_body_broken_from_the_start_never_reaches_the_service() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b"POST / HTTP/1.1\r\nHost: e1.example.com\r\n" + CHUNKED + b"\r\nxyz\r\n")
        << error(400, "Bad Request", "malformed chunk size or extension", "Connection: close")
        << SendEof(CLIENT)
    )


def test_a_body_that_breaks_during_the_response_cuts_it() -> None:
    request = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\n" + CHUNKED
    assert (
        asked(request + b"\r\n", request + FORWARDED + b"\r\n")
        >> Data(AGENT, 2, OK[:-1])
        << Send(CLIENT, OK[:-1])
        >> Received(CLIENT, b"zz\r\n")
        << Abort(CLIENT)
        << Reset(AGENT, 2)
    )


# --- responses ---


def test_a_response_passes_as_it_comes() -> None:
    assert (
        asked()
        >> Data(AGENT, 2, OK[:10])
        << Nothing()
        >> Data(AGENT, 2, OK[10:-2])
        << Send(CLIENT, OK[:-2])
        >> 60.0
        >> Data(AGENT, 2, b"o")
        << Send(CLIENT, b"o")
        >> Data(AGENT, 2, b"k")
        << Send(CLIENT, b"k")
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


def test_a_chunked_response_passes_with_its_trailers() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n"
    assert (
        asked()
        >> Data(AGENT, 2, head + b"1\r\na\r\n1\r\nb\r\n")
        << Send(CLIENT, head + b"2\r\nab\r\n")
        >> Data(AGENT, 2, b"1\r\nc")
        << Send(CLIENT, b"1\r\nc\r\n")
        >> Data(AGENT, 2, b"\r\n0\r\n")
        << Nothing()
        >> Data(AGENT, 2, b"Checksum: 1\r\n\r\n")
        << Send(CLIENT, b"0\r\nChecksum: 1\r\n\r\n")
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


def test_head_and_body_of_a_chunked_response_leave_in_one_write() -> None:
    response = b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n1\r\na\r\n0\r\n\r\n"
    assert asked() >> Data(AGENT, 2, response) << Send(CLIENT, response)


def test_a_large_response_is_not_joined_and_is_the_same() -> None:
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n", b"x" * 40_000
    play = asked() >> Data(AGENT, 2, head + body[:30_000])
    assert play << Send(CLIENT, head + body[:30_000]) >> Data(AGENT, 2, body[30_000:]) << Send(CLIENT, body[30_000:])


def test_a_response_without_length_gets_chunks_and_ends_with_its_stream() -> None:
    assert (
        asked()
        >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n\r\nab")
        << Send(CLIENT, b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n2\r\nab\r\n")
        >> Data(AGENT, 2, b"c")
        << Send(CLIENT, b"1\r\nc\r\n")
        >> End(AGENT, 2)
        << Send(CLIENT, b"0\r\n\r\n")
        << End(AGENT, 2)
        >> Received(CLIENT, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
    )


@pytest.mark.parametrize("framing", [b"", CHUNKED])
def test_http_1_0_gets_the_bytes_as_they_are_and_the_end_of_the_connection(framing: bytes) -> None:
    body, rest = (b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n") if framing else (b"ab", b"c")
    play = (
        asked(b"GET / HTTP/1.0\r\nHost: e1.example.com\r\nConnection: keep-alive\r\n\r\n")
        >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body)
        << Send(CLIENT, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab")
        >> Data(AGENT, 2, rest)
        << Send(CLIENT, b"c")
    )
    if framing:
        assert play << SendEof(CLIENT)
    else:
        assert play >> End(AGENT, 2) << SendEof(CLIENT) << End(AGENT, 2)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_statuses_have_no_body(status: bytes) -> None:
    response = b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n"
    assert (
        asked()
        >> Data(AGENT, 2, response)
        << Send(CLIENT, response)
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


def test_a_not_modified_response_keeps_its_length_and_has_no_body() -> None:
    response = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"
    assert (
        asked()
        >> Data(AGENT, 2, response)
        << Send(CLIENT, response)
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", CHUNKED, b""])
def test_the_answer_to_head_has_no_body(framing: bytes) -> None:
    response = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n"
    sent = GET_SENT.replace(b"GET", b"HEAD")
    assert (
        asked(head_request(), sent)
        >> Data(AGENT, 2, response)
        << Send(CLIENT, response)
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


def test_a_body_behind_the_answer_to_head_ends_its_stream() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert (
        asked(head_request(), GET_SENT.replace(b"GET", b"HEAD"))
        >> Data(AGENT, 2, head + b"ok")
        << Send(CLIENT, head)
        << End(AGENT, 2)
    )


def test_our_own_answer_to_head_has_no_body() -> None:
    play = proxy_play() >> Received(CLIENT, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).endswith(b"\r\nContent-Length: 100\r\n" + NUMBERED + b"\r\n")


def test_an_empty_response_keeps_the_connection() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert (
        asked()
        >> Data(AGENT, 2, response)
        << Send(CLIENT, response)
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


# --- interim and early responses ---

EXPECTING = put(b"ab").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
EXPECTING_SENT = put_sent(b"ab").replace(FORWARDED, b"Expect: 100-continue\r\n" + FORWARDED)


def test_the_service_decides_about_100_continue() -> None:
    proceed = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (
        asked(EXPECTING[:-2], EXPECTING_SENT[:-2])
        >> 2.0
        >> Data(AGENT, 2, proceed)
        << Send(CLIENT, proceed)
        >> Received(CLIENT, b"ab")
        << Data(AGENT, 2, b"ab")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
    )


def test_a_refused_expectation_ends_the_connection() -> None:
    response = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n"
    assert (
        asked(EXPECTING[:-2], EXPECTING_SENT[:-2])
        >> Data(AGENT, 2, response + b"\r\n")
        << Send(CLIENT, response + NUMBERED + b"Connection: close\r\n\r\n")
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
    )


def test_early_hints_pass_and_http_1_0_does_not_see_them() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert (
        asked() >> Data(AGENT, 2, hints + hints + OK) << Send(CLIENT, hints) << Send(CLIENT, hints) << Send(CLIENT, OK)
    )
    assert (
        asked(b"GET / HTTP/1.0\r\nHost: e1.example.com\r\n\r\n")
        >> Data(AGENT, 2, hints)
        << Nothing()
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        << SendEof(CLIENT)
    )


def test_interim_responses_without_end_are_not_an_answer() -> None:
    request = GET.replace(b"GET", b"POST")
    play = asked(request, GET_SENT.replace(b"GET", b"POST"))
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    play >> Data(AGENT, 2, hints * 256)
    assert play.take() == [Send(CLIENT, hints)] * 256
    assert (
        play
        >> Data(AGENT, 2, hints)
        << error(502, "Bad Gateway", "the service's response was not valid HTTP: too many interim responses")
        << Reset(AGENT, 2)
    )


def test_an_early_response_without_a_body_says_that_it_closes() -> None:
    response = b"HTTP/1.1 304 Not Modified\r\n"
    assert (
        asked(put(b"abc")[:-1], put_sent(b"abc")[:-1])
        >> Data(AGENT, 2, response + b"\r\n")
        << Send(CLIENT, response + b"Connection: close\r\n\r\n")
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
    )


def test_an_early_response_is_delivered_and_the_rest_of_the_body_is_dropped() -> None:
    response = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n"
    assert (
        asked(put(b"x" * 5_000)[:-4_000], put_sent(b"x" * 5_000)[:-4_000])
        >> Data(AGENT, 2, response + b"\r\nno")
        << Send(CLIENT, response + NUMBERED + b"Connection: close\r\n\r\nno")
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
        >> Received(CLIENT, b"x" * 4_000 + GET)
        << Nothing()
        >> 2.5
        << Close(CLIENT)
    )


def test_a_body_goes_on_while_the_response_comes() -> None:
    assert (
        asked(put(b"abc")[:-2], put_sent(b"abc")[:-2])
        >> Data(AGENT, 2, OK[:-1])
        << Send(CLIENT, OK[:-1])
        >> Received(CLIENT, b"bc")
        << Data(AGENT, 2, b"bc")
        >> Data(AGENT, 2, b"k")
        << Send(CLIENT, b"k")
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


# --- what a service says wrongly, and what a client says loosely ---


@pytest.mark.parametrize("announced", [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n"])
@pytest.mark.parametrize("behind", [b"", b"0\r\n\r\n"])
def test_a_204_has_no_body_whatever_its_fields_say(announced: bytes, behind: bytes) -> None:
    play = asked(GET, GET_SENT) >> Data(AGENT, 2, b"HTTP/1.1 204 No Content\r\n" + announced + b"\r\n" + behind)
    assert play << Send(CLIENT, b"HTTP/1.1 204 No Content\r\n\r\n") << End(AGENT, 2)
    assert play >> Received(CLIENT, GET) << Open(AGENT, 4) << Data(AGENT, 4, GET_SENT)


def test_empty_lines_between_requests_are_ignored() -> None:
    play = asked(b"\r\n" + GET, GET_SENT) >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert play >> Received(CLIENT, b"\r\n\r\n") << Nothing() >> Received(CLIENT, GET) << Data(AGENT, 2, GET_SENT)
    assert play >> Data(AGENT, 2, OK) << Send(CLIENT, OK) >> Received(CLIENT, b"\r\n") >> 50.0 << Nothing()


def test_a_target_above_ascii_reaches_the_service_and_the_log() -> None:
    target = "/caf\u00e9?q=\u00fc".encode()
    request, sent = GET.replace(b"GET /", b"GET " + target), GET_SENT.replace(b"GET /", b"GET " + target)
    play = asked(request, sent) >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert play
    (line,) = play.access_log
    assert b'"path":"/caf\\u00c3\\u00a9"' in line


def test_the_bound_on_heads_holds_for_responses() -> None:
    config = msgspec.convert({"proxy": {"http": {"max_header_bytes": 1_000}}}, ServerConfig)
    play = proxy_play(config) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nA: " + b"x" * 1_000 + b"\r\n\r\n")
    assert (
        play
        << error(502, "Bad Gateway", "the service's response was not valid HTTP: message head too large")
        << Reset(AGENT, 2)
    )
