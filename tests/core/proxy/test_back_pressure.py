"""The slower side sets the pace: of its own request, and of nothing else."""

from pico_core.boundary import (
    Abort,
    Close,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    WritingPaused,
    WritingResumed,
)
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, NUMBERED, OK, client_joins, proxy_play, put, put_sent
from tests.play import Data, End, FarEnd, Nothing, Open, Play, Reset

OTHER = 5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n"


def downloading() -> tuple[Play, FarEnd]:
    """Return a play in which a client gets the first part of a long response and does not take it."""
    play = client_joins(proxy_play(), OTHER)
    assert (
        play
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, HEAD)
        << Send(CLIENT, HEAD)
        >> WritingPaused(CLIENT)
        >> Data(AGENT, 2, bytes(INITIAL_WINDOW_BYTES - len(HEAD)))
        << Send(CLIENT, bytes(INITIAL_WINDOW_BYTES - len(HEAD)))
    )
    return play, play.tunnels[AGENT]


def test_a_client_that_does_not_read_withholds_the_window_of_its_stream_only() -> None:
    play, far = downloading()
    assert far.streams[2].send_window_bytes == 0
    assert (
        play
        >> Received(OTHER, GET)
        << Open(AGENT, 4)
        << Data(AGENT, 4, GET_SENT)
        >> Data(AGENT, 4, OK)
        << Send(OTHER, OK)
        >> WritingResumed(CLIENT)
    )
    assert far.streams[2].send_window_bytes == INITIAL_WINDOW_BYTES
    rest = bytes(600_000 - INITIAL_WINDOW_BYTES + len(HEAD))
    half = INITIAL_WINDOW_BYTES // 2
    assert (
        play
        >> Data(AGENT, 2, rest[:half])
        << Send(CLIENT, rest[:half])
        >> Data(AGENT, 2, rest[half:])
        << Send(CLIENT, rest[half:])
        >> Received(CLIENT, GET)
        << Data(AGENT, 2, GET_SENT)
    )


def test_a_client_that_reads_again_after_the_end_of_the_response() -> None:
    play = proxy_play()
    assert (
        play
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK[:-1])
        << Send(CLIENT, OK[:-1])
        >> WritingPaused(CLIENT)
        >> Data(AGENT, 2, b"k")
        << Send(CLIENT, b"k")
    )
    # The stream serves the next client at full speed, whatever the first one does.
    assert (
        client_joins(play, OTHER)
        >> Received(OTHER, GET)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, HEAD + bytes(200_000))
        << Send(OTHER, HEAD + bytes(200_000))
    )
    assert play.tunnels[AGENT].streams[2].send_window_bytes > INITIAL_WINDOW_BYTES // 2


def test_a_client_stuck_in_a_response_is_cut_off_in_the_end() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> WritingPaused(CLIENT)
        >> Data(AGENT, 2, OK[:-1])
        << Send(CLIENT, OK[:-1])
        >> 299.0
        << Nothing()
        >> 301.0
        << Abort(CLIENT)
        << Reset(AGENT, 2)
    )


def test_an_upload_stops_at_the_window_of_its_stream_and_goes_on_with_it() -> None:
    play = proxy_play()
    far = play.tunnels[AGENT]
    far.reading = False
    body = bytes(400_000)
    head = put_sent(body)[: -len(body)]
    room = INITIAL_WINDOW_BYTES - len(head)
    assert (
        play
        >> Received(CLIENT, put(body)[:-200_000])
        << PauseReading(CLIENT)  # until an upstream is chosen
        << ResumeReading(CLIENT)
        << Open(AGENT, 2)
        << Data(AGENT, 2, head + body[:200_000])
        >> Received(CLIENT, body[:199_999])
        << PauseReading(CLIENT)
        << Data(AGENT, 2, body[200_000:room])
        >> 29.0
    )
    far.reading = True
    far.streams[2].consume(INITIAL_WINDOW_BYTES)
    assert (
        play
        >> Received(AGENT, far.output())
        << ResumeReading(CLIENT)
        << Data(AGENT, 2, body[room + 1 :])
        >> Received(CLIENT, body[-1:])
        << Data(AGENT, 2, body[-1:])
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
    )


def test_a_full_tunnel_stops_every_upload_in_it_until_it_drains() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, put(b"abcdef")[:-4])
        << Open(AGENT, 2)
        << Data(AGENT, 2, put_sent(b"abcdef")[:-4])
        >> WritingPaused(AGENT)
        >> Received(CLIENT, b"cd")
        << Nothing()
        >> Received(CLIENT, b"e")
        << PauseReading(CLIENT)
        >> WritingResumed(AGENT)
        << ResumeReading(CLIENT)
        << Data(AGENT, 2, b"cde")
    )


def test_an_answer_before_the_upload_could_leave_lets_the_client_go_on() -> None:
    play = proxy_play()
    far = play.tunnels[AGENT]
    far.reading = False
    body = bytes(INITIAL_WINDOW_BYTES + 10)
    head = put_sent(body)[: -len(body)]
    assert (
        play
        >> Received(CLIENT, put(body)[:-1])
        << PauseReading(CLIENT)
        << Open(AGENT, 2)
        << Data(AGENT, 2, (head + body)[:INITIAL_WINDOW_BYTES])
        >> Received(CLIENT, body[-1:])  # it was on its way
        << Nothing()
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        << ResumeReading(CLIENT)
    )


def test_a_stuck_early_answer_is_closed_all_the_same() -> None:
    response = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    sent = response.replace(b"\r\n\r\n", b"\r\n" + NUMBERED + b"Connection: close\r\n\r\n")
    play = proxy_play()
    play.tunnels[AGENT].reading = False
    body = bytes(600_000)
    head = put_sent(body)[: -len(body)]
    assert (
        play
        >> Received(CLIENT, put(body)[:-300_000])
        << PauseReading(CLIENT)
        << Open(AGENT, 2)
        << Data(AGENT, 2, (head + body)[:INITIAL_WINDOW_BYTES])
        >> Data(AGENT, 2, response)
        << Send(CLIENT, sent)
        << ResumeReading(CLIENT)
        << SendEof(CLIENT)
        << Reset(AGENT, 2)
        >> 2.5
        << Close(CLIENT)
    )


def test_a_stream_that_ends_while_its_client_does_not_read() -> None:
    play, _ = downloading()
    assert play >> End(AGENT, 2) << Close(CLIENT) << End(AGENT, 2)
