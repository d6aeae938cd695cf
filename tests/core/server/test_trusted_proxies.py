"""The client as service, log and limits learn it behind trusted proxies, through one node and two."""

import re

import msgspec
import pytest

from pico_core.boundary import Accepted, ConfigReloaded, Connect, Connected, Received, Send
from pico_core.config.networks import network
from pico_core.config.server import ServerConfig
from tests.core.proxy.scene import AGENT, CLIENT, NUMBERED, OK, proxy_play
from tests.neighbours import know
from tests.play import Data, Open, Play, joined, server_play

TRUSTED = [network("10.0.0.0/8")]
CONFIG = msgspec.convert(
    {"proxy": {"trusted_proxies": TRUSTED}, "upstream": {"trusted_proxies": TRUSTED}},
    ServerConfig,
    from_attributes=True,
)
BALANCER = "10.0.0.1"
STRANGER = "192.0.2.7"
START = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n"


def get(*lines: bytes) -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


FAMILY = (
    b"X-Forwarded-For: 192.0.2.99",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: shop.example",
    b"X-Forwarded-Port: 443",
    b"X-Forwarded-Prefix: /shop",
    b"X-Forwarded-Ssl: on",
    b"X-Forwarded-Server: edge",
    b"X-Real-IP: 192.0.2.99",
    b"Forwarded: for=192.0.2.99;proto=https",
    b"X-Forwarded: for=192.0.2.99",
)
LOOK_ALIKES = (
    b"X_Forwarded_For: 6.6.6.6",
    b"x-forwarded_proto: gopher",
    b"X_REAL_IP: 6.6.6.6",
    b"X_Forwarded: for=6.6.6.6",
    b"X-Forwarded_Prefix: /evil",
    b"x_pico_endpoint: e2",
    b"Proxy: http://6.6.6.6",
)
KEPT = get(
    b"A: b",
    b"X-Forwarded-For: 192.0.2.99, 10.0.0.1",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: shop.example",
    b"Forwarded: for=192.0.2.99;proto=https, for=10.0.0.1",
    b"X-Forwarded: for=192.0.2.99",
    b"X-Forwarded-Port: 443",
    b"X-Forwarded-Prefix: /shop",
    b"X-Forwarded-Server: edge",
    b"X-Forwarded-Ssl: on",
    b"X-Real-Ip: 192.0.2.99",
)


def told(client: str, host: str = "e1.example.com") -> tuple[bytes, ...]:
    return (
        b"X-Forwarded-For: " + client.encode(),
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: " + host.encode(),
    )


def unnumbered(request: bytes) -> bytes:
    """Return what the agent got without the ID of the request, which comes last."""
    assert request.endswith(NUMBERED + b"\r\n")
    return request[: -len(NUMBERED) - 2] + b"\r\n"


def served(request: bytes, peer: str, config: ServerConfig = CONFIG) -> tuple[bytes, str]:
    """Return the head that the agent gets where the request enters the node with its tunnel, and the client logged."""
    play = server_play(config)
    play.agent_registers(AGENT, "e1")
    play = play >> Accepted(CLIENT, "proxy", peer, 5000) >> Received(CLIENT, request) << Open(AGENT, 2)
    (sent,) = play.take()
    assert isinstance(sent, Data)
    return unnumbered(sent.data), logged(play >> Data(AGENT, 2, OK))


def served_through_two(request: bytes, peer: str, config: ServerConfig = CONFIG) -> tuple[bytes, str, str]:
    """Return the same where the request enters another node, and the client as both nodes log it, the entry first."""
    entry = server_play(config)
    know(entry, 20)
    entry = entry >> Accepted(CLIENT, "proxy", peer, 5000) >> Received(CLIENT, request)
    entry = entry << Connect(2, "192.0.2.20", 8000, 3.0) >> Connected(2, "192.0.2.20", 8000)
    (hop,) = entry.take()
    assert isinstance(hop, Send)
    play = server_play(config)
    know(play, 30, "e9")
    play.agent_registers(AGENT, "e1")
    play = play >> Accepted(CLIENT, "proxy", "192.0.2.30", 5000) >> Received(CLIENT, joined(hop.data)) << Open(AGENT, 2)
    (sent,) = play.take()
    assert isinstance(sent, Data)
    return unnumbered(sent.data), logged(entry >> Received(2, OK)), logged(play >> Data(AGENT, 2, OK))


