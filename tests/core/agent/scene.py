"""Where the plays of the agent take place: a tunnel on connection 2, a service at 127.0.0.1:3000."""

from pico_core.boundary import Connect
from pico_core.config.agent import AgentConfig, AgentConnectConfig, HttpClientConfig, ListenerConfig
from pico_core.config.logs import AccessLogConfig
from pico_core.config.values import Origin
from tests.play import Data, Open, Play, agent_play

SERVER = 2
SERVICE = 4

CONNECT = Connect(SERVER, "127.0.0.1", 8001, 30.0)
DIAL = Connect(SERVICE, "127.0.0.1", 3000, 10.0)

GET = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def agent_config(protocol: str = "http", max_idle_conns: int = 100, log_access: bool = True) -> AgentConfig:
    """Return the configuration of an agent with one listener."""
    listener = ListenerConfig(
        endpoint_id="e1",
        addr=Origin("127.0.0.1", 3000),
        protocol=protocol,
        http_client=HttpClientConfig(max_idle_conns=max_idle_conns),
        access_log=AccessLogConfig(disable=not log_access),
    )
    return AgentConfig(listeners=(listener,), connect=AgentConnectConfig(url=Origin("127.0.0.1", 8001, "http")))


def registered(config: AgentConfig | None = None) -> Play:
    """Return an agent whose tunnel is open."""
    play = agent_play(config or agent_config()) << CONNECT
    play.server_accepts(SERVER)
    return play


def asked(play: Play | None = None, stream: int = 2, request: bytes = GET) -> Play:
    """Let a request come through the tunnel."""
    return (play or registered()) >> Open(SERVER, stream) >> Data(SERVER, stream, request)
