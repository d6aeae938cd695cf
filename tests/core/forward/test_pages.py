"""The admin port of a forwarder: what probes, scrapers and operators get."""

import json
import random

from prometheus_client.parser import text_string_to_metric_families

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConfigReloaded,
    Connect,
    ConnectFailed,
    ConnectionLost,
    Exit,
    Listen,
    ListenFailed,
    Listening,
    PauseReading,
    Received,
    Send,
    Tick,
)
from pico_core.config.client_admin import ClientAdminConfig
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.values import Address, Origin
from pico_core.forward.machine import ForwardMachine
from pico_core.plain.client_pages import OPEN_PORT
from pico_core.plain.hosts import unknown_host
from tests.play import Play

OPERATOR = 21
REDIS = PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis")
MAIL = PortConfig(addr=Address("127.0.0.1", 2500), endpoint_id="mail")


def config(*ports: PortConfig) -> ForwardConfig:
    return ForwardConfig(
        ports=ports,
        connect=ForwardConnectConfig(url=Origin("127.0.0.1", 8000, "http"), timeout_s=1.0),
        admin=ClientAdminConfig(bind_addr=Address("", 8005)),
    )


def started(*ports: PortConfig) -> Play:
    play = Play(ForwardMachine(config(*ports), random.Random(1))) >> Tick() << Listen("admin", "", 8005)
    for number, port in enumerate(ports):
        play << Listen(str(number), port.addr.host, port.addr.port)
    return play >> Listening("admin", "::", 8005) >> Accepted(OPERATOR, "admin", "192.0.2.3", 6000)


def asked(play: Play, path: str, host: str = "localhost") -> tuple[int, str]:
    play >> Received(OPERATOR, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    (answer,) = [each for each in play.take() if isinstance(each, Send)]
    assert isinstance(answer.data, bytes)
    head, _, body = answer.data.decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


def samples(play: Play) -> dict[str, float]:
    families = text_string_to_metric_families(asked(play, "/metrics")[1])
    rows = [sample for family in families for sample in family.samples]
    return {" ".join([row.name, *row.labels.values()]): row.value for row in rows}


def test_it_is_ready_once_every_port_is_open() -> None:
    play = started(REDIS, MAIL) >> Listening("1", "127.0.0.1", 2500)
    assert asked(play, "/health") == (200, "ok\n")
    assert asked(play, "/ready") == (503, "not listening: 127.0.0.1:6379\n")
    play >> Listening("0", "127.0.0.1", 6379)
    assert asked(play, "/ready") == (200, "ready\n")


def test_ports_that_other_hosts_reach_are_warned_of() -> None:
    play = started(REDIS, MAIL) >> Listening("0", "127.0.0.1", 6379) >> Listening("1", "0.0.0.0", 2500)
    play.take()
    warnings = [log for log in play.logs if log.level == "warning"]
    assert [(log.subsystem, log.message, log.fields) for log in warnings] == [
        ("admin", OPEN_PORT, {"addr": "[::]:8005"}),
        ("forward", OPEN_PORT, {"addr": "0.0.0.0:2500", "endpoint": MAIL.endpoint_id}),
    ]


def test_it_counts_connections_and_what_became_of_them() -> None:
    play = started(REDIS) >> Listening("0", "127.0.0.1", 6379)
    assert play >> Accepted(1, "0", "127.0.0.1", 40_000) << PauseReading(1) << Connect(2, "127.0.0.1", 8000, 1.0)
    found = samples(play)
    assert found["pico_forward_connections redis"] == 1
    assert found["pico_forward_accepted_total redis"] == 1
    assert found["pico_forward_listening 127.0.0.1:6379 redis"] == 1
    assert found["process_open_fds"] == 12
    assert found["process_cpu_seconds_total"] == 1.25
    play >> ConnectFailed(2, "connection refused")
    assert samples(play)["pico_forward_retries_total redis"] == 1
    play >> ConnectionLost(1, "reset")
    found = samples(play)
    assert found["pico_forward_connections redis"] == 0
    assert found["pico_forward_failures_total redis client-left"] == 1
    (row,) = json.loads(asked(play, "/status")[1])["ports"]
    assert row == {
        "addr": "127.0.0.1:6379",
        "endpoint": "redis",
        "listening": True,
        "connections": 0,
        "accepted": 1,
        "failures": {"refused": 0, "unreachable": 0, "client-left": 1},
    }


def test_counts_of_an_endpoint_last_as_long_as_its_port() -> None:
    play = started(REDIS) >> Listening("0", "127.0.0.1", 6379) >> Accepted(1, "0", "127.0.0.1", 40_000)
    play.take()
    play >> ConfigReloaded(config(REDIS, MAIL))
    play.take()
    found = samples(play)
    assert found["pico_forward_accepted_total redis"] == 1
    assert found["pico_forward_listening 127.0.0.1:2500 mail"] == 0
    play >> ConfigReloaded(config(MAIL))
    play.take()
    assert "pico_forward_accepted_total redis" not in samples(play)


def test_a_page_cannot_read_it_by_a_name_of_its_own() -> None:
    play = started(REDIS)
    assert asked(play, "/metrics", "evil.example") == (421, f'{{"error": "{unknown_host("forwarder")}"}}')
    assert asked(play, "/nothing")[0] == 404


def test_without_its_admin_port_it_ends() -> None:
    play = started(REDIS) >> ListenFailed("admin", "address already in use")
    assert play << Exit(
        1, "cannot listen on admin address ':8005': address already in use; choose another one with --admin.bind-addr"
    )


def test_operators_have_64_connections() -> None:
    """The one that is idle for longest gives way to another one."""
    play = started(REDIS)
    play.take()
    numbers = range(101, 101 + 2 * 63, 2)
    for number in numbers:
        play >> Accepted(number, "admin", "192.0.2.3", 6000)
    assert not [each for each in play.take() if isinstance(each, Close | Abort)]
    play >> Accepted(901, "admin", "192.0.2.3", 6000)
    assert [each.connection for each in play.take() if isinstance(each, Close | Abort)] == [OPERATOR]
