"""Where the plays of the proxy take place: a server, an agent on connection 1 with endpoint e1, a client on 3."""

from collections.abc import Sequence

import msgspec

from pico_core.boundary import Accepted, Received, Send
from pico_core.config.server import ServerConfig
from pico_core.proxy.failures import BUSY, HTTP_ENDPOINT, SERVICE_INVALID, SERVICE_LOST, TCP_ENDPOINT
from pico_core.proxy.reasons import REASONS, reason_of
from tests.play import REQUEST_ID, Data, Open, Play, server_play

AGENT = 1
CLIENT = 3

GET = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n"
NUMBERED = b"X-Pico-Request-ID: " + REQUEST_ID + b"\r\n"
FORWARDED = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: e1.example.com\r\n" + NUMBERED
GET_SENT = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + FORWARDED + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

QUIET = msgspec.convert({"proxy": {"access_log": {"disable": True}}}, ServerConfig)


FIELDS_OF_STATUS = {405: ("Allow: GET",), 426: ("Sec-WebSocket-Version: 13",), 503: ("Retry-After: 1",)}


def client_joins(play: Play, connection: int = CLIENT) -> Play:
    """Let a client connect to the proxy port."""
    return play >> Accepted(connection, "proxy", "192.0.2.7", 5000)


def proxy_play(config: ServerConfig | None = None, agent: tuple[tuple[bytes, bytes], ...] = ()) -> Play:
    """Return a server with an agent for e1, which registers with the fields ``agent``, and a client."""
    play = server_play(config)
    play.agent_registers(AGENT, "e1", *agent)
    return client_joins(play)


def asked(request: bytes = GET, sent: bytes = GET_SENT) -> Play:
    """Return a play in which a client has asked and the agent was told."""
    return proxy_play() >> Received(CLIENT, request) << Open(AGENT, 2) << Data(AGENT, 2, sent)


def put(body: bytes) -> bytes:
    """Return the head of a PUT with a body of that length, and the body."""
    return b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def put_sent(body: bytes) -> bytes:
    """Return what the agent gets of it."""
    return (
        b"PUT / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: %d\r\n" % len(body) + FORWARDED + b"\r\n" + body  #
    )


REASONS_OF_MESSAGES = {
    "missing endpoint id": "no-endpoint",
    "invalid endpoint id": "no-endpoint",
    "no available upstreams": "no-tunnel",
    "upstream timeout": "upstream-timeout",
    "the keys that verify": "keys-unknown",
    "the time is not known": "keys-unknown",
    **{each.message: each.reason for each in (SERVICE_LOST, SERVICE_INVALID, BUSY, TCP_ENDPOINT, HTTP_ENDPOINT)},
}
"""The reasons of messages that tell more than their status."""


def error(
    status: int, phrase: str, message: str, *fields: str, client: int = CLIENT, reason: str = "", entry: bool = True
) -> Send:
    """Return an answer of our own to the client, or to another node unless ``entry``.

    Without ``reason`` the message says it, or else the status.
    """
    known = next((known for text, known in REASONS_OF_MESSAGES.items() if message.startswith(text)), "")
    reason = reason or known or reason_of(status)
    by, number = REASONS[reason].by, REQUEST_ID.decode()
    body = f'{{"error":"{message}","reason":"{reason}","by":"{by}","request_id":"{number}"}}'
    more = (f"X-Pico-Error: {reason}; by={by}", *fields)
    return _answer(status, phrase, body, more, NUMBERED.decode().splitlines() if entry else (), client)


def refusal(
    status: int, phrase: str, message: str, *fields: str, client: int = CLIENT, reason: str | None = None
) -> Send:
    """Return an answer of our own to an agent, or to a client of the admin port, which has no ``reason``: ``""``."""
    reason = reason_of(status) if reason is None else reason
    told = (f"X-Pico-Error: {reason}; by=server",) if reason else ()
    return _answer(status, phrase, f'{{"error":"{message}"}}', (*told, *fields), (), client)


def _answer(status: int, phrase: str, body: str, fields: Sequence[str], extra: Sequence[str], client: int) -> Send:
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        *(field for field in fields if not field.startswith(("Connection", "Date"))),
        *(() if any(field.startswith("Retry-After") for field in fields) else FIELDS_OF_STATUS.get(status, ())),
        f"Content-Length: {len(body)}",
        *(("Connection: Upgrade", "Upgrade: websocket") if status == 426 else ()),
        *extra,
        *(field for field in fields if field.startswith(("Connection", "Date"))),
        "",
        body,
    ]
    return Send(client, "\r\n".join(lines).encode())
