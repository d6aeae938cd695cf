"""A play: a conversation with a node machine that reads from top to bottom, with literal bytes and times.

::

    play = server_play()
    play.agent_registers(1, "e1")
    assert (
        play
        >> Accepted(3, "proxy", "192.0.2.7", 5000)
        >> Received(3, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n")
        << Open(1, 2)
        << Data(1, 2, b"GET / HTTP/1.1\r\n...")
        >> 30.5
        << Send(3, b"HTTP/1.1 504 Gateway Timeout\r\n...")
    )

``>>`` is followed by an input; or by a cue, an act of the far end of a tunnel; or by a number, the time until which
there is no other input (the machine gets the ticks that it asks for on the way). Inputs in a row belong to one turn.
``<<`` is followed by the machine's next command. Some kinds of commands appear elsewhere: logs gather in ``logs`` and
``access_log``, the bytes of tunnels appear as cues, and a question what the process uses is answered with ``USAGE``.
Gossip with ``neighbours`` does not appear. In place of each ID that the machine made for a request there is
``REQUEST_ID``. The ``assert`` checks that there is no further command.
"""

import difflib
import random
import re
from typing import Protocol, TypeAlias

import msgspec

from pico_core.agent.machine import AgentMachine
from pico_core.boundary import (
    Accepted,
    Command,
    Connected,
    DatagramReceived,
    Input,
    Listen,
    ListenDatagram,
    Listening,
    Machine,
    Received,
    SelectSource,
    Send,
    SendDatagram,
    SourceSelected,
    Tick,
)
from pico_core.config.agent import AgentConfig
from pico_core.config.ports import ProxyConfig
from pico_core.config.server import ServerConfig
from pico_core.mux.events import (
    GoAwayReceived,
    MuxEvent,
    NoticeReceived,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from pico_core.mux.stream import MuxStream
from pico_core.records import AccessLog, Log, MeasureProcess, ProcessMeasured, Record
from pico_core.server.exposure import OPEN
from pico_core.server.node import ServerNode
from pico_core.tunnel.agreement import first_window_bytes
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import ClientHandshake, accept_handshake
from tests.faults import check_answers

REQUEST_ID = b"0" * 16
"""The text that a play shows for each random ID of a request."""

_OWN_ID = re.compile(rb'(X-Pico-Request-ID: |"request_id":")[0-9a-f]{16}')

USAGE = ProcessMeasured(0, 1.25, 50_000_000, 200_000_000, 12, 1_024, 1_700_000_000.5)
"""The resources of the process of a play."""

PIKO = (b"user-agent", b"piko")
"""A header of an agent that is not one of ours: see ``Play.agent_registers``."""


class Open(Record, frozen=True):
    """A stream is opened in the tunnel on connection ``tunnel``. Cues are the same in both directions."""

    tunnel: int
    stream: int


class Data(Record, frozen=True):
    """Bytes of a stream; those of one turn are one cue."""

    tunnel: int
    stream: int
    data: bytes


class End(Record, frozen=True):
    """FIN: the end of one direction of a stream."""

    tunnel: int
    stream: int


class Reset(Record, frozen=True):
    """RST: the end of both directions of a stream."""

    tunnel: int
    stream: int


class GoAway(Record, frozen=True):
    """The sender takes no new streams."""

    tunnel: int


class Notice(Record, frozen=True):
    """The sender tells something that the other end need not know."""

    tunnel: int
    text: bytes


class Nothing(Record, frozen=True):
    """``<< Nothing()``: there is no command now. Needed only between inputs that are not of one turn."""


Cue: TypeAlias = Open | Data | End | Reset | GoAway | Notice


class FarEnd:
    """The far end of a tunnel: a real ``Tunnel`` that the play directs. ``reading``: whether it grants credit."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.streams: dict[int, MuxStream] = {}
        self.reading = True

    def hear(self, connection: int, data: bytes, now: float) -> list[Cue]:
        events = self.tunnel.receive(data, now)
        while self.tunnel.behind:
            events += self.tunnel.receive(b"", now)
        return [cue for event in events if (cue := self._cue(connection, event)) is not None]

    def _cue(self, connection: int, event: MuxEvent) -> Cue | None:
        if isinstance(event, StreamData):
            if self.reading:
                event.stream.consume(len(event.data))
            return Data(connection, event.stream.id, bytes(event.data))
        if isinstance(event, StreamOpened):
            self.streams[event.stream.id] = event.stream
            return Open(connection, event.stream.id)
        if isinstance(event, StreamEnded):
            return End(connection, event.stream.id)
        if isinstance(event, StreamReset):
            return Reset(connection, event.stream.id)
        if isinstance(event, NoticeReceived):
            return Notice(connection, event.text)
        return GoAway(connection) if isinstance(event, GoAwayReceived) else None

    def act(self, cue: Cue) -> None:
        if isinstance(cue, Open):
            self.streams[cue.stream] = stream = self.tunnel.open_stream()
            assert stream.id == cue.stream, f"the next stream is {stream.id}"
        elif isinstance(cue, Data):
            self.streams[cue.stream].send(cue.data)
        elif isinstance(cue, End):
            self.streams[cue.stream].send_eof()
        elif isinstance(cue, Reset):
            self.streams[cue.stream].reset()
        elif isinstance(cue, Notice):
            self.tunnel.notice(cue.text)
        else:
            self.tunnel.go_away()

    def output(self) -> bytes:
        out = b""
        while (message := self.tunnel.take_output()) is not None:
            out += joined(message)
        return out


class Neighbour(Protocol):
    """Another node of the cluster: see ``tests.neighbours``."""

    def hear(self, data: bytes, now: float) -> list[DatagramReceived]:
        """Take a datagram of the server; return the answers to it."""


class Play:
    """See the module's docstring. ``now`` is the time on the clock of ``machine``.

    ``answers`` are the fields of the answers with which agents were registered, ``neighbours`` the other nodes by host.
    """

    def __init__(self, machine: Machine, now: float = 0.0) -> None:
        self.machine = machine
        self.now = now
        self.logs: list[Log] = []
        self.access_log: list[bytes] = []
        self.tunnels: dict[int, FarEnd] = {}
        self.answers: dict[int, list[tuple[bytes, bytes]]] = {}
        self.neighbours: dict[str, Neighbour] = {}
        self._done: list[Record] = []
        self._expecting = False
        self._lines: list[str] = []

    def __rshift__(self, event: Input | Cue | float) -> "Play":
        if self._expecting:
            self._check_silence()
        self._expecting = False
        if isinstance(event, (int, float)):
            self._lines.append(f">> {event} s")
            self._pass_time(event)
            return self
        self._lines += rendered(">>", event)
        if isinstance(event, Cue):
            far = self.tunnels[event.tunnel]
            far.act(event)
            event = Received(event.tunnel, far.output())
        self.machine.handle(event, self.now)
        return self

    def __lshift__(self, expected: Command | Cue | Nothing) -> "Play":
        self._expecting = True
        self._drain()
        done = _without_request_id(self._done.pop(0)) if self._done else Nothing()
        if done != expected:
            diff = difflib.ndiff(rendered("<<", expected), rendered("<<", done))
            raise AssertionError("\n".join(["expected -, done +", *self._lines[-40:], *diff]))
        self._lines += rendered("<<", done)
        return self

    def __bool__(self) -> bool:
        self._check_silence()
        return True

    @property
    def idle(self) -> bool:
        """Whether every command of the machine was expected already."""
        self._drain()
        return not self._done

    def take(self) -> list[Record]:
        """Return the commands that were not expected yet, for those that no literal can describe."""
        return [_without_request_id(each) for each in self.take_with_ids()]

    def put_back(self, commands: list[Record]) -> None:
        """Have commands expected that were taken."""
        self._done = commands + self._done

    def take_with_ids(self) -> list[Record]:
        """Return the same with the IDs that the machine made for requests."""
        self._drain()
        done, self._done = self._done, []
        return done

    def hear_bytes(self) -> None:
        """Let tunnels appear as the bytes of their connections from now on: the far ends are silent."""
        self.tunnels.clear()

    def hear_neighbours(self) -> None:
        """Let the neighbours answer what the machine has sent to them."""
        self._drain()

    def forget_start_warning(self) -> None:
        """Remove from the logs what a server says of its open ports: few plays are about that."""
        self._drain()
        self.logs = [log for log in self.logs if log.message != OPEN]

    def _check_silence(self) -> None:
        self._drain()
        if self._done:
            done = [line for each in self._done for line in rendered("+ <<", each)]
            raise AssertionError("\n".join(["not expected +", *self._lines[-40:], *done]))

    def _pass_time(self, until: float) -> None:
        assert until >= self.now, "time never goes back"
        self._drain()
        ticks_in_vain = 0
        while (due_at := self.machine.deadline()) is not None and due_at <= until:
            ticks_in_vain = 0 if due_at > self.now else ticks_in_vain + 1
            assert ticks_in_vain < 3, f"the deadline stays at {due_at} in spite of ticks"
            self.now = max(self.now, due_at)
            self.machine.handle(Tick(), self.now)
            self._drain()
        self.now = until

    def _drain(self) -> None:
        while (command := self.machine.poll()) is not None:
            if isinstance(command, Log):
                self.logs.append(command)
            elif isinstance(command, MeasureProcess):
                self.machine.handle(msgspec.structs.replace(USAGE, query=command.query), self.now)
            elif isinstance(command, AccessLog):
                self.access_log += command.lines
            elif isinstance(command, SendDatagram) and command.host in self.neighbours:
                for answer in self.neighbours[command.host].hear(command.data, self.now):
                    self.machine.handle(answer, self.now)
            elif not isinstance(command, Send):
                self._done.append(command)
            elif command.connection in self.tunnels:
                self._hear_tunnel(command.connection, joined(command.data))
            else:
                data = joined(command.data)
                check_answers(data)
                self._done.append(Send(command.connection, data))

    def _hear_tunnel(self, connection: int, data: bytes) -> None:
        far = self.tunnels[connection]
        for cue in far.hear(connection, data, self.now):
            last = self._done[-1] if self._done else None
            if (
                isinstance(cue, Data)
                and isinstance(last, Data)
                and (last.tunnel, last.stream) == (cue.tunnel, cue.stream)
            ):
                self._done[-1] = Data(connection, cue.stream, last.data + cue.data)
            else:
                self._done.append(cue)
        answer = far.output()
        if answer:
            self.machine.handle(Received(connection, answer), self.now)

    # --- scenes that many plays begin with ---

    def agent_registers(self, connection: int, endpoint: str, *headers: tuple[bytes, bytes]) -> FarEnd:
        """Connect an agent to the upstream port of a server; its tunnel speaks in cues from now on.

        It is one of ours, unless ``PIKO`` is among ``headers``.
        """
        if PIKO not in headers and b"x-pico-max-streams" not in dict(headers):
            headers = (*headers, (b"x-pico-max-streams", b"1024"))
        handshake = ClientHandshake("pico:8001", f"/pico/v1/upstream/{endpoint}", headers, random.Random(connection))
        self >> Accepted(connection, "upstream", "192.0.2.1", 4000) >> Received(connection, handshake.request_bytes())
        response, *behind = self.take()
        assert isinstance(response, Send)
        assert handshake.receive(joined(response.data)) == b""
        first_bytes = first_window_bytes(handshake.answer)
        self.answers[connection] = list(handshake.answer)
        entropy = random.Random(connection)
        tunnel = Tunnel(self.now, entropy=entropy, max_incoming_streams=1024, first_window_bytes=first_bytes)
        self.tunnels[connection] = FarEnd(tunnel)
        for each in behind:
            if isinstance(each, Notice):  # to the agents that were there before
                continue
            assert isinstance(each, Send)
            self._hear_tunnel(each.connection, joined(each.data))
        return self.tunnels[connection]

    def server_accepts(self, connection: int, *answer: tuple[bytes, bytes]) -> FarEnd:
        """Let the connection that an agent asked for succeed, and register it; its tunnel speaks in cues then.

        The server tells ``answer``. Without a node's ID it is one of Piko's.
        """
        self >> Connected(connection, "192.0.2.9", 8001)
        (request,) = self.take()
        assert isinstance(request, Send)
        self >> Received(connection, accept_handshake(joined(request.data), answer))
        self.tunnels[connection] = far = FarEnd(Tunnel(self.now, entropy=None))
        far.tunnel.session.opens_after_go_away = bool(answer)
        return self.tunnels[connection]


def server_play(config: ServerConfig | None = None) -> Play:
    """Return a server at 0 s, whose ports have been open for a while: it expects no route any more."""
    config = config or ServerConfig()
    play = Play(ServerNode(config, "node-1", random.Random(1)), -2 * ProxyConfig().wait_timeout_s)
    play >> Tick() << Listen("admin", "", 8002) << Listen("gossip-streams", "", 8003)
    play << Listen("upstream", "", 8001) << Listen("proxy", "", 8000)
    for name, port in (("admin", 8002), ("upstream", 8001), ("proxy", 8000)):
        play >> Listening(name, "0.0.0.0", port)
    play >> Listening("gossip-streams", "0.0.0.0", 8003) << ListenDatagram("gossip", "0.0.0.0", 8003)
    play >> Listening("gossip", "0.0.0.0", 8003) << SelectSource(1, "192.0.2.1") << SelectSource(2, "2001:db8::1")
    play >> SourceSelected(1, "10.0.0.1") >> SourceSelected(2, "fd00::1") >> 0.0
    assert play
    play.forget_start_warning()
    return play


def agent_play(config: AgentConfig) -> Play:
    """Return an agent that has just started, at 0 s: its first commands are still to come."""
    return Play(AgentMachine(config, random.Random(1))) >> Tick()


def node_of(play: Play) -> ServerNode:
    """Return the server of a play."""
    assert isinstance(play.machine, ServerNode)
    return play.machine


def sent(commands: list[Record], connection: int) -> bytes:
    """Return all bytes that these commands send on a connection."""
    return b"".join(joined(each.data) for each in commands if isinstance(each, Send) and each.connection == connection)


def joined(data: bytes | tuple[bytes | memoryview, ...]) -> bytes:
    """Return the data of a ``Send`` as one piece."""
    return data if isinstance(data, bytes) else b"".join(data)


def _without_request_id(record: Record) -> Record:
    """Return a command whose bytes have ``REQUEST_ID`` for every ID that the machine made for a request."""
    if isinstance(record, (Data, Send)):
        data = _OWN_ID.sub(rb"\g<1>" + REQUEST_ID, joined(record.data))
        return msgspec.structs.replace(record, data=data)
    return record


def rendered(mark: str, record: Record) -> list[str]:
    """Return a record as lines, with one line for each line of its bytes, so that a difference is easy to see."""
    scalars = []
    lines = []
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, bytes):
            lines += [f"       {line[:100]!r}" for line in value[:20_000].splitlines(keepends=True)]
            scalars.append(f"{len(value)} bytes")
        else:
            scalars.append(repr(value))
    return [f"{mark} {type(record).__name__}({', '.join(scalars)})", *lines]
