"""Ports of the forwarder that a changed configuration adds and removes."""

from pico_core.boundary import (
    Abort,
    Accepted,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectionLost,
    Listen,
    ListenFailed,
    Listening,
    PauseReading,
    Received,
    Send,
    StopListening,
)
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.values import Address
from tests.core.forward.scene import CONNECT, CONNECTED, LOCAL, SERVER_URL, forward_play, heard, piped
from tests.play import Nothing, joined


def port(number: int, endpoint: str) -> PortConfig:
    return PortConfig(addr=Address("127.0.0.1", number), endpoint_id=endpoint)


def reloaded(*ports: PortConfig) -> ConfigReloaded:
    return ConfigReloaded(ForwardConfig(ports=ports, connect=SERVER_URL))


def test_ports_are_added_and_removed_while_others_go_on() -> None:
    play = forward_play() >> reloaded(port(6379, "redis"), port(8080, "web"))
    assert play << StopListening("1") << Listen("2", "127.0.0.1", 8080) >> Listening("2", "127.0.0.1", 8080)
    assert [log.fields["changed"] for log in play.logs if log.message == "configuration read again"] == ["ports"]
    assert play >> Accepted(1, "0", "127.0.0.1", 40_000) << PauseReading(1) << CONNECT
    play >> Accepted(3, "2", "127.0.0.1", 40_001) << PauseReading(3) << Connect(4, "127.0.0.1", 8000, 30.0)
    play >> Connected(4, "127.0.0.1", 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/web HTTP/1.1\r\n")


def test_a_connection_of_a_port_that_is_removed_goes_on() -> None:
    play = piped() >> reloaded(port(5432, "a:b")) << StopListening("0")
    play >> Received(LOCAL, b"PING")
    assert heard(play)
    play >> ConnectionLost(LOCAL, "reset")
    play.take()
    assert set(play.machine.admission.ports) == {"0", "1"}  # type: ignore[attr-defined]
    play >> reloaded(port(5432, "c"))
    assert set(play.machine.admission.ports) == {"1"}  # type: ignore[attr-defined]


def test_a_connection_that_waited_when_its_port_was_removed_is_served() -> None:
    """The driver accepts what the kernel holds of a listener before it closes it."""
    play = forward_play() >> reloaded(port(5432, "a:b")) << StopListening("0")
    play >> Accepted(LOCAL, "0", "127.0.0.1", 40_000) << PauseReading(LOCAL) << CONNECT >> CONNECTED
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/redis HTTP/1.1\r\n")
    play >> reloaded(port(5432, "c"))
    assert play >> Accepted(3, "0", "127.0.0.1", 40_001) << Abort(3)


def test_a_port_that_is_added_and_removed_before_it_is_open() -> None:
    play = forward_play() >> reloaded(port(6379, "redis"), port(5432, "a:b"), port(80, "web"))
    play >> reloaded(port(6379, "redis"), port(5432, "a:b"))
    assert play << Listen("2", "127.0.0.1", 80) << StopListening("2") >> Listening("2", "127.0.0.1", 80) << Nothing()
    assert "2" not in play.machine.listening  # type: ignore[attr-defined]


def test_a_port_for_another_endpoint_stays_open() -> None:
    play = forward_play() >> reloaded(port(6379, "other"), port(5432, "a:b")) << Nothing()
    play >> Accepted(LOCAL, "0", "127.0.0.1", 40_000) << PauseReading(LOCAL) << CONNECT >> CONNECTED
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/other HTTP/1.1\r\n")


def test_a_port_that_cannot_be_added_ends_nothing_and_is_tried_again() -> None:
    more = reloaded(port(6379, "redis"), port(5432, "a:b"), port(80, "web"))
    play = forward_play() >> more << Listen("2", "127.0.0.1", 80) >> ListenFailed("2", "permission denied")
    assert play << Nothing()
    (line,) = [log for log in play.logs if log.message == "cannot listen"]
    assert (line.level, line.fields["addr"]) == ("error", "127.0.0.1:80")
    assert play >> more << Listen("3", "127.0.0.1", 80) >> Listening("3", "127.0.0.1", 80)
    assert play >> reloaded() << Nothing()
    assert play.logs[-1].fields == {"reason": "it has no ports"}
