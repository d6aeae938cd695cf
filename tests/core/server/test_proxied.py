"""Connections that a trusted proxy opens where they have to begin with a PROXY header."""

import msgspec
import pytest
from msgspec.structs import replace

from pico_core.boundary import (
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    StartTls,
    TlsStarted,
)
from pico_core.config.networks import network
from pico_core.config.ports import ProxyConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.config.tls import ProxyTlsConfig
from pico_core.errors import ConfigError
from pico_core.proxy_protocol import SIGNATURE
from pico_core.server.admin.metrics_text import metrics_text
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, GET, NUMBERED, OK, client_joins
from tests.core.server.test_admission import CLIENT_REFUSED
from tests.neighbours import Neighbour
from tests.play import Data, Nothing, Open, Play, joined, server_play

CONFIG = msgspec.convert(
    {
        name: {"trusted_proxies": [network("10.0.0.0/8")], "proxy_protocol": "required"}
        for name in ("proxy", "upstream")
    },
    ServerConfig,
    from_attributes=True,
)
BALANCER = "10.0.0.1"
LINE = b"PROXY TCP4 192.0.2.99 10.0.0.1 5000 8000\r\n"
BINARY = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 99, 10, 0, 0, 1]) + b"\x13\x88\x1f\x40"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNIX = SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216)
NAMELESS = (b"PROXY UNKNOWN\r\n", LOCAL, SIGNATURE + b"\x21\x00\x00\x00", UNIX)
HEADERS = {"version 1": LINE, "version 2": BINARY}
CLOSED = "closed a connection of a trusted proxy, which has to begin with a PROXY header here"


def get_sent(client: str) -> bytes:
    return GET[:-2] + (
        f"X-Forwarded-For: {client}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: e1.example.com\r\n".encode()
        + NUMBERED
        + b"\r\n"
    )


def proxied(number: int = 5, config: ServerConfig = CONFIG) -> Play:
    """Return a server with an agent for e1 and a connection that the balancer has opened."""
    play = server_play(config)
    play.agent_registers(AGENT, "e1")
    return play >> Accepted(number, "proxy", BALANCER, 5000)


def reasons(play: Play) -> list[object]:
    return [log.fields["reason"] for log in play.logs if log.message == CLOSED]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_client_is_the_one_in_the_header(header: bytes) -> None:
    play = proxied() >> Received(5, header + GET) << Open(AGENT, 2) << Data(AGENT, 2, get_sent("192.0.2.99"))
    assert play >> Data(AGENT, 2, OK) << Send(5, OK) >> Received(5, GET) << Data(AGENT, 2, get_sent("192.0.2.99"))
    assert b'"client":"192.0.2.99"' in play.access_log[0]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_in_pieces(header: bytes) -> None:
    play = proxied()
    for byte in header + GET[:-1]:
        play = play >> Received(5, bytes([byte])) << Nothing()
    assert play >> Received(5, GET[-1:]) << Open(AGENT, 2) << Data(AGENT, 2, get_sent("192.0.2.99"))


def test_what_such_a_client_says_of_others_is_not_believed() -> None:
    claiming = GET[:-2] + b"X-Forwarded-For: 6.6.6.6\r\n\r\n"
    assert proxied() >> Received(5, LINE + claiming) << Open(AGENT, 2) << Data(AGENT, 2, get_sent("192.0.2.99"))


def test_a_balancer_behind_the_balancer_is_believed() -> None:
    telling = GET[:-2] + b"X-Forwarded-For: 192.0.2.1\r\n\r\n"
    line = LINE.replace(b"192.0.2.99", b"10.0.0.7")
    play = proxied() >> Received(5, line + telling) << Open(AGENT, 2)
    assert play << Data(AGENT, 2, get_sent("192.0.2.1, 10.0.0.7"))


def test_where_the_proxy_speaks_for_itself_it_is_the_client() -> None:
    assert proxied() >> Received(5, LOCAL + GET) << Open(AGENT, 2) << Data(AGENT, 2, get_sent(BALANCER))


