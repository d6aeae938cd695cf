"""How long a stream of a tunnel may take for a request's head, and may wait for the next one."""

from pico_core.boundary import Connected, Received
from pico_core.records import Record
from tests.core.agent.scene import DIAL, GET, OK, SERVER, SERVICE, asked
from tests.play import Data, End, Play, Reset


def of_stream(play: Play) -> list[Record]:
    """Return what the server gets on the stream now."""
    return [each for each in play.take() if isinstance(each, Data | End | Reset)]


def test_a_head_must_come_within_thirty_seconds() -> None:
    play = asked(request=GET[:-2]) >> 29.9
    assert not of_stream(play)
    play >> 30.1
    assert of_stream(play)


def test_a_stream_waits_five_minutes_for_its_next_request() -> None:
    play = asked() << DIAL >> Connected(SERVICE, "127.0.0.1", 3000)
    play.take()
    play >> Received(SERVICE, OK)
    assert of_stream(play) == [Data(SERVER, 2, OK)]
    play >> 299.9
    assert not of_stream(play)
    play >> 300.1
    assert of_stream(play)
