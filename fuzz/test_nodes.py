"""Machines under anything a driver may hand them: they never raise, keep the contract, and forget what is over."""

import random
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pico_core.agent.machine import AgentMachine
from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Command,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Input,
    Listen,
    ListenDatagram,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    ShutdownRequested,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import Origin
from pico_core.http.body import ChunkedBody, request_body, response_body
from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.machine.base import BaseMachine
from pico_core.mux.events import StreamData, StreamOpened
from pico_core.mux.stream import Stream
from pico_core.proxy.http1.downstream import MAX_BACKLOG_BYTES, DownstreamConnection
from pico_core.server.node import ServerNode
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.encoding import encode_close, encode_frame
from pico_core.websocket.handshake import ClientHandshake, HandshakeError, accept_handshake
from tests.play import joined

LARGE = 70_000
READ_BYTES = 262_144
"""What a driver may hand over at once, and so what may come after ``PauseReading``."""

HOST = b"Host: e1.example.com\r\n"
ACCEPTING = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n\r\n"
)
REQUESTS = (
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n",
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % LARGE + bytes(LARGE),
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: chat\r\n\r\n",
    b"GET /_pico/v1/tcp/e1 HTTP/1.1\r\n" + HOST + ACCEPTING,
    b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX",
    b"HTTP/1.1 200 OK\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello",
    b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\n\r\n",
)
FRAMES = (
    joined(encode_frame((b"data",), 4, random.Random(1))),
    joined(encode_frame((bytes(LARGE),), LARGE, random.Random(1))),
    encode_close(1000, "", random.Random(1)),
    joined(encode_frame((b"data",), 4, None)),
    encode_close(1000, "", None),
)
HANDSHAKES = tuple(
    b"GET /pico/v1/upstream/%b HTTP/1.1\r\nHost: pico\r\n%b" % (endpoint, instance + ACCEPTING)
    for endpoint, instance in ((b"e1", b"x-piko-instance: 1\r\n"), (b"e1", b""), (b"e2", b""), (b"a%2Fb", b""))
)
REFUSALS = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
)

PAYLOADS = (*REQUESTS, *RESPONSES, *FRAMES, *HANDSHAKES, *REFUSALS)
STEPS_S = (0.0, 0.05, 0.6, 3.0, 11.0, 31.0, 400.0)