@pytest.mark.parametrize("header", NAMELESS)
def test_behind_a_header_without_an_address_no_client_is_trusted(header: bytes) -> None:
    claiming = GET[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\r\n"
    play = proxied() >> Received(5, header + claiming) << Open(AGENT, 2) << Data(AGENT, 2, get_sent(BALANCER))
    assert play >> Data(AGENT, 2, OK) << Send(5, OK)
    assert f'"client":"{BALANCER}"'.encode() in play.access_log[0]


@pytest.mark.parametrize("header", NAMELESS)
def test_an_agent_behind_a_header_without_an_address_is_not_the_one_it_names(header: bytes) -> None:
    play = server_play(CONFIG) >> Accepted(5, "upstream", BALANCER, 5000)
    play >> Received(5, header + b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
    play.take()
    assert [log.fields["client"] for log in play.logs if log.message == "tunnel refused"] == [BALANCER]


def test_without_a_header_the_connection_is_closed() -> None:
    play = proxied() >> Received(5, GET) << Close(5)
    assert play
    assert reasons(play) == ["no PROXY header"]


def test_without_a_header_in_time_the_connection_is_closed() -> None:
    play = proxied() >> 9.0 << Nothing() >> 11.5 << Close(5)
    assert play
    assert reasons(play) == ["no PROXY header in time"]


def test_the_time_for_the_head_begins_with_the_connection() -> None:
    play = proxied() >> 9.0 >> Received(5, LINE + b"GET / HT") << Nothing() >> 11.5
    (refusal, *_) = play.take()
    assert isinstance(refusal, Send)


def test_who_floods_without_headers_fills_no_log() -> None:
    play = proxied()
    for number in range(101, 301, 2):
        play >> Accepted(number, "proxy", BALANCER, 5000) >> Received(number, b"GET")
    play.take()
    assert len(reasons(play)) < 20


def test_a_health_check_that_sends_nothing_is_not_logged() -> None:
    play = proxied() >> EofReceived(5) << Close(5) >> ConnectionLost(5, "")
    play = play >> Accepted(7, "proxy", BALANCER, 5000) >> ConnectionLost(7, "reset") >> 30.0
    assert play
    assert reasons(play) == []


def test_half_a_header_and_the_end() -> None:
    play = proxied() >> Received(5, LINE[:20]) >> EofReceived(5) << Close(5)
    assert play
    assert reasons(play) == ["unfinished PROXY header"]


def test_other_peers_send_none_and_what_they_send_is_not_a_header() -> None:
    play = client_joins(proxied()) >> Received(3, GET) << Open(AGENT, 2) << Data(AGENT, 2, get_sent("192.0.2.7"))
    play = client_joins(play, 7) >> Received(7, LINE)
    (refusal, *_) = play.take()
    assert isinstance(refusal, Send)
    assert joined(refusal.data).startswith(b"HTTP/1.1 400")


def test_a_node_among_the_trusted_addresses_needs_no_header() -> None:
    play = server_play(CONFIG)
    play.agent_registers(AGENT, "e1")
    Neighbour(play, "node-20", BALANCER, 8013)
    hop = GET[:-2] + b"x-piko-forward: true\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    play = play >> Accepted(5, "proxy", BALANCER, 5000) >> Received(5, hop) << Open(AGENT, 2)
    told = "192.0.2.1, 10.0.0.1"  # without a key it counts as a proxy
    assert play << Data(AGENT, 2, get_sent(told))
    play >> Accepted(7, "proxy", BALANCER, 5000) >> Received(7, LINE + GET)
    assert play << Open(AGENT, 4) << Data(AGENT, 4, get_sent("192.0.2.99"))


def test_agents_through_the_upstream_port() -> None:
    play = server_play(CONFIG)
    play >> Accepted(5, "upstream", BALANCER, 5000) >> Received(5, BINARY + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    play >> Accepted(7, "upstream", BALANCER, 5000) >> Received(7, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    play.take()
    assert [log.fields["client"] for log in play.logs if log.message == "tunnel refused"] == ["192.0.2.99"]
    assert reasons(play) == ["no PROXY header"]


def test_shares_are_those_of_the_clients_and_not_of_the_balancer() -> None:
    """Of 16 places, 14 are for anyone; the last 2 are for addresses with fewer than 8."""
    config = msgspec.structs.replace(CONFIG, max_connections=34)
    play = server_play(config)
    for number in range(101, 129, 2):
        play >> Accepted(number, "proxy", BALANCER, 5000) >> Received(number, LINE + b"GET / HT")
    assert play << Nothing()
    greedy = play >> Accepted(201, "proxy", BALANCER, 5000) << Nothing() >> Received(201, LINE + GET)
    (refusal, *_) = greedy.take()
    assert refusal == Send(201, CLIENT_REFUSED)
    other = LINE.replace(b"192.0.2.99", b"192.0.2.98")
    assert play >> Accepted(203, "proxy", BALANCER, 5000) >> Received(203, other + b"GET / HT") << Nothing()


def test_a_balancer_without_headers_has_no_share() -> None:
    config = msgspec.convert(
        {"proxy": {"trusted_proxies": [network("10.0.0.0/8")]}, "max_connections": 34}, ServerConfig
    )
    play = server_play(config)
    for number in range(101, 133, 2):
        play >> Accepted(number, "proxy", BALANCER, 5000) >> Received(number, b"GET / HT")
    assert play << Nothing()


@pytest.mark.parametrize("section", [ProxyConfig, UpstreamConfig])
def test_somebody_must_be_trusted_to_send_headers(section: type[ProxyConfig | UpstreamConfig]) -> None:
    with pytest.raises(ConfigError, match="proxy_protocol is required, but trusted_proxies names nobody"):
        section(proxy_protocol="required")


def test_tls_begins_behind_the_header() -> None:
    """The port is opened without TLS; what came behind the header is the beginning of the handshake."""
    tls = ProxyTlsConfig(cert=("a.pem",), key=("a.key",))
    config = replace(CONFIG, proxy=replace(CONFIG.proxy, tls=tls))
    play = server_play(config)
    play.agent_registers(AGENT, "e1")
    play >> Accepted(5, "proxy", BALANCER, 5000) >> Received(5, LINE + b"hello") << StartTls(5, "proxy", "", b"hello")
    sent = get_sent("192.0.2.99").replace(b"Proto: http\r", b"Proto: https\r")
    assert play >> TlsStarted(5) >> Received(5, GET) << Open(AGENT, 2) << Data(AGENT, 2, sent)
    play >> Accepted(7, "proxy", "192.0.2.50", 5000) << StartTls(7, "proxy", "", b"")
    assert play >> ConnectionLost(7, "the client does not speak TLS at this port")


WITHOUT = {
    "missing": GET,
    "malformed": b"PROXY TCP4 192.0.2.99 10.0.0.1 5000\r\n",
    "malformed-2": SIGNATURE + b"\x21\x11\x00\x04abcd",
    "unsupported": SIGNATURE + b"\x31\x11\x00\x0c",
    "unsupported-2": SIGNATURE + b"\x21\x51\x00\x0c",
    "too-long": b"PROXY UNKNOWN " + b"x" * 100,
    "too-long-2": SIGNATURE + b"\x21\x11\xff\xff",
}


@pytest.mark.parametrize("port", ["proxy", "upstream"])
@pytest.mark.parametrize("sent", WITHOUT.values(), ids=WITHOUT)
def test_what_was_wrong_with_a_header_is_counted_and_logged(port: str, sent: bytes) -> None:
    code = next(name for name, each in WITHOUT.items() if each == sent).removesuffix("-2")
    play = server_play(CONFIG) >> Accepted(5, port, BALANCER, 5000) >> Received(5, sent) << Close(5)
    assert play
    assert counted(play) == {(port, code): 1}
    (line,) = [log.fields for log in play.logs if log.message == CLOSED]
    assert (line["proxy"], line["code"]) == (BALANCER, code)


@pytest.mark.parametrize("port", ["proxy", "upstream"])
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_that_does_not_come_whole_is_counted(port: str, header: bytes) -> None:
    play = server_play(CONFIG) >> Accepted(5, port, BALANCER, 5000) >> Received(5, header[:-1]) >> EofReceived(5)
    play >> Accepted(7, port, BALANCER, 5000) >> Received(7, header[:-1]) >> 30.0
    play.take()
    assert counted(play) == {(port, "unfinished"): 1, (port, "late"): 1}
    play >> Accepted(9, port, BALANCER, 5000) >> Received(9, header) >> Accepted(11, port, BALANCER, 5000)
    play >> EofReceived(11)
    play.take()
    assert sum(counted(play).values()) == 2, "whole ones, and checks that send nothing, are not"


def counted(play: Play) -> dict[tuple[str, str], int]:
    assert isinstance(play.machine, ServerNode)
    facts = play.machine.facts
    found = {key: count for key, count in facts.metrics.proxy_headers_refused.items() if count}
    text = metrics_text(facts, play.now).decode()
    for (port, code), count in found.items():
        assert f'pico_proxy_headers_refused_total{{listener="{port}",reason="{code}"}} {count}\n' in text
    return found
