"""Which Host the service is told."""

import pytest
from msgspec.structs import replace

from pico_core.boundary import Connect, Connected, Received, Send
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.load import load
from pico_core.config.values import Origin
from pico_core.errors import ConfigError
from tests.core.agent.scene import OK, SERVER, SERVICE, agent_config, registered
from tests.play import Data, Open, Play

FORWARDED = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: e1.example.com\r\n"


def listening(host_header: str, addr: Origin) -> AgentConfig:
    config = agent_config()
    return replace(config, listeners=(replace(config.listeners[0], host_header=host_header, addr=addr),))


def asked_for(play: Play, fields: bytes, addr: Origin) -> Play:
    """Let a request come through the tunnel, and the connection to the service open."""
    request = b"GET / HTTP/1.1\r\n" + fields + FORWARDED + b"\r\n"
    play >> Open(SERVER, 2) >> Data(SERVER, 2, request) << Connect(SERVICE, addr.host, addr.port, 10.0)
    return play >> Connected(SERVICE, addr.host, addr.port)


@pytest.mark.parametrize(
    ("host_header", "addr", "told"),
    [
        ("keep", Origin("127.0.0.1", 3000), b"e1.example.com"),
        ("rewrite", Origin("127.0.0.1", 3000), b"127.0.0.1:3000"),
        ("rewrite", Origin("127.0.0.1", 80), b"127.0.0.1"),
        ("rewrite", Origin("::1", 80), b"[::1]"),
        ("rewrite", Origin("::1", 3000), b"[::1]:3000"),
        ("localhost", Origin("127.0.0.1", 3000), b"localhost"),
        ("dev.local:8080", Origin("127.0.0.1", 3000), b"dev.local:8080"),
    ],
)
def test_the_host_that_the_service_is_told(host_header: str, addr: Origin, told: bytes) -> None:
    play = registered(listening(host_header, addr))
    sent = b"GET / HTTP/1.1\r\nHost: " + told + b"\r\nAccept: */*\r\n" + FORWARDED + b"\r\n"
    assert asked_for(play, b"Host: e1.example.com\r\nAccept: */*\r\n", addr) << Send(SERVICE, sent)
    # The next request of the stream, whose head the reader remembers.
    again = b"GET /2 HTTP/1.1\r\nHost: e1.example.com\r\nAccept: */*\r\n" + FORWARDED + b"\r\n"
    assert (
        play
        >> Received(SERVICE, OK)
        << Data(SERVER, 2, OK)
        >> Data(SERVER, 2, again)
        << Send(SERVICE, sent.replace(b"GET / ", b"GET /2 "))
    )


def test_wherever_the_field_stands_and_however_it_is_spelt() -> None:
    addr = Origin("127.0.0.1", 3000)
    play = asked_for(registered(listening("localhost", addr)), b"A: host: x\r\nhOST:e1\r\nHost-Id: 7\r\n", addr)
    sent = b"GET / HTTP/1.1\r\nHost: localhost\r\nA: host: x\r\nHost-Id: 7\r\n" + FORWARDED + b"\r\n"
    assert play << Send(SERVICE, sent)


def test_a_tcp_listener_has_no_host() -> None:
    with pytest.raises(ConfigError, match="host_header is for http listeners, found 'rewrite' at a tcp one"):
        ListenerConfig(endpoint_id="a", addr=Origin("h", 1), protocol="tcp", host_header="rewrite")


@pytest.mark.parametrize("text", ["", "a b", "a:x", ":80", "a/b", "a:99999"])
def test_what_is_not_a_host(text: str) -> None:
    with pytest.raises(ConfigError, match="wants keep, rewrite, or a host such as localhost or localhost:3000"):
        load(ListenerConfig, None, {"endpoint_id": "a", "addr": "1", "host_header": text}, "")
