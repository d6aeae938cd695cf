"""CPU per request of the agent machine alone: one tunnel, 50 streams, and a connection to the service for each.

Measured as in ``machines_server``, whose heads these are, as the server passes them on.
"""

import random
import time
from collections.abc import Callable

from benchmarks.machines_server import (
    BROWSER_REQUEST,
    BROWSER_RESPONSE,
    REQUEST,
    RESPONSE,
    as_bytes,
    as_new,
    first_decile,
)
from pico_core.agent.machine import AgentMachine
from pico_core.boundary import Command, Connect, Connected, Received, Send, Tick
from pico_core.config.agent import AgentConfig, AgentConnectConfig, ListenerConfig
from pico_core.config.inspect import InspectConfig
from pico_core.config.logs import AccessLogConfig
from pico_core.config.values import Address, Origin
from pico_core.mux.events import StreamData
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import accept_handshake

STREAMS = 50
ABOUT_CLIENT = (
    b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: e1.example.com\r\n"
    b"X-Pico-Request-ID: %016x\r\n\r\n"
)
NOT_PASSED_ON = (b"Connection: keep-alive\r\n", b"x-pico-endpoint: e1\r\n")


def drain(machine: AgentMachine) -> list[Command]:
    commands = []
    while (command := machine.poll()) is not None:
        commands.append(command)
    return commands


class Server:
    """The other end of the agent's tunnel, with a stream for each of its requests at a time."""

    def __init__(self, *, inspected: bool = False) -> None:
        inspect = InspectConfig(bind_addr=Address("127.0.0.1", 4040) if inspected else None)
        listener = ListenerConfig(
            endpoint_id="e1", addr=Origin("127.0.0.1", 3000), access_log=AccessLogConfig(disable=True)
        )
        connect = AgentConnectConfig(url=Origin("127.0.0.1", 8001, "http"))
        config = AgentConfig(listeners=(listener,), connect=connect, inspect=inspect)
        self.agent = agent = AgentMachine(config, random.Random(1))
        agent.handle(Tick(), 0.0)
        (dial,) = (each for each in drain(agent) if isinstance(each, Connect))
        self.connection = dial.connection
        agent.handle(Connected(self.connection, "127.0.0.1", 8001), 0.0)
        (asked,) = (each for each in drain(agent) if isinstance(each, Send))
        agent.handle(Received(self.connection, accept_handshake(as_bytes(asked.data))), 0.0)
        self.tunnel = Tunnel(0.0, entropy=None)
        self.streams = [self.tunnel.open_stream() for _ in range(STREAMS)]
        self.receive(drain(agent))

    def requests(self, head: bytes, number: int) -> bytes:
        """Return what the tunnel carries when each stream gets a request."""
        for place, stream in enumerate(self.streams):
            stream.send(head + ABOUT_CLIENT % (number * STREAMS + place))
        out = []
        while (message := self.tunnel.take_output()) is not None:
            out.append(as_bytes(message))
        return b"".join(out)

    def receive(self, commands: list[Command]) -> int:
        """Take what the agent sent through the tunnel; return how many answers are among it."""
        answers = 0
        for command in commands:
            if isinstance(command, Send) and command.connection == self.connection:
                for event in self.tunnel.receive(as_bytes(command.data), 0.0):
                    if isinstance(event, StreamData):
                        answers += bytes(event.data).count(b"HTTP/1.1 200")
                        event.stream.consume(len(event.data))
        return answers


def run(
    seconds: float,
    *,
    browser: bool = False,
    new_heads: bool = False,
    inspected: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return microseconds per request, as ``machines_server.run`` does."""
    request, response = (BROWSER_REQUEST, BROWSER_RESPONSE) if browser else (REQUEST, RESPONSE)
    for line in NOT_PASSED_ON:
        request = request.replace(line, b"")
    server = Server(inspected=inspected)
    agent = server.agent
    turns: list[float] = []
    until = clock() + seconds
    while clock() < until or len(turns) < 2:
        sent_request = as_new(request, len(turns)) if new_heads else request
        answer = as_new(response, len(turns)) if new_heads else response
        data = server.requests(sent_request[:-2], len(turns))
        began = clock()
        agent.handle(Received(server.connection, data), 1.0)
        commands = drain(agent)
        spent = clock() - began
        for each in commands:
            if isinstance(each, Connect):
                agent.handle(Connected(each.connection, "127.0.0.1", 3000), 1.0)
                commands += drain(agent)
        server.receive(commands)
        services = [
            each.connection for each in commands if isinstance(each, Send) and each.connection != server.connection
        ]
        assert len(services) == STREAMS, len(services)
        began = clock()
        for service in services:
            agent.handle(Received(service, answer), 1.0)
        commands = drain(agent)
        spent += clock() - began
        assert server.receive(commands) == STREAMS
        turns.append(spent / STREAMS * 1e6)
    return first_decile(turns)


def figures(seconds: float) -> dict[str, float]:
    """Return microseconds per request by the kind of the heads."""
    return {
        "agent, equal heads": run(seconds),
        "agent, every head new": run(seconds, new_heads=True),
        "agent, heads of a browser": run(seconds, browser=True),
        "agent, heads of a browser, every head new": run(seconds, browser=True, new_heads=True),
        "agent, equal heads, inspector": run(seconds, inspected=True),
        "agent, heads of a browser, every head new, inspector": run(
            seconds, browser=True, new_heads=True, inspected=True
        ),
    }
