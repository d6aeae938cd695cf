"""A service that leads back to the server: a request in a circle is ended before it uses all streams."""

import pytest

from pico_core.boundary import Received
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, NUMBERED, error, proxy_play
from tests.play import REQUEST_ID, Data, Open

TOO_OFTEN = error(508, "Loop Detected", "the request comes back again and again", reason="loop")


def coming_back(known: bytes) -> bytes:
    return GET[:-2] + b"X-Pico-Request-ID: %b\r\n\r\n" % known


@pytest.mark.parametrize(
    ("known", "passes"),
    [
        (REQUEST_ID, b"1"),
        (b"of-a-trusted-proxy", b"1"),
        (REQUEST_ID + b"-1", b"2"),
        (REQUEST_ID + b"-15", b"16"),
        (REQUEST_ID + b"-017", b"1"),
    ],
)
def test_the_id_says_how_often_a_request_came_back(known: bytes, passes: bytes) -> None:
    sent = GET_SENT.replace(NUMBERED, NUMBERED[:-2] + b"-" + passes + b"\r\n")
    assert proxy_play() >> Received(CLIENT, coming_back(known)) << Open(AGENT, 2) << Data(AGENT, 2, sent)


@pytest.mark.parametrize("known", [REQUEST_ID + b"-16", b"x-99"])
def test_a_request_that_comes_back_again_and_again_is_refused(known: bytes) -> None:
    play = proxy_play() >> Received(CLIENT, coming_back(known)) << TOO_OFTEN
    assert play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
