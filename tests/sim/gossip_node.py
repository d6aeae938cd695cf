"""One node of a gossip cluster: an engine on a host of the network, with its clock, its streams and its pauses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from pico_core.boundary import SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import (
    LISTENER,
    LeaveDone,
    Lookup,
    NodeDraining,
    NodeForgotten,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeUnreachable,
    NodeUpdated,
    Output,
    SealRefused,
    SendStreamData,
    StreamRequest,
)
from pico_core.gossip.sealing.refusals import SealError
from pico_core.gossip.streams import InboundStream
from pico_core.gossip.wire.records import Entry, WireError
from tests.gossip_streams import received, take_answer
from tests.sim.driver import MOST_DATAGRAM_BYTES, describe
from tests.sim.network import Network
from tests.sim.process import SOCKET_BUFFER_DATAGRAMS

if TYPE_CHECKING:
    from tests.sim.gossip_checks import GossipChecks

PORT = 8003
BYTES_PER_S = 50e6
EXIT_S = 0.05
"""From the end of a leave to the end of the process."""


class Engine(Protocol):
    """The part of ``Gossip`` that a node needs; ``gossip_reference`` has it too."""

    def deadline(self) -> float | None: ...

    def poll(self) -> Output | None: ...

    def tick(self, now: float) -> None: ...

    def receive_datagram(self, data: bytes, host: str, port: int, now: float) -> None: ...

    def accept_stream(self, host: str, now: float) -> InboundStream | None: ...

    def stream_received(self, number: int, data: bytes, now: float) -> bool: ...

    def stream_work(self, number: int, now: float) -> bool: ...

    def is_stream_busy(self, number: int) -> bool: ...

    def stream_failed(self, number: int, now: float) -> None: ...

    def set_local(self, key: str, value: str, now: float) -> None: ...

    def entries(self, node_id: str) -> list[Entry] | None: ...


@dataclass
class Seen:
    """One node as the events of another one describe it."""

    status: str = "active"
    addr: str = ""
    draining: bool = False
    keys: dict[str, str] = field(default_factory=dict)


@dataclass
class Conversation:
    """A connection: what its client asked for, and the stream of its server once the first bytes are there."""

    client: "GossipNode"
    request: StreamRequest
    server: "GossipNode | None" = None
    stream: InboundStream | None = None


class GossipNode:
    """Runs an engine. After every call of a method of ``engine`` from outside, call ``drain``."""

    def __init__(
        self, network: Network, name: str, host: str, engine: Engine, checks: "GossipChecks", *, clock_rate: float = 1.0
    ) -> None:
        """``host`` is the address of a host of ``network``."""
        self.name = name
        self.host = host
        self.engine = engine
        self.is_alive = True
        self.died_at = 0.0
        self.has_left = False
        self.leave_told: int | None = None
        """How many nodes the leave was told to over TCP, once it is done."""
        self.paused_until = 0.0
        self.reading_from = ""
        """The node whose stream it reads now; what a node sent over TCP arrives even if it has died since."""
        self.sent_bytes = 0
        self.seals_refused: list[SealRefused] = []
        self.view: dict[str, Seen] = {}
        """All other nodes, as the events alone describe them."""
        self._network = network
        self._world = network.world
        self._checks = checks
        self._rate = clock_rate
        self._inbox: list[tuple[bytes, str, int]] = []
        self._tick_at: float | None = None
        self._newest: Entry | None = None
        self._conversations: dict[int, Conversation] = {}
        network.hosts[host].datagrams[PORT] = (self, LISTENER)

    @property
    def gossip(self) -> Gossip:
        """The engine, of a node that is not a reference."""
        assert isinstance(self.engine, Gossip)
        return self.engine

    @property
    def version(self) -> int:
        """The version of the node's own state."""
        entries = self.engine.entries(self.name)
        return entries[-1].version if entries else 0

    def now(self) -> float:
        """Return the time on the node's clock."""
        return self._world.now * self._rate

    # --- its life ---

    def crash(self) -> None:
        """End the process at once."""
        if self.is_alive:
            self.is_alive = False
            self.died_at = self._world.now
            del self._network.hosts[self.host].datagrams[PORT]

    def pause(self, duration_s: float) -> None:
        """Stop the process for a while; its datagrams wait in the socket."""
        self.paused_until = max(self.paused_until, self._world.now + duration_s)
        self._world.after(self.paused_until - self._world.now + 1e-6, self._resume)

    def _resume(self) -> None:
        """The timer fires first, then the socket is read."""
        if self.paused_until > self._world.now or not self.is_alive:
            return
        self._tick_at = None
        self.engine.tick(self.now())
        self.drain()
        inbox, self._inbox = self._inbox, []
        for data, source, port in inbox:
            self.datagram_arrived(LISTENER, data, source, port)

    def _runs(self, again: Callable[..., None], *arguments: object) -> bool:
        """Return whether the process runs; while it is paused, plan the call for later."""
        if self.is_alive and self.paused_until > self._world.now:
            self._world.after(self.paused_until - self._world.now + 0.001, again, *arguments)
            return False
        return self.is_alive

    # --- inputs of the engine ---

    def _tick(self) -> None:
        if not self.is_alive or self.paused_until > self._world.now:
            return
        self._tick_at = None
        self.engine.tick(self.now() + 1e-9)
        self.drain()

    def datagram_arrived(self, listener: str, data: bytes, source: str, port: int) -> None:
        world = self._world
        if self.paused_until > world.now:
            if len(self._inbox) < SOCKET_BUFFER_DATAGRAMS:
                self._inbox.append((data, source, port))
            return
        if world.tracing:
            world.note(self.name, f"> {describe(SendDatagram(listener, data, source, port))}")
        self.engine.receive_datagram(data, source, port, world.now * self._rate)
        self.drain()

    def _resolved(self, name: str, addresses: tuple[str, ...], error: str) -> None:
        if self._runs(self._resolved, name, addresses, error):
            self.gossip.resolved(name, addresses, error, self.now())
            self.drain()

    # --- outputs of the engine ---

    def drain(self) -> None:
        """Carry out all outputs of the engine, set the timer, and have the node's own state checked."""
        engine, world = self.engine, self._world
        while (output := engine.poll()) is not None:
            if world.tracing:
                world.note(self.name, f"< {describe(output)}")
            if type(output) is SendDatagram:  # nearly all of them
                size = len(output.data)
                if size > MOST_DATAGRAM_BYTES:
                    raise world.violation(f"I9: {self.name} sends {size} bytes")
                self.sent_bytes += size
                self._network.send_datagram(self.host, PORT, output.host, output.port, output.data)
            else:
                self._carry_out(output)
        at = engine.deadline()
        if at is not None and at != self._tick_at:
            self._tick_at = at
            world.after(max(0.0, at / self._rate - world.now), self._tick)
        entries = engine.entries(self.name)
        newest = entries[-1] if entries else None
        if newest is not self._newest:
            self._newest = newest
            self._checks.note_writes(self, entries or [])
        if self._checks.strict:
            self._checks.check_node(self)

    def _carry_out(self, output: Output) -> None:
        if isinstance(output, StreamRequest):
            self._connect(output)
        elif isinstance(output, SendStreamData):
            self._send(self._conversations[output.number], output.data)
        elif isinstance(output, SealRefused):
            self.seals_refused.append(output)
        elif isinstance(output, Lookup):
            answer = partial(self._resolved, output.name)
            self._network.names.look_up(output.name, self.host, output.timeout_s, answer)
        elif isinstance(output, LeaveDone):
            self.leave_told = output.told
            self._world.after(EXIT_S, self.crash)
        else:
            self._learn(output)

    def _learn(self, event: Output) -> None:
        view = self.view
        if isinstance(event, NodeJoined):
            view[event.node_id] = Seen(addr=event.addr)
        elif isinstance(event, NodeUpdated):
            keys = view[event.node_id].keys
            if event.value is None:
                keys.pop(event.key, None)
            else:
                keys[event.key] = event.value
        elif isinstance(event, NodeDraining):
            view[event.node_id].draining = event.draining
        elif isinstance(event, NodeUnreachable):
            view[event.node_id].status = "unreachable"
        elif isinstance(event, NodeReachable):
            view[event.node_id].status = "active"
        elif isinstance(event, NodeLeft):
            view[event.node_id].status = "left"
        elif isinstance(event, NodeForgotten):
            del view[event.node_id]
        else:
            raise self._world.violation(f"an unknown event {event}")
        self._checks.check_event(self, event)

    # --- streams: a request and its answer, over TCP ---

    def _connect(self, request: StreamRequest) -> None:
        """Send SYN: refused where the process has ended, silent where the path is cut."""
        world, network = self._world, self._network
        bound = network.hosts[request.host].datagrams.get(request.port) if request.host in network.hosts else None
        if bound is None and self._reaches(request.host):
            world.after(2 * network.delay_s(), self._fail, request.number)
            return
        world.after(request.timeout_s, self._fail, request.number)
        conversation = self._conversations[request.number] = Conversation(self, request)
        handshake_s = network.segment_delay_s() + network.segment_delay_s()
        self._send(conversation, request.data, handshake_s)

    def _send(self, conversation: Conversation, data: bytes, after_s: float = 0.0) -> None:
        delay_s = after_s + self._network.segment_delay_s() + len(data) / BYTES_PER_S
        self._world.after(delay_s, self._arrive, conversation, data)

    def _arrive(self, conversation: Conversation, data: bytes) -> None:
        """Bytes of a request are at their target."""
        request = conversation.request
        bound = self._network.hosts[request.host].datagrams.get(request.port) if self._reaches(request.host) else None
        if bound is None or not self.is_alive:
            return
        target = bound[0]
        assert isinstance(target, GossipNode)
        if conversation.server in (None, target):
            target.serve(conversation, data)

    def serve(self, conversation: Conversation, data: bytes) -> None:
        """Answer bytes of a request that have arrived in two segments."""
        if not self._runs(self.serve, conversation, data):
            return
        peer = conversation.client
        if self.has_left:
            self._world.sometimes["join while leaving"] += 1
        self.reading_from = peer.name
        if conversation.stream is None:
            conversation.server = self
            conversation.stream = self.engine.accept_stream(peer.host, self._world.now)
        stream = conversation.stream
        assert stream is not None, "the engine was started when the node was made"
        middle = len(data) // 2
        try:
            reply = received(stream, data[:middle], self.now())
            reply += received(stream, data[middle:], self.now())
        except SealError as error:
            self.seals_refused.append(SealRefused(peer.host, str(error)))
            reply = error.answer
        except WireError as error:
            raise self._world.violation(f"{self.name} cannot read the stream of {peer.name}: {error}") from error
        self.drain()
        self.reading_from = ""
        if reply:
            delay_s = self._network.segment_delay_s() + len(reply) / BYTES_PER_S
            self._world.after(delay_s, peer.take_reply, self.name, conversation.request, reply)

    def take_reply(self, peer: str, request: StreamRequest, data: bytes) -> None:
        """Bytes of the answer of a peer to a request are back."""
        if self._reaches(request.host) and self._runs(self.take_reply, peer, request, data):
            self.reading_from = peer
            take_answer(self.engine, request.number, data, self.now())
            self.drain()
            self.reading_from = ""

    def _fail(self, number: int) -> None:
        self._conversations.pop(number, None)
        if self._runs(self._fail, number):
            self.engine.stream_failed(number, self.now())
            self.drain()

    def _reaches(self, host: str) -> bool:
        network = self._network
        return not network.blocked(self.host, host) and not network.blocked(host, self.host)