def logged(play: Play) -> str:
    play.take()
    (line,) = play.access_log
    match = re.search(rb'"client":"([^"]*)"', line)
    assert match is not None
    return match[1].decode()


# request, the peer that sends it, what the service gets, the client
TABLE = {
    "a stranger's are removed": (get(*FAMILY, b"A: b"), STRANGER, get(b"A: b", *told(STRANGER)), STRANGER),
    "spellings that gateways confuse, and Proxy, are removed": (
        get(b"A: b", *LOOK_ALIKES),
        STRANGER,
        get(b"A: b", *told(STRANGER)),
        STRANGER,
    ),
    "and so they are where they come from a trusted proxy": (
        get(b"A: b", *LOOK_ALIKES),
        BALANCER,
        get(b"A: b", *told(BALANCER)),
        BALANCER,
    ),
    "a trusted proxy's are kept and appended to": (get(*FAMILY, b"A: b"), BALANCER, KEPT, "192.0.2.99"),
    "the client's Connection takes nothing of it away": (
        get(*FAMILY, b"A: b", b"Connection: x-forwarded-for, forwarded, x-real-ip, x-forwarded-port, x-pico-endpoint"),
        BALANCER,
        KEPT,
        "192.0.2.99",
    ),
    "several fields are one list": (
        get(b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: 192.0.2.99", b"x-forwarded-for: 10.0.0.2"),
        BALANCER,
        get(*told("6.6.6.6, 192.0.2.99, 10.0.0.2, 10.0.0.1")),
        "192.0.2.99",
    ),
    "what is not an address stays in the list": (
        get(b"X-Forwarded-For: unknown"),
        BALANCER,
        get(*told("unknown, 10.0.0.1")),
        BALANCER,
    ),
    "a client that Forwarded tells is in X-Forwarded-For too": (
        get(b'Forwarded: for="[2001:db8::7]:4711"'),
        BALANCER,
        get(*told("2001:db8::7, 10.0.0.1"), b'Forwarded: for="[2001:db8::7]:4711", for=10.0.0.1'),
        "2001:db8::7",
    ),
    "an IPv6 peer": (get(b"X-Forwarded-For: 6.6.6.6"), "2001:db8::7", get(*told("2001:db8::7")), "2001:db8::7"),
    "a trusted proxy through IPv6": (
        get(b"X-Forwarded-For: 192.0.2.99"),
        "::ffff:10.0.0.1",
        get(*told("192.0.2.99, ::ffff:10.0.0.1")),
        "192.0.2.99",
    ),
    "HTTP/1.0 without a host": (
        b"GET / HTTP/1.0\r\nx-pico-endpoint: e1\r\n\r\n",
        STRANGER,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(line + b"\r\n" for line in told(STRANGER, "localhost"))
        + b"\r\n",
        STRANGER,
    ),
    "a body, TE and Expect": (
        get(*FAMILY, b"Content-Length: 0", b"TE: trailers", b"Connection: TE", b"Expect: 100-continue", b"A: b"),
        BALANCER,
        KEPT.replace(
            b"X-Forwarded-For",
            b"Content-Length: 0\r\nConnection: TE\r\nTE: trailers\r\nExpect: 100-continue\r\nX-Forwarded-For",
        ),
        "192.0.2.99",
    ),
    "a stranger that claims to be a node": (
        get(*FAMILY, b"A: b", b"x-piko-forward: true", b"x-pico-forward: true", b"x-piko-endpoint: e1"),
        STRANGER,
        get(b"A: b", *told(STRANGER)),
        STRANGER,
    ),
}


@pytest.mark.parametrize(("request_bytes", "peer", "expected", "client"), TABLE.values(), ids=TABLE)
def test_the_service_gets_the_same_whichever_node_a_request_enters(
    request_bytes: bytes, peer: str, expected: bytes, client: str
) -> None:
    assert served(request_bytes, peer) == (expected, client)
    assert served_through_two(request_bytes, peer) == (expected, client, client)


def test_no_proxy_is_trusted_by_default() -> None:
    expected = get(b"A: b", *told(BALANCER))
    assert served(get(*FAMILY, b"A: b"), BALANCER, ServerConfig()) == (expected, BALANCER)


def test_a_piko_node_tells_x_forwarded_for_only() -> None:
    play = server_play(CONFIG)
    know(play, 30, "e9")
    play.agent_registers(AGENT, "e1")
    hop = get(b"X-Forwarded-For: 6.6.6.6, 192.0.2.99", b"x-piko-forward: true")
    play = play >> Accepted(CLIENT, "proxy", "192.0.2.30", 5000) >> Received(CLIENT, hop) << Open(AGENT, 2)
    (sent,) = play.take()
    assert isinstance(sent, Data)
    assert unnumbered(sent.data) == get(*told("6.6.6.6, 192.0.2.99"))
    assert logged(play >> Data(AGENT, 2, OK)) == "192.0.2.99"


@pytest.mark.parametrize("chain", [b"", b"unknown", b"192.0.2.99, "])
def test_a_node_that_tells_no_address_is_the_client(chain: bytes) -> None:
    play = server_play(CONFIG)
    know(play, 30, "e9")
    play.agent_registers(AGENT, "e1")
    play >> Accepted(CLIENT, "proxy", "192.0.2.30", 5000)
    play >> Received(CLIENT, get(b"X-Forwarded-For: " + chain, b"x-piko-forward: true"))
    play.take()
    assert logged(play >> Data(AGENT, 2, OK)) == "192.0.2.30"


def test_clients_of_one_balancer_are_told_apart_on_one_connection() -> None:
    play = proxy_play(CONFIG)
    play >> Accepted(5, "proxy", BALANCER, 5000)
    for number in (1, 2):
        play >> Received(5, get(b"X-Forwarded-For: 192.0.2.%d" % number))
        play.take()
        play >> Data(AGENT, 2, OK)
        play.take()
    assert [re.findall(rb'"client":"([^"]*)"', line) for line in play.access_log] == [[b"192.0.2.1"], [b"192.0.2.2"]]


def test_what_is_trusted_can_change_for_later_connections() -> None:
    play = proxy_play(CONFIG)
    play >> Accepted(5, "proxy", BALANCER, 5000)
    proxy = msgspec.structs.replace(CONFIG.proxy, trusted_proxies=(network("172.16.0.1"),))
    play >> ConfigReloaded(msgspec.structs.replace(CONFIG, proxy=proxy))
    play >> Accepted(7, "proxy", BALANCER, 5001) >> Accepted(9, "proxy", "172.16.0.1", 5000)
    sent = []
    for connection in (5, 7, 9):
        play >> Received(connection, get(b"X-Forwarded-For: 192.0.2.99"))
        sent.append(next(unnumbered(each.data) for each in play.take() if isinstance(each, Data)))
    assert sent == [get(*told(f"192.0.2.99, {BALANCER}")), get(*told(BALANCER)), get(*told("192.0.2.99, 172.16.0.1"))]


def test_agents_behind_a_balancer_have_their_own_address() -> None:
    play = server_play(CONFIG)
    handshake = (
        b"GET /pico/v1/upstream/e1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"X-Forwarded-For: 192.0.2.99\r\n\r\n"
    )
    play >> Accepted(5, "upstream", BALANCER, 5000) >> Received(5, handshake)
    play >> Accepted(7, "upstream", STRANGER, 5000) >> Received(7, handshake)
    play >> Accepted(9, "upstream", BALANCER, 5000) >> Received(9, handshake.replace(b": 13", b": 12"))
    play.take()
    opened = [log.fields["client"] for log in play.logs if log.message == "tunnel opened"]
    refused = [log.fields["client"] for log in play.logs if log.message == "tunnel refused"]
    assert (opened, refused) == (["192.0.2.99", STRANGER], ["192.0.2.99"])


def test_without_a_key_nothing_of_a_trusted_proxy_is_taken_for_a_nodes() -> None:
    """A proxy at the address of a node passes on the mark of a client, and what it says of itself."""
    play = server_play(CONFIG)
    know(play, 20).says("proxy_addr", f"{BALANCER}:8000")
    play.agent_registers(AGENT, "e1")
    play >> Accepted(CLIENT, "proxy", BALANCER, 5000)
    play >> Received(CLIENT, get(b"X-Pico-Forward: true", b"X-Forwarded-For: 203.0.113.9, 192.0.2.99"))
    (_, sent) = play.take()
    assert isinstance(sent, Data)
    assert b"X-Forwarded-For: 203.0.113.9, 192.0.2.99, 10.0.0.1\r\n" in sent.data
    (line,) = [each for each in play.logs if each.level == "warning" and each.subsystem == "proxy"]
    assert line.message == "a request says that a node forwarded it, without proof"
