"""Heads of responses that RFC 9112 lets a recipient repair: through the server, the agent, and in pieces."""

import pytest

from pico_core.boundary import Abort, Close, Connected, Received, Send
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.recent import ResponseReader
from pico_core.http.writing import response_bytes
from tests.core.agent import scene as agent_scene
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, error, proxy_play
from tests.play import Data, End, Open, Reset

REPAIRED = [
    pytest.param(b"HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", b"A: b\r\n", id="bare line feeds"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\nok", b"A: b\r\n", id="both line ends"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nA: b\r\n\t c\r\n  d\r\nContent-Length: 2\r\n\r\nok", b"A: b c d\r\n", id="folded"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n \r\nContent-Length: 2\r\n\r\nok", b"A: b \r\n", id="an empty fold"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA \t: b\r\nContent-Length: 2\r\n\r\nok", b"A: b\r\n", id="blank before a colon"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length : 2\r\n\r\nok", b"A: b\r\n", id="in a framing field"),
    pytest.param(b" HTTP/1.1 \t200  OK\r\nA: b\r\nContent-Length: 2\r\n\r\nok", b"A: b\r\n", id="status line"),
    pytest.param(b"\r\nHTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nok", b"A: b\r\n", id="empty line"),
    pytest.param(b"\n\r\n\r\nHTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", b"A: b\r\n", id="empty lines"),
    pytest.param(
        b"\r\n" * 4 + b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nok", b"A: b\r\n", id="eight bytes of them"
    ),
]

REFUSED = [
    pytest.param(b"\n" + b"\r\n" * 4 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                 "malformed status line", id="nine bytes of empty lines"),
    pytest.param(b"\r\n" * 5 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                 "malformed status line", id="many empty lines"),
    pytest.param(b"\r\n\rHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                 "malformed status line", id="a bare carriage return first"),
    pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\nabc",
                 "malformed or repeated Content-Length", id="two lengths"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\nContent-Length: 3\r\n\r\nabc",
                 "malformed or repeated Content-Length", id="two lengths, one with a blank"),
    pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
                 "both Content-Length and Transfer-Encoding", id="length and chunks"),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", "folded framing field",
                 id="folded coding"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n 3\r\n\r\n", "folded framing field", id="folded length"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent_Length : 2\r\n\r\nok", "ambiguous spelling of a framing field",
                 id="look-alike"),
    pytest.param(b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "blank before the first header field", id="blank first"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA\r\n\r\n", "malformed header field", id="no colon"),
    pytest.param(b"HTTP/1.1 200 OK\nA\n\n", "malformed header field", id="no colon, bare line feeds"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "malformed header field", id="bare carriage return"),
    pytest.param(b"HTTP/1.1 200 OK\r\nA: \x00", "control character or bare line end in the head", id="NUL"),
    pytest.param(b"HTTP/1.1 two OK\n", "malformed status line", id="status"),
    pytest.param(b"220 mail.example ESMTP\n", "malformed status line", id="not HTTP"),
]  # fmt: skip


def outgoing(line: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + line + b"Content-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(("response", "line"), REPAIRED)
def test_the_server_repairs_a_response_of_an_agent_that_does_not(response: bytes, line: bytes) -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, response) << Send(CLIENT, outgoing(line)) << End(AGENT, 2)
    assert play >> Received(CLIENT, GET) << Open(AGENT, 4) << Data(AGENT, 4, GET_SENT)
    assert play >> Data(AGENT, 4, OK) << Send(CLIENT, OK)


@pytest.mark.parametrize(("response", "line"), REPAIRED)
def test_the_agent_repairs_it_and_does_not_use_the_connection_again(response: bytes, line: bytes) -> None:
    play = agent_scene.asked() << agent_scene.DIAL
    assert (
        play
        >> Connected(agent_scene.SERVICE, "127.0.0.1", 3000)
        << Send(agent_scene.SERVICE, agent_scene.GET)
        >> Received(agent_scene.SERVICE, response)
        << Close(agent_scene.SERVICE)
        << Data(agent_scene.SERVER, 2, outgoing(line))
    )


@pytest.mark.parametrize(("response", "line"), REPAIRED)
def test_pieces_do_not_matter(response: bytes, line: bytes) -> None:
    for step in range(1, len(response)):
        reader = ResponseReader(HeadLimits())
        read, taken = None, 0
        while read is None:
            read = reader.read(response[taken : taken + step])
            taken += step
        head, rest = read
        assert rest + response[taken:] == b"ok"
        assert response_bytes(head, b"") + b"ok" == outgoing(line)
        assert not head.keep_alive
        valid = reader.read(OK)
        assert valid is not None
        assert valid[0].keep_alive


@pytest.mark.parametrize(("response", "reason"), REFUSED)
def test_the_server_says_what_was_wrong(response: bytes, reason: str) -> None:
    play = proxy_play() >> Received(CLIENT, GET.replace(b"GET", b"POST"))
    play.take()
    text = f"the service's response was not valid HTTP: {reason}"
    assert play >> Data(AGENT, 2, response) << error(502, "Bad Gateway", text) << Reset(AGENT, 2)


@pytest.mark.parametrize(("response", "reason"), REFUSED)
def test_the_agent_says_it_and_the_server_passes_it_on(response: bytes, reason: str) -> None:
    play = agent_scene.asked() << agent_scene.DIAL
    play >> Connected(agent_scene.SERVICE, "127.0.0.1", 3000) << Send(agent_scene.SERVICE, agent_scene.GET)
    aborted, told = (play >> Received(agent_scene.SERVICE, response)).take()
    assert aborted == Abort(agent_scene.SERVICE)
    assert isinstance(told, Data)
    assert b"\r\nX-Pico-Failure: service-invalid; %b\r\n" % reason.encode() in told.data
    play = proxy_play() >> Received(CLIENT, GET.replace(b"GET", b"POST"))
    play.take()
    text = f"the service's response was not valid HTTP: {reason}"
    assert play >> Data(AGENT, 2, told.data) << error(502, "Bad Gateway", text)


@pytest.mark.parametrize("detail", [b"\xff", b"a" * 201])
def test_a_peer_cannot_say_just_anything(detail: bytes) -> None:
    play = proxy_play() >> Received(CLIENT, GET.replace(b"GET", b"POST"))
    play.take()
    answer = b"HTTP/1.1 502 Bad Gateway\r\nX-Pico-Failure: service-invalid; %b\r\nContent-Length: 0\r\n\r\n" % detail
    text = "the service's response was not valid HTTP"
    assert play >> Data(AGENT, 2, answer) << error(502, "Bad Gateway", text)


def test_requests_are_never_repaired() -> None:
    for request in (GET.replace(b"\r\n", b"\n"), GET[:-2] + b"A : b\r\n\r\n", GET[:-2] + b"A: b\r\n c\r\n\r\n"):
        (refusal, _) = (proxy_play() >> Received(CLIENT, request)).take()
        assert isinstance(refusal, Send)
        assert bytes(refusal.data).startswith(b"HTTP/1.1 400 ")  # type: ignore[arg-type]


def test_bounds_hold_while_the_end_of_a_repaired_head_is_awaited() -> None:
    reader = ResponseReader(HeadLimits(max_head_bytes=1_000))
    assert reader.read(b"HTTP/1.1 200 OK\nA: b\n") is None
    with pytest.raises(MessageError, match="message head too large"):
        reader.read(b"c" * 1_000)
    folded = ResponseReader(HeadLimits())
    with pytest.raises(MessageError, match="header field too long"):
        folded.read(b"HTTP/1.1 200 OK\nA: b\n" + b" c\n" * 200_000 + b"\n")
