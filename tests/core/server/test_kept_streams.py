"""What a tunnel keeps of the upstreams that it opened: nothing of those that it closed because they were idle."""

import gc
import random

from pico_core.boundary import Received
from pico_core.proxy.http1.upstream import UpstreamConnection
from pico_core.server.tunnels import KEEP_IDLE_STREAM_S
from pico_core.websocket.encoding import encode_control
from pico_core.websocket.frame import PING
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, proxy_play
from tests.play import Data, Open

STREAM = 2


def kept() -> int:
    """Return how many upstreams there are in this process."""
    gc.collect()
    return sum(type(each) is UpstreamConnection for each in gc.get_objects())


def test_a_stream_that_was_idle_for_too_long_is_forgotten() -> None:
    before = kept()
    play = proxy_play() >> Received(CLIENT, GET)
    play.take()
    play = play >> Data(AGENT, STREAM, OK)
    play.take()
    assert kept() == before + 1, "it waits for the next request"
    for second in range(5, int(KEEP_IDLE_STREAM_S) + 20, 5):  # more often than the node pings
        play = play >> float(second) >> Received(AGENT, encode_control(PING, b"", random.Random(1)))
        play.take()
    assert kept() == before
    assert play >> Received(CLIENT, GET) << Open(AGENT, STREAM + 2) << Data(AGENT, STREAM + 2, GET_SENT)
