"""Where the plays of policies begin: servers with a policy for e1, and the texts of the refusals."""

import base64
from http import HTTPStatus
from typing import Any

from pico_core.boundary import Send
from pico_core.config.networks import network
from pico_core.config.policies import PolicyConfig
from pico_core.config.server import ServerConfig
from tests.core.proxy.scene import AGENT, CLIENT, GET_SENT, OK, client_joins, proxy_play
from tests.neighbours import know
from tests.play import Data, Open, Play, server_play

NEXT = 5
NETWORK = "this client's network is not allowed here"
RATE = "too many requests of this client"
CREDENTIALS = "wrong or missing credentials"
IN_FLIGHT = "too many requests of this client in flight"
BODY = "request body too long"
TOO_LARGE = HTTPStatus(413).phrase
CHALLENGE = 'WWW-Authenticate: Basic realm="e1", charset="UTF-8"'
OTHERS = (network("198.51.100.0/24"),)
"""A network that the client of the scene is not in."""


def under(*policies: PolicyConfig) -> ServerConfig:
    return ServerConfig(policies=policies)


def policy(*endpoints: str, **keys: Any) -> PolicyConfig:
    return PolicyConfig(endpoints=endpoints or ("e1",), **keys)


def play_with(**keys: Any) -> Play:
    """Return a server whose policy for e1 has these keys, with an agent for e1 and a client."""
    return proxy_play(under(policy(**keys)))


def clustered_with(**keys: Any) -> Play:
    """Return such a server without a tunnel, which knows that node 20 serves e1, and a client."""
    play = server_play(under(policy(**keys)))
    know(play, 20)
    return client_joins(play)


def served(play: Play, stream: int = 2) -> Play:
    """Let the agent answer the request in a stream that is new."""
    return play << Open(AGENT, stream) << Data(AGENT, stream, GET_SENT) >> Data(AGENT, stream, OK) << Send(CLIENT, OK)


def with_basic(request: bytes, credentials: bytes) -> bytes:
    return request[:-2] + b"Authorization: Basic %b\r\n\r\n" % base64.b64encode(credentials)
