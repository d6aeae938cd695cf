"""What a page in a browser may ask of Pico's own routes, on each port, by Origin and by Host."""

import msgspec
import pytest

from pico_core.boundary import Connected, Received, Send
from pico_core.config.ports import AdminConfig, ProxyConfig, UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.http.message import MessageError
from pico_core.server.web_pages import check_origin, host_names
from tests.core.http.growth import grows_linearly
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, client_joins, error, proxy_play
from tests.core.server.admin.scene import OPERATOR, admin_play, joins
from tests.core.server.test_peers import FIRST, HOP, clustered, dial
from tests.core.server.test_tcp_route import ACCEPTED, ASKING
from tests.core.server.tunnel_scene import ACCEPTED as REGISTERED
from tests.core.server.tunnel_scene import HANDSHAKE
from tests.core.server.tunnel_scene import connected as agent_connected
from tests.play import Data, Nothing, Open, Play, joined, server_play

APP = "https://app.example.com"


def of_page(request: bytes, origin: str) -> Received:
    return Received(CLIENT, request[:-2] + f"Origin: {origin}\r\n\r\n".encode())


def proxy_for(*origins: str) -> Play:
    return proxy_play(ServerConfig(proxy=ProxyConfig(allowed_origins=origins)))


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", APP])
def test_a_page_does_not_reach_tcp_endpoints(origin: str) -> None:
    reason = "pages of this Origin are not allowed here: see proxy.allowed_origins"
    assert proxy_play() >> of_page(ASKING, origin) << error(403, "Forbidden", reason)


def test_connection_does_not_take_the_page_away() -> None:
    asking = ASKING.replace(b"Connection: Upgrade", b"Connection: Upgrade, Origin")
    assert asking != ASKING
    (refused,) = (proxy_play() >> of_page(asking, "null")).take()
    assert isinstance(refused, Send)
    assert joined(refused.data).startswith(b"HTTP/1.1 403 ")


def test_a_page_that_is_allowed_reaches_tcp_endpoints() -> None:
    assert proxy_for(APP) >> of_page(ASKING, "https://APP.example.com") << Open(AGENT, 2) << ACCEPTED
    assert proxy_for("*") >> of_page(ASKING, "null") << Open(AGENT, 2) << ACCEPTED
    refused = proxy_for(APP) >> of_page(ASKING, f"{APP}.evil.example")
    (answer,) = refused.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(b"HTTP/1.1 403 ")


def test_both_nodes_look_at_the_page() -> None:
    (refused,) = (clustered() >> of_page(ASKING, APP)).take()
    assert isinstance(refused, Send)
    play = server_play(ServerConfig(proxy=ProxyConfig(allowed_origins=(APP,))))
    play.agent_registers(AGENT, "e1")
    from_node = ASKING[:-2] + HOP + b"\r\n"
    assert client_joins(play) >> of_page(from_node, APP) << Open(AGENT, 2) << ACCEPTED
    other = proxy_play()
    (refused,) = (other >> of_page(from_node, APP)).take()
    assert isinstance(refused, Send)
    assert joined(refused.data).startswith(b"HTTP/1.1 403 ")


def test_the_service_decides_about_pages_that_use_it() -> None:
    upgrade = b"GET /chat HTTP/1.1\r\nHost: e1.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    play = proxy_play() >> of_page(upgrade, "http://evil.example") << Open(AGENT, 2)
    sent = (
        b"GET /chat HTTP/1.1\r\nHost: e1.example.com\r\nOrigin: http://evil.example\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + FORWARDED + b"\r\n"
    )
    assert play << Data(AGENT, 2, sent)
    play = clustered() >> of_page(upgrade, "http://evil.example") << dial(FIRST, 20)
    (sent_on,) = (play >> Connected(FIRST, "192.0.2.20", 8000)).take()
    assert isinstance(sent_on, Send)
    assert b"Origin: http://evil.example\r\n" in joined(sent_on.data)


def test_a_page_does_not_register_endpoints() -> None:
    registration = HANDSHAKE[:-2] + b"origin:http://evil.example\r\n\r\n"
    (refused, _) = (agent_connected() >> Received(AGENT, registration)).take()
    assert isinstance(refused, Send)
    assert joined(refused.data).startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b'{"error":"pages of this Origin are not allowed here: see upstream.allowed_origins"}' in joined(
        refused.data
    )
    allowed = server_play(ServerConfig(upstream=UpstreamConfig(allowed_origins=("http://evil.example",))))
    assert agent_connected(allowed) >> Received(AGENT, registration) << Send(AGENT, REGISTERED)


NAMES = host_names(
    ServerConfig(
        admin=AdminConfig(
            advertise_addr=Address("node-1.example.com", 8002), allowed_hosts=("a.example", "*.b.example")
        ),
        cluster=msgspec.structs.replace(ServerConfig().cluster, join=(Address("All.example.org", 0),)),
    )
)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8002", "[::1]:8002", "[fe80::1]", "10.0.0.7", "", "localhost", "LOCALHOST:8002"),
        *("pico", "pico:8002", "pico.default.svc", "pico-admin.monitoring.svc.cluster.local.:8002", "n1.localhost"),
        *("ip-10-0-0-1.ec2.internal", "nas.home.arpa"),
        *("Node-1.example.com:8002", "all.example.org", "a.example", "x.b.example", "y.x.b.example"),
    ],
)
def test_names_that_no_page_has_are_known(host: str) -> None:
    assert NAMES.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8002", "127.0.0.1.evil.example", "localhost.evil.example", "svc.evil.example"),
        *("node-1.example.com.evil.example", "b.example", "xa.example", "[evil.example]", "x.internal.evil.example"),
    ],
)
def test_names_that_a_page_may_have_are_not_known(host: str) -> None:
    assert not NAMES.knows(host)


def test_every_name_may_be_allowed() -> None:
    assert host_names(ServerConfig(admin=AdminConfig(allowed_hosts=("*",)))).knows("evil.example")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/metrics", 421), ("/status/cluster/nodes", 421), ("/status/cluster/nodes?forward=x", 421), ("/x", 421)),
        *(("/health", 200), ("/ready", 200)),
    ],
)
def test_by_a_foreign_name_only_probes_are_answered(path: str, status: int) -> None:
    play = admin_play() >> Received(OPERATOR, f"GET {path} HTTP/1.1\r\nHost: evil.example:8002\r\n\r\n".encode())
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert joined(answer.data).startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"list it in admin.allowed_hosts" in joined(answer.data)) is (status == 421)
    assert b"evil" not in joined(answer.data)
    allowed = joins(server_play(ServerConfig(admin=AdminConfig(allowed_hosts=("evil.example",)))))
    allowed >> Received(OPERATOR, f"GET {path} HTTP/1.1\r\nHost: evil.example:8002\r\n\r\n".encode())
    (answer,) = [each for each in allowed.take() if isinstance(each, Send)]
    assert b" 421 " not in joined(answer.data)[:20]
    assert play << Nothing()


def test_a_hostile_origin_takes_linear_time() -> None:
    def work(size: int) -> None:
        with pytest.raises(MessageError):
            check_origin(b"Origin: http://a" + b" \t" * size + b"b\r\n", ("http://a",), "")

    assert grows_linearly(work, 8_000)
