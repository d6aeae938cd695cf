"""Where the plays of tokens take place: servers with keys, tokens to show, and what is answered."""

import itertools
import random
from email.utils import formatdate
from typing import Any

from pico_core.access.secret import Secret
from pico_core.boundary import Accepted, Command, Connect, Connected, ConnectionLost, ReadFile, Received, Send, Tick
from pico_core.config.auth import AuthConfig, KeySetConfig
from pico_core.config.ports import AdminConfig, ProxyConfig, TenantConfig, UpstreamConfig
from pico_core.config.secrets import KeySetSource
from pico_core.config.server import ServerConfig
from pico_core.config.values import Origin
from pico_core.server.node import ServerNode
from tests.core.access.keys import NOW_S, OTHER_SECRET, SECRET, bearer, signed, token
from tests.core.proxy.scene import AGENT, FORWARDED, client_joins, error
from tests.play import Data, Play, joined, server_play

AUTH = AuthConfig(hmac_secret_key=Secret(SECRET), leeway_s=0.0)
OTHER = AuthConfig(hmac_secret_key=Secret(OTHER_SECRET), leeway_s=0.0)
PROXY = ServerConfig(proxy=ProxyConfig(auth=AUTH))
UPSTREAM = ServerConfig(upstream=UpstreamConfig(auth=AUTH))
ADMIN = ServerConfig(admin=AdminConfig(auth=AUTH))
TENANTS = ServerConfig(
    upstream=UpstreamConfig(
        tenants=(
            TenantConfig(id="acme", auth=AUTH),
            TenantConfig(id="globex", auth=OTHER, max_tunnels=1, max_streams=2),
        )
    )
)
OK = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 02:45:26 GMT\r\nContent-Length: 2\r\n\r\nok"
UNAUTHORISED = "WWW-Authenticate: Bearer"


def playing(config: ServerConfig) -> Play:
    """Return a server at 0 s, when the wall clock shows ``NOW_S``."""
    return server_play(config) >> Tick(NOW_S)


def get(fields: bytes = b"", host: bytes = b"e1.example.com", target: bytes = b"/") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, host, fields)


def shows(text: str, name: bytes = b"Authorization") -> bytes:
    return b"%b: %b\r\n" % (name, bearer(text))


def denied(reason: str, at: float = 0.0) -> Send:
    """Return the answer at a time of the play."""
    date = formatdate(NOW_S + at, usegmt=True)
    return error(401, "Unauthorized", reason, UNAUTHORISED, f"Date: {date}")


def sent(fields: bytes = b"") -> bytes:
    return b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + fields + FORWARDED + b"\r\n"


def proxied(config: ServerConfig = PROXY) -> Play:
    play = playing(config)
    play.agent_registers(AGENT, "e1")
    return client_joins(play)


def texts(commands: list[Any]) -> list[bytes]:
    return [joined(each.data) for each in commands if isinstance(each, (Send, Data))]


def clock(play: Play, until: int, wall_s: float = NOW_S) -> Play:
    """Let time pass with ticks that tell the wall clock, as a driver's do."""
    while play.now < until:
        play >> min(play.now + 0.5, until) >> Tick(wall_s + play.now)
    return play


def registers(play: Play, endpoint: str, fields: bytes = b"", connection: int = 11) -> Play:
    """Let an agent ask for an endpoint."""
    head = (
        b"GET /pico/v1/upstream/%b HTTP/1.1\r\nHost: pico:8001\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n%b\r\n"
    )
    play >> Accepted(connection, "upstream", "192.0.2.1", 4000)
    return play >> Received(connection, head % (endpoint.encode(), fields))


def answer(play: Play) -> bytes:
    return b"".join(texts(play.take()))


def tenant_agent(play: Play, connection: int, tenant: bytes, secret: str, endpoint: str = "e1", **claims: Any) -> None:
    text = signed(claims, secret=secret)
    play.agent_registers(connection, endpoint, (b"Authorization", bearer(text)), (b"x-piko-tenant-id", tenant))


def of_set(url: str = "http://192.0.2.50:80/keys", content: bytes = b"", **more: Any) -> ServerConfig:
    path = url.removeprefix("file://") if url.startswith("file") else ""
    origin = None if path else Origin("192.0.2.50", 443 if "https" in url else 80, url.partition(":")[0])
    source = KeySetSource(url, origin, "/keys", path, Secret(content.decode()))
    return ServerConfig(proxy=ProxyConfig(auth=AuthConfig(jwks=KeySetConfig(endpoint=source, **more))))


def with_set(config: ServerConfig) -> tuple[Play, list[Command]]:
    """Return a node that has just started, and the connections and files that it asks for."""
    play = Play(ServerNode(config, "node-1", random.Random(1)), 0.0) >> Tick(NOW_S)
    asked_for: list[Command] = [each for each in play.take() if isinstance(each, (Connect, ReadFile))]
    return client_joins(play), asked_for


def published(play: Play, connection: int, content: bytes, status: bytes = b"200 OK") -> Play:
    play >> Connected(connection, "192.0.2.50", 80)
    (request,) = [text for text in texts(play.take()) if text.startswith(b"GET /keys")]
    assert request.startswith(b"GET /keys HTTP/1.1\r\nHost: 192.0.2.50:80\r\n")
    play >> Received(connection, b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content)
    play >> ConnectionLost(connection, "")
    return play


def refusal_of(play: Play, kind: str, kid: str = "") -> bytes:
    """Return the status with which a new client is refused; empty if it is let in, although there is no agent."""
    client = next(client_numbers)
    client_joins(play, client) >> Tick(NOW_S) >> Received(client, get(shows(token(kind=kind, kid=kid))))
    for each in play.take():
        if isinstance(each, Send) and each.connection == client:
            return joined(each.data)[9:12].replace(b"502", b"")
    return b""


client_numbers = itertools.count(101, 2)


def fetches(play: Play) -> list[int]:
    return [each.connection for each in play.take() if isinstance(each, Connect) and each.host == "192.0.2.50"]
