"""Limits and times of ports that change while a node runs."""

from pico_core.boundary import Accepted, Close, ConfigReloaded, EofReceived, Received, Send
from pico_core.config.ports import ProxyConfig, ProxyHttpConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from tests.core.proxy.scene import AGENT, CLIENT, GET, client_joins, error, proxy_play
from tests.play import Nothing, Open, joined, node_of


def test_limits_of_heads_change_while_it_runs() -> None:
    play = proxy_play()
    long = GET[:-2] + b"X-Long: " + bytes(2000).replace(b"\0", b"a") + b"\r\n\r\n"
    http = ProxyHttpConfig(max_header_bytes=1024, max_unfinished_bytes=65_536, read_header_timeout_s=4.0)
    assert play >> ConfigReloaded(ServerConfig(proxy=ProxyConfig(http=http)))
    assert not [log for log in play.logs if log.message == "some changes need a restart"]
    assert node_of(play).heads.limit_bytes == 65_536
    play >> Received(CLIENT, long) << Open(AGENT, 2)
    play.take()  # a connection that is open keeps its limit
    client_joins(play, 101) >> Received(101, long)
    (refused, *_) = play.take()
    assert isinstance(refused, Send)
    assert joined(refused.data).startswith(b"HTTP/1.1 431 ")
    client_joins(play, 103) >> Received(103, b"GET / HT") >> 4.6
    assert any(isinstance(said, Send) and joined(said.data).startswith(b"HTTP/1.1 408 ") for said in play.take())


def test_the_time_to_register_changes_while_it_runs() -> None:
    play = proxy_play() >> ConfigReloaded(ServerConfig(upstream=UpstreamConfig(registration_timeout_s=2.0)))
    assert play >> Accepted(9, "upstream", "192.0.2.1", 4000) >> 1.9 << Nothing() >> 2.6 << Close(9)


def test_the_time_to_wait_for_a_route_changes_while_it_runs() -> None:
    play = proxy_play() >> ConfigReloaded(ServerConfig(proxy=ProxyConfig(wait_timeout_s=0.0)))
    play >> EofReceived(AGENT) << Close(AGENT)
    assert play >> Received(CLIENT, GET) << error(502, "Bad Gateway", "no available upstreams")
    play >> ConfigReloaded(ServerConfig(proxy=ProxyConfig(wait_timeout_s=1.0, max_waiting=1)))
    play.agent_registers(7, "e1")
    play >> EofReceived(7) << Close(7)
    client_joins(play, 101)
    assert play >> Received(CLIENT, GET) << Nothing()
    assert play >> Received(101, GET) << error(502, "Bad Gateway", "no available upstreams", client=101)
    assert play >> 1.6 << error(502, "Bad Gateway", "no available upstreams")