class Line:
    """What the world knows of one connection of the machine."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.received_eof = False
        self.sent_eof = False
        self.closing = False
        self.aborted = False
        self.paused = False
        self.overruns = 0
        self.writing_paused = False
        self.output = b""


class World:
    """A driver that obeys ``boundary`` and checks that the machine does, too."""

    def __init__(self, node: BaseMachine) -> None:
        self.node = node
        self.now = 0.0
        self.lines: dict[int, Line] = {}
        self.dialing: dict[int, int] = {}
        self.tunnels: dict[int, Tunnel] = {}
        self.streams: dict[int, list[Stream]] = {}
        self.next_accepted = 1
        self.exit: Exit | None = None
        self.handle(Tick())

    def handle(self, event: Input) -> None:
        self.node.handle(event, self.now)
        while (command := self.node.poll()) is not None:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, (Listen, ListenDatagram)):
            self._listening(command)
        elif isinstance(command, Exit):
            self.exit = command
        elif isinstance(command, Connect):
            assert command.connection % 2 == 0
            assert command.connection not in self.lines
            self.dialing[command.connection] = command.port
        elif isinstance(command, (Send, SendEof, Close, Abort, PauseReading, ResumeReading)):
            if isinstance(command, Abort) and command.connection in self.dialing:
                return
            assert command.connection in self.lines, f"{command} for a connection that is not there"
            self._check(command, self.lines[command.connection])

    def _listening(self, command: Listen | ListenDatagram) -> None:
        self.node.handle(Listening(command.listener, "127.0.0.1", command.port), self.now)

    def _check(self, command: Command, line: Line) -> None:
        assert not line.aborted, f"{command} after Abort"
        if isinstance(command, Abort):
            line.aborted = True
            return
        assert not line.closing, f"{command} after Close"
        if isinstance(command, Send):
            assert not line.sent_eof, "data after the end of stream"
            line.output += joined(command.data)
        elif isinstance(command, SendEof):
            assert not line.sent_eof, "two ends of stream"
            line.sent_eof = True
        elif isinstance(command, Close):
            line.closing = True
        else:
            assert line.paused is isinstance(command, ResumeReading), f"{command} changes nothing"
            line.paused = not line.paused
            line.overruns = 0

    # --- what may happen ---

    def accept(self, listener: str) -> int:
        connection = self.next_accepted
        self.next_accepted += 2
        self.lines[connection] = Line(listener)
        self.handle(Accepted(connection, listener, "192.0.2.7", 5000))
        return connection

    def dialed(self, connection: int, succeeds: bool) -> None:
        port = self.dialing.pop(connection)
        if succeeds:
            self.lines[connection] = Line("server" if port == 8001 else "service")
            self.handle(Connected(connection, "192.0.2.9", port))
        else:
            self.handle(ConnectFailed(connection, "refused"))

    def receive(self, connection: int, data: bytes) -> None:
        line = self.lines[connection]
        if not line.received_eof and line.overruns < 1:
            line.overruns += line.paused  # one read may be on its way
            self.handle(Received(connection, data))

    def eof(self, connection: int) -> None:
        line = self.lines[connection]
        if not line.received_eof:
            line.received_eof = True
            self.handle(EofReceived(connection))

    def lose(self, connection: int) -> None:
        del self.lines[connection]
        self.tunnels.pop(connection, None)
        self.streams.pop(connection, None)
        self.handle(ConnectionLost(connection, "reset"))

    def turn_writing(self, connection: int) -> None:
        line = self.lines[connection]
        line.writing_paused = not line.writing_paused
        self.handle(WritingPaused(connection) if line.writing_paused else WritingResumed(connection))

    def pass_time(self, step_s: float) -> None:
        self.now += step_s
        self.handle(Tick())

    # --- the far ends of tunnels ---

    def register(self) -> None:
        connection = self.accept("upstream")
        handshake = ClientHandshake("h", "/pico/v1/upstream/e1", (), random.Random(connection))
        self.receive(connection, handshake.request_bytes())
        if self.lines[connection].output.startswith(b"HTTP/1.1 101"):
            self.tunnels[connection] = Tunnel(self.now, entropy=random.Random(connection), max_incoming_streams=64)
            self.lines[connection].output = b""

    def accept_registration(self, connection: int) -> None:
        line = self.lines[connection]
        if connection in self.tunnels or line.kind != "server" or not line.output.endswith(b"\r\n\r\n"):
            return
        try:
            answer = accept_handshake(line.output)
        except HandshakeError:
            return
        line.output = b""
        self.tunnels[connection] = Tunnel(self.now, entropy=None)
        self.receive(connection, answer)

    def tunnel_turn(self, connection: int, act: Callable[[Tunnel, list[Stream]], None]) -> None:
        """Let the far end read what was sent, act, and send what it has to say."""
        tunnel = self.tunnels[connection]
        line = self.lines[connection]
        streams = self.streams.setdefault(connection, [])
        data, line.output = line.output, b""
        for event in tunnel.receive(data, self.now):
            if isinstance(event, StreamOpened):
                streams.append(event.stream)
            elif isinstance(event, StreamData):
                event.stream.consume(len(event.data))
        act(tunnel, streams)
        while (message := tunnel.take_output()) is not None:
            if connection in self.lines:
                self.receive(connection, joined(message))

    # --- in the end ---

    def check_bounds(self) -> None:
        for channel in self.node._connections.values():
            user = channel.user
            if isinstance(user, DownstreamConnection):
                assert len(user._backlog) < MAX_BACKLOG_BYTES + 2 * READ_BYTES
        assert not self.node._commands
        assert set(self.node._lingering) <= set(self.node._connections)
        assert set(self.node._connections) == set(self.lines)
        assert set(self.node._dialers) == set(self.dialing)

    def end(self) -> None:
        """Take everything away; nothing may be left of it."""
        for connection in list(self.lines):
            self.lose(connection)
        self.pass_time(1.0)
        for _ in range(3):
            for connection in list(self.dialing):
                self.dialed(connection, succeeds=False)
        for connection in list(self.lines):
            self.lose(connection)
        assert not self.node._connections
        assert not self.node._lingering
        assert set(self.node._dialers) == set(self.dialing)


Step: TypeAlias = tuple[str, int, int]


def steps(*names: str) -> st.SearchStrategy[list[Step]]:
    """Return scripts: short ones, which shrink well, and long walks, which get further."""
    step = st.tuples(st.sampled_from(names), st.integers(0, 7), st.integers(0, 63))
    return st.one_of(st.lists(step, max_size=60), st.integers(0, 2**32).map(lambda seed: walk(seed, names)))


def walk(seed: int, names: tuple[str, ...]) -> list[Step]:
    """Return a long script drawn from ``seed``, in which time passes slowly and hardly anybody stops the node."""
    draw = random.Random(seed)
    often = [name for name in names if name != "shutdown" or not draw.randrange(20)]
    return [
        (name, draw.randrange(8), draw.randrange(3 if name == "time" and draw.randrange(4) else 64))
        for name in (draw.choice(often) for _ in range(200))
    ]


SENSIBLE = ("ask", "ask", "ask", "answer", "answer", "answer", "frame", "time", "writing")
COMMON = (*SENSIBLE, *SENSIBLE, "bytes", "part", "garbage", "eof", "lose", "time", "strange", "shutdown", "tunnel")


def act(world: World, step: Step) -> None:
    name, which, what = step
    connections = list(world.lines)
    connection = connections[which % len(connections)] if connections else 0
    if name == "time":
        world.pass_time(STEPS_S[what % len(STEPS_S)])
    elif name == "strange":
        strange = (Received, EofReceived, ConnectionLost, WritingPaused, WritingResumed)[what % 5]
        arguments = {Received: (b"x",), ConnectionLost: ("reset",)}.get(strange, ())
        world.handle(strange(9_999, *arguments))
    elif name == "dialed" and world.dialing:
        world.dialed(list(world.dialing)[which % len(world.dialing)], succeeds=what % 4 > 0)
    elif name == "register":
        world.register()
    elif name == "shutdown":
        if what < 16:
            world.handle(ShutdownRequested())
    elif name == "accept":
        world.accept(("proxy", "proxy", "upstream", "admin", "gossip-streams")[what % 5])
    elif not connections:
        return
    elif name in ("ask", "answer", "frame"):
        sensible_step(world, name, which, what)
    elif name == "tunnel":
        tunnel_step(world, connection, which, what)
    else:
        on_connection(world, connection, name, what)


def sensible_step(world: World, name: str, which: int, what: int) -> None:
    """Let a client ask, a service answer, or either speak in frames, where one is connected; in parts now and then."""
    kinds = {"ask": ("proxy",), "answer": ("service",), "frame": ("proxy",)}[name]
    payloads = {"ask": REQUESTS, "answer": RESPONSES, "frame": FRAMES}[name]
    payload = payloads[what % len(payloads)]
    able = [connection for connection, line in world.lines.items() if line.kind in kinds]
    if able:
        world.receive(able[which % len(able)], payload if what < 48 else payload[: len(payload) // 2])
    elif world.tunnels:
        tunnels = list(world.tunnels)
        tunnel_step(world, tunnels[which % len(tunnels)], which, what % 60)


def on_connection(world: World, connection: int, name: str, what: int) -> None:
    payload = PAYLOADS[what % len(PAYLOADS)]
    if name == "bytes":
        world.receive(connection, payload)
    elif name == "part":
        world.receive(connection, payload[: 1 + len(payload) * (what % 7) // 7])
    elif name == "garbage":
        world.receive(connection, random.Random(what).randbytes(1 + what))
    elif name == "eof":
        world.eof(connection)
    elif name == "lose":
        world.lose(connection)
    elif name == "writing":
        world.turn_writing(connection)


def tunnel_step(world: World, connection: int, which: int, what: int) -> None:
    """Let a far end that speaks the protocol do something, mostly sensible."""
    world.accept_registration(connection)
    if connection not in world.tunnels:
        return
    request, response = REQUESTS[what % len(REQUESTS)], RESPONSES[what % len(RESPONSES)]

    def do(tunnel: Tunnel, streams: list[Stream]) -> None:
        server_side = not tunnel.session._client
        if server_side and what % 3 == 0 and tunnel.session.can_open_stream:
            streams.append(tunnel.open_stream())
        stream = streams[which % len(streams)] if streams else None
        if what == 63:
            tunnel.go_away()
        elif what == 62:
            tunnel.close()
        elif stream is not None and not stream.eof_queued:
            if what == 61:
                stream.reset()
            elif what == 60:
                stream.send_eof()
            else:
                stream.send(request if server_side else response)

    world.tunnel_turn(connection, do)


@given(steps("accept", "register", *COMMON), st.sampled_from((0, 1, 2)))
def test_a_server_survives_anything_and_forgets_it(script: list[Step], agents: int) -> None:
    node = ServerNode(ServerConfig(), "node-1", random.Random(1))
    world = World(node)
    for _ in range(agents):
        world.register()
    world.accept("proxy")
    for step in script:
        if world.exit is None:
            act(world, step)
            world.check_bounds()
    world.end()
    assert node.metrics.requests_in_flight == 0
    assert node.registry.counts() == {}
    assert node.tunnels == {}
    assert list(node.timers._watched) == []
    stop(world)


def stop(world: World) -> None:
    """Ask the machine to stop; it does, in time, unless it has stopped already."""
    if world.exit is None:
        world.handle(ShutdownRequested())
    for _ in range(80):
        world.pass_time(1.0)
    assert world.exit is not None


@pytest.mark.parametrize("protocol", ["http", "tcp"])
@given(script=steps("dialed", "dialed", *COMMON))
def test_an_agent_survives_anything_and_forgets_it(protocol: str, script: list[Step]) -> None:
    listener = ListenerConfig(endpoint_id="e1", addr=Origin("127.0.0.1", 3000), protocol=protocol)
    node = AgentMachine(AgentConfig(listeners=(listener,)), random.Random(1))
    world = World(node)
    world.dialed(2, succeeds=True)
    world.accept_registration(2)
    for step in script:
        if world.exit is None:
            act(world, step)
            world.check_bounds()
    world.end()
    stop(world)


# --- however the bytes are cut, the same comes out ---


def messages(data: bytes, *, responses: bool, methods: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """Return head, payload and trailers of each complete message: what does not depend on where chunks were cut."""
    reader = HeadReader(HeadLimits(), response=responses)
    found: list[tuple[bytes, bytes, bytes]] = []
    while data and (read := reader.receive(data)) is not None:
        head, data = read
        if responses:
            body = response_body(parse_response_head(head, HeadLimits()), methods[len(found)])
        else:
            body = request_body(parse_request_head(head, HeadLimits()))
        pieces: list[bytes | memoryview] = []
        if body is not None:
            pieces, data = body.receive(data)
            if not body.done:
                break
        trailers = body.trailers if isinstance(body, ChunkedBody) else b""
        found.append((head, b"".join(pieces), trailers))
    return found


WHOLE_REQUESTS = (
    *(request for number, request in enumerate(REQUESTS) if number in (0, 1, 4, 5, 6, 7)),
    b"POST /a HTTP/1.1\r\nx-pico-endpoint: e1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1;a=b\r\nx\r\n11170\r\n" + bytes(LARGE) + b"\r\n0\r\nChecksum: 1\r\n\r\n",
)
WHOLE_RESPONSES = (
    *(response for number, response in enumerate(RESPONSES) if number in (0, 1, 3, 4, 7)),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11170;x\r\n" + bytes(LARGE) + b"\r\n0\r\nA: b\r\n\r\n",
)


HEAD_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return ``data`` in pieces of the given sizes, over and over."""
    pieces = []
    at = 0
    number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        number += 1
        pieces.append(data[at : at + size])
        at += size
    return pieces


