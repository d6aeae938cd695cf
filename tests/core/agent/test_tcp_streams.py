"""A ``tcp`` listener: each stream is one connection to the service."""

from pico_core.boundary import (
    Abort,
    Close,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    ShutdownRequested,
    WritingPaused,
    WritingResumed,
)
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from tests.core.agent.scene import DIAL, SERVER, SERVICE, agent_config, registered
from tests.play import Data, End, GoAway, Nothing, Open, Play, Reset

CONNECTED = Connected(SERVICE, "127.0.0.1", 3000)


def opened() -> Play:
    """Return a play in which the server has opened a stream."""
    return registered(agent_config("tcp")) >> Open(SERVER, 2) << DIAL


def joined() -> Play:
    """Return a play in which the service has accepted the connection."""
    return opened() >> CONNECTED << Nothing()


def test_bytes_pass_both_ways() -> None:
    assert (
        joined()
        >> Data(SERVER, 2, b"PING\r\n")
        << Send(SERVICE, b"PING\r\n")
        >> 1_000.0
        >> Received(SERVICE, b"+PONG\r\n")
        << Data(SERVER, 2, b"+PONG\r\n")
    )


def test_a_service_may_speak_first() -> None:
    assert joined() >> Received(SERVICE, b"220 hello\r\n") << Data(SERVER, 2, b"220 hello\r\n")


def test_bytes_are_kept_until_the_service_accepts() -> None:
    play = opened() >> Data(SERVER, 2, b"a") >> Data(SERVER, 2, b"b") >> End(SERVER, 2) << Nothing()
    assert play >> CONNECTED << Send(SERVICE, b"a") << Send(SERVICE, b"b") << SendEof(SERVICE)


def test_bytes_that_are_kept_are_bounded_by_the_window() -> None:
    play = opened() >> Data(SERVER, 2, bytes(INITIAL_WINDOW_BYTES)) << Nothing()
    stream = play.tunnels[SERVER].streams[2]
    assert stream.send_window_bytes == 0
    play >> CONNECTED
    play.take()
    assert stream.send_window_bytes == INITIAL_WINDOW_BYTES


def test_half_close_passes_in_both_directions() -> None:
    assert (
        joined()
        >> Data(SERVER, 2, b"question")
        >> End(SERVER, 2)
        << Send(SERVICE, b"question")
        << SendEof(SERVICE)
        >> Received(SERVICE, b"answer")
        << Data(SERVER, 2, b"answer")
        >> EofReceived(SERVICE)
        << Close(SERVICE)
        << End(SERVER, 2)
    )
    assert (
        joined()
        >> EofReceived(SERVICE)
        << End(SERVER, 2)
        >> Data(SERVER, 2, b"late")
        << Send(SERVICE, b"late")
        >> End(SERVER, 2)
        << SendEof(SERVICE)
        << Close(SERVICE)
    )


def test_resets_pass_in_both_directions() -> None:
    assert joined() >> Reset(SERVER, 2) << Abort(SERVICE)
    assert joined() >> ConnectionLost(SERVICE, "reset") << Reset(SERVER, 2)


def test_a_service_that_is_down_resets_the_stream() -> None:
    play = opened() >> ConnectFailed(SERVICE, "connection refused") << Reset(SERVER, 2)
    assert play
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.fields["reason"] == "connection refused"


def test_a_client_that_does_not_wait() -> None:
    assert opened() >> Reset(SERVER, 2) << Abort(SERVICE) >> CONNECTED << Abort(SERVICE) >> ConnectionLost(SERVICE, "")
    assert opened() >> Reset(SERVER, 2) << Abort(SERVICE) >> ConnectFailed(SERVICE, "aborted")


def test_the_slower_side_sets_the_pace() -> None:
    play = joined()
    stream = play.tunnels[SERVER].streams[2]
    assert play >> WritingPaused(SERVICE) >> Data(SERVER, 2, bytes(200_000)) << Send(SERVICE, bytes(200_000))
    assert stream.send_window_bytes == INITIAL_WINDOW_BYTES - 200_000
    assert play >> WritingResumed(SERVICE)
    assert stream.send_window_bytes == INITIAL_WINDOW_BYTES
    assert (
        play
        >> WritingPaused(SERVER)
        >> Received(SERVICE, b"a")
        << Nothing()
        >> Received(SERVICE, b"b")
        << PauseReading(SERVICE)
        >> WritingResumed(SERVER)
        << ResumeReading(SERVICE)
        << Data(SERVER, 2, b"ab")
    )


def test_a_connection_lives_on_while_the_agent_drains() -> None:
    assert (
        joined()
        >> ShutdownRequested()
        << GoAway(SERVER)
        >> 30.0
        >> Received(SERVICE, b"a")
        << Data(SERVER, 2, b"a")
        >> EofReceived(SERVICE)
        << End(SERVER, 2)
    )