Outcome: TypeAlias = tuple[list[tuple[bytes, bytes, bytes]], list[list[tuple[bytes, bytes, bytes]]]]


def exchange(requests: list[bytes], responses: list[bytes], sizes: list[int]) -> Outcome:
    """Return what the client got, and what came through each stream."""
    world = World(ServerNode(ServerConfig(), "node-1", random.Random(1)))
    world.register()
    (agent,) = world.tunnels
    client = world.accept("proxy")
    heard: dict[int, bytes] = {}
    answered: dict[int, int] = {}
    waiting = list(responses)
    tunnel = world.tunnels[agent]

    def agent_reads() -> None:
        while world.lines[agent].output:
            data, world.lines[agent].output = world.lines[agent].output, b""
            events = tunnel.receive(data, world.now)
            for event in events:
                if isinstance(event, StreamData):
                    heard[event.stream.id] = heard.get(event.stream.id, b"") + bytes(event.data)
                    event.stream.consume(len(event.data))
            speak()
            for event in events:
                if isinstance(event, StreamData):
                    answer(event.stream)

    def answer(stream: Stream) -> None:
        complete = messages(heard[stream.id], responses=False, methods=[])
        if len(complete) > answered.get(stream.id, 0):
            answered[stream.id] = len(complete)
            response = waiting.pop(0)
            if complete[-1][0].startswith(b"HEAD"):
                response = HEAD_RESPONSE
            for piece in cut(response, sizes):
                stream.send(piece)
                speak()

    def speak() -> None:
        while (message := tunnel.take_output()) is not None:
            for piece in cut(joined(message), sizes):
                world.handle(Received(agent, piece))

    for piece in cut(b"".join(requests), sizes):
        world.handle(Received(client, piece))
        agent_reads()
    agent_reads()
    return (
        client_messages(world.lines[client].output, requests),
        [messages(data, responses=False, methods=[]) for data in heard.values()],
    )


def client_messages(output: bytes, requests: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """Return the final responses a client got, with the interim ones in front of their heads."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    count = output.count(interim)
    methods = [request.partition(b" ")[0] for request in requests]
    found = messages(output.replace(interim, b""), responses=True, methods=methods)
    return [(b"%d interim" % count, b"", b""), *found]


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, len(WHOLE_REQUESTS) - 1), st.integers(0, len(WHOLE_RESPONSES) - 1)),
        min_size=1,
        max_size=4,
    ),
    sizes=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 100_000)), min_size=1, max_size=6),
)
def test_cutting_the_bytes_anywhere_changes_nothing(pairs: list[tuple[int, int]], sizes: list[int]) -> None:
    if sum(sizes) < 1_000 * len(sizes):
        sizes = [*sizes, 20_000]  # a large body in small pieces only would take forever
    requests = [WHOLE_REQUESTS[number] for number, _ in pairs]
    responses = [WHOLE_RESPONSES[number] for _, number in pairs]
    whole = exchange(requests, responses, [10**9])
    assert len(whole[0]) == 1 + len(requests)
    assert exchange(requests, responses, sizes) == whole
