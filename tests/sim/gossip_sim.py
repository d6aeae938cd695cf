"""Many gossip engines in one process, under virtual time, over a network that a seed makes faulty.

Everything random comes from one seeded generator, so a seed is a whole history: the same seed gives the same trace.
While it runs, the invariants of ``docs/gossip.md`` are checked; a broken one raises ``ViolationError``, whose text
holds the command that replays it::

    python -m tests.sim.gossip_storm --seed 1234
"""

import heapq
import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pico_core.boundary import SendDatagram
from pico_core.gossip.events import (
    LeaveDone,
    Lookup,
    NodeDraining,
    NodeForgotten,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeUnreachable,
    NodeUpdated,
    StreamRequest,
)
from pico_core.gossip.machine import Gossip
from pico_core.gossip.members import MemberStatus
from pico_core.gossip.wire import WireError
from tests.sim.gossip_reference import Reference

Call = Callable[[Any, Any], None]
"""Something that happens later, with its two arguments."""

PORT = 8003
SOCKET_BUFFER_DATAGRAMS = 256
"""What a paused process's socket holds: 208 KiB, with the kernel's own overhead for each datagram."""


class ViolationError(AssertionError):
    """An invariant does not hold."""


@dataclass
class Faults:
    """What the network and the machines suffer from. Shares are between 0 and 1, times in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    truncation: float = 0.0
    latency_s: float = 0.0005
    jitter_s: float = 0.001
    tail: float = 0.0
    tail_s: float = 0.2
    pause_every_s: float = 0.0
    """Mean time between pauses of one node; 0 for none."""
    pause_s: float = 1.0
    clock_skew: float = 0.0
    """By how much a node's clock may run fast or slow."""

    @property
    def is_mild(self) -> bool:
        """Whether no live node may be called unreachable under these."""
        return self.loss <= 0.1 and self.pause_s <= 1.5 and self.tail_s <= 0.5 and self.clock_skew <= 0.1


@dataclass
class Seen:
    """What one node told about another one in its events."""

    status: str = "active"
    addr: str = ""
    draining: bool = False
    keys: dict[str, str] = field(default_factory=dict)


class SimNode:
    """One process: an engine, its address, its clock, and what its events have told so far."""

    def __init__(self, name: str, host: str, engine: Gossip | Reference, skew: float) -> None:
        self.name = name
        self.host = host
        self.engine = engine
        self.rate = 1.0 + skew
        self.is_alive = True
        self.died_at = 0.0
        self.has_left = False
        self.paused_until = 0.0
        self.inbox: list[tuple[bytes, str]] = []
        self.tick_at: float | None = None
        self.view: dict[str, Seen] = {}
        self.was_dead_here: dict[str, None] = {}
        self.leave_told: int | None = None
        self.sent_bytes = 0
        self.lives = 1
        self.written: dict[int, list[tuple[str, str, bool]]] = {}
        self.written_version = 0

    def local(self, now: float) -> float:
        return now * self.rate

    def universal(self, at: float) -> float:
        return at / self.rate


class Cluster:
    """The simulator. Boot nodes, break things, ``run`` for a while, and look."""

    def __init__(
        self, seed: int, faults: Faults | None = None, *, strict: bool = False, trace: bool = False, replay: str = ""
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.faults = faults if faults is not None else Faults()
        self.now = 0.0
        self.nodes: dict[str, SimNode] = {}
        self.at: dict[str, SimNode] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.dns = "right"
        """``right``; ``fails``; ``self``: answers the asker's own address only; ``lies``: adds one that nobody has."""
        self.dns_latency_s = 0.005
        self.cuts: dict[tuple[str, str], None] = {}
        self.sides: dict[str, int] = {}
        self.false_unreachable: list[tuple[float, str, str]] = []
        self.healed_s: list[float] = []
        self.sometimes: Counter[str] = Counter()
        self.joined_at: dict[tuple[str, str], float] = {}
        self.trace = 0
        self._is_traced = trace
        self._strict = strict
        self._replay = replay
        self._heap: list[tuple[float, int, Call, Any, Any]] = []
        self._count = 0
        self._next_host = 0
        self._faults_ended_at = 0.0

    # --- what happens to the cluster ---

    def address(self) -> str:
        """Return an IP address that nobody has had yet."""
        self._next_host += 1
        return f"10.{self._next_host >> 16}.{self._next_host >> 8 & 255}.{self._next_host & 255}"

    def boot(
        self,
        name: str,
        seeds: tuple[str, ...] = ("pico",),
        host: str | None = None,
        keys: int = 0,
        former: SimNode | None = None,
    ) -> SimNode:
        """Start a node. The name ``pico`` resolves to what ``self.names`` says."""
        host = host or self.address()
        skew = self.faults.clock_skew * (2 * self.random.random() - 1) if self.faults.clock_skew else 0.0
        engine = Gossip(
            name,
            f"{host}:{PORT}",
            entropy=random.Random(self.random.getrandbits(64)),
            seeds=seeds,
            is_name_fixed=former is not None,
        )
        node = SimNode(name, host, engine, skew)
        if former is not None:
            node.lives = former.lives + 1
            node.written = former.written
        self.nodes[name] = node
        self.at[host] = node
        now = node.local(self.now)
        engine.set_local("proxy_addr", f"{host}:8000", now)
        engine.set_local("admin_addr", f"{host}:8002", now)
        for number in range(keys):
            engine.set_endpoint(f"e{number}", 1, now)
        engine.start(now)
        self._drain(node)
        if self.faults.pause_every_s:
            self._schedule(self._pause_gap(), self._pause, node, None)
        return node

    def boot_reference(self, name: str, seed_hosts: tuple[str, ...], host: str | None = None) -> SimNode:
        """Start a node that speaks the wire as Piko does."""
        host = host or self.address()
        seeds = tuple((each, PORT) for each in seed_hosts)
        engine = Reference(name, f"{host}:{PORT}", seeds, random.Random(self.random.getrandbits(64)))
        node = SimNode(name, host, engine, 0.0)
        self.nodes[name] = node
        self.at[host] = node
        engine.set_local("proxy_addr", f"{host}:8000", self.now)
        engine.start(self.now)
        self._drain(node)
        return node

    def reboot(self, old: SimNode) -> SimNode:
        """Start a node under the name and address of one that died: a configured ID, and nothing of its state."""
        for node in self.nodes.values():
            node.was_dead_here.pop(old.name, None)
        return self.boot(old.name, host=old.host, former=old)

    def crash(self, name: str) -> None:
        """Kill a node at once."""
        node = self.nodes[name]
        node.is_alive = False
        node.died_at = self.now
        if self.at.get(node.host) is node:
            del self.at[node.host]

    def leave(self, name: str) -> None:
        """Let a node say goodbye; it ends when it is done, or after a second."""
        node = self.nodes[name]
        node.has_left = True
        node.engine.leave(node.local(self.now))
        self._drain(node)
        self._schedule(1.0, self._exit, node, None)

    def pause(self, name: str, pause_s: float) -> None:
        """Stop a process for a while; what comes waits in its socket."""
        self._pause_for(self.nodes[name], pause_s)

    def split(self, *sides: list[str]) -> None:
        """Cut the network between groups of nodes; those in no group hear all."""
        self.sides = {self.nodes[name].host: number for number, side in enumerate(sides) for name in side}

    def heal(self) -> None:
        """End cuts and splits."""
        self.cuts.clear()
        self.sides = {}

    def set_key(self, name: str, key: str, value: str) -> int:
        """Write a key on a node; return the node's version."""
        node = self.nodes[name]
        node.engine.set_local(key, value, node.local(self.now))
        self._drain(node)
        return node.engine._state.version

    def delete_key(self, name: str, key: str) -> None:
        """Delete a key on a node."""
        node = self.nodes[name]
        node.engine.delete_local(key, node.local(self.now))
        self._drain(node)

    def inject(self, name: str, data: bytes, host: str, port: int = PORT) -> None:
        """Hand a datagram to a node."""
        node = self.nodes[name]
        if node.is_alive:
            node.engine.receive_datagram(data, host, port, node.local(self.now))
            self._drain(node)

    # --- running ---

    def run(self, duration_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Run for so long, or until ``until()`` is true; return whether it became true."""
        end = self.now + duration_s
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= end:
            at, _, call, first, second = pop(heap)
            self.now = at
            call(first, second)
            if until is not None and until():
                return True
        self.now = end
        return False

    def run_checked(self, duration_s: float, every_s: float = 1.0) -> None:
        """Run for so long, checking all tables now and then."""
        end = self.now + duration_s
        while self.now < end:
            self.run(min(every_s, end - self.now))
            self.check()

    def _schedule(self, delay_s: float, call: Call, first: Any, second: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._count, call, first, second))

    def _tick(self, node: SimNode, _: object) -> None:
        if not node.is_alive or node.paused_until > self.now:
            return
        node.tick_at = None
        node.engine.tick(node.local(self.now) + 1e-9)
        self._drain(node)

    def _deliver(self, node: SimNode, packet: tuple[bytes, str]) -> None:
        if not node.is_alive:
            return
        if node.paused_until > self.now:
            if len(node.inbox) < SOCKET_BUFFER_DATAGRAMS:
                node.inbox.append(packet)
            return
        if self._is_traced:
            self.trace = zlib.crc32(packet[0], zlib.crc32(f"{self.now} {node.name} {packet[1]}".encode(), self.trace))
        node.engine.receive_datagram(packet[0], packet[1], PORT, self.now * node.rate)
        self._drain(node)

    def _drain(self, node: SimNode) -> None:
        """Carry out what an engine asks for."""
        engine = node.engine
        output = engine.poll()
        while output is not None:
            if type(output) is SendDatagram:
                self._send(node, output)
            else:
                self._carry_out(node, output)
            output = engine.poll()
        if engine._state.version != node.written_version:
            self._note_writes(node)
        at = engine.deadline()
        if at is not None and at != node.tick_at:
            node.tick_at = at
            self._schedule(max(0.0, at / node.rate - self.now), self._tick, node, None)
        if self._strict:
            self._check_node(node)

    def _carry_out(self, node: SimNode, output: object) -> None:
        if isinstance(output, StreamRequest):
            self._connect(node, output)
        elif isinstance(output, Lookup):
            self._schedule(self.dns_latency_s, self._resolve, node, output.name)
        elif isinstance(output, LeaveDone):
            node.leave_told = output.told
            self._schedule(0.05, self._exit, node, None)
        else:
            self._observe(node, output)

    def _send(self, node: SimNode, output: SendDatagram) -> None:
        data = output.data
        if len(data) > 1400:
            raise self._violation(f"I9: {node.name} sends {len(data)} bytes")
        node.sent_bytes += len(data)
        faults, chance = self.faults, self.random.random
        if faults.loss and chance() < faults.loss:
            return
        target = self.at.get(output.host)
        if target is None or (self.cuts and (node.host, output.host) in self.cuts):
            return
        if self.sides and self._are_apart(node.host, output.host):
            return
        if faults.corruption and chance() < faults.corruption:
            self.sometimes["corrupt packet"] += 1
            data = self._corrupt(data)
        if faults.truncation and chance() < faults.truncation:
            self.sometimes["partial packet"] += 1
            data = data[: self.random.randrange(len(data))]
        delay_s = faults.latency_s + faults.jitter_s * chance()
        if faults.tail and chance() < faults.tail:
            delay_s += faults.tail_s * chance()
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._count, self._deliver, target, (data, node.host)))
        if faults.duplication and chance() < faults.duplication:
            self._schedule(delay_s + faults.tail_s * chance(), self._deliver, target, (data, node.host))

    def _corrupt(self, data: bytes) -> bytes:
        """Break a datagram so that it shows: what the UDP checksum lets through is left to the authenticated mode."""
        broken = bytearray(data)
        broken[2] = 0xC1
        for _ in range(self.random.randrange(1, 8)):
            broken[self.random.randrange(3, len(broken))] = self.random.randrange(256)
        return bytes(broken)

    # --- TCP and DNS ---

    def _are_apart(self, source: str, target: str) -> bool:
        sides = self.sides
        return source in sides and target in sides and sides[source] != sides[target]

    def _passes(self, source: str, target: str) -> bool:
        return (
            not self._are_apart(source, target)
            and (source, target) not in self.cuts
            and (target, source) not in self.cuts
        )

    def _tcp_delay_s(self, size: int) -> float:
        """Return how long a message takes with retransmissions, the first after 200 ms."""
        delay_s = 2 * (self.faults.latency_s + self.faults.jitter_s) + size / 50e6
        pause_s = 0.2
        while self.random.random() < self.faults.loss:
            delay_s += pause_s
            pause_s *= 2
        return delay_s

    def _connect(self, node: SimNode, exchange: StreamRequest) -> None:
        if exchange.host not in self.at and self._passes(node.host, exchange.host):
            self._schedule(0.01, self._fail, node, exchange.number)
            return
        self._schedule(exchange.timeout_s, self._fail, node, exchange.number)
        delay_s = self._tcp_delay_s(100) + self._tcp_delay_s(len(exchange.data))
        self._schedule(delay_s, self._request, node, exchange)

    def _request(self, node: SimNode, exchange: StreamRequest) -> None:
        target = self.at.get(exchange.host)
        if target is None or not node.is_alive or not self._passes(node.host, exchange.host):
            return
        if target.paused_until > self.now:
            self._schedule(target.paused_until - self.now + 0.001, self._request, node, exchange)
            return
        if target.has_left:
            self.sometimes["join while leaving"] += 1
        try:
            stream = target.engine.accept_stream(node.host)
            middle = len(exchange.data) // 2
            reply = stream.receive(exchange.data[:middle], target.local(self.now))
            reply = stream.receive(exchange.data[middle:], target.local(self.now)) or reply
        except WireError as error:
            raise self._violation(f"{target.name} cannot read the stream of {node.name}: {error}") from error
        self._drain(target)
        assert reply is not None
        self._schedule(self._tcp_delay_s(len(reply)), self._reply, node, (exchange.number, exchange.host, reply))

    def _reply(self, node: SimNode, answer: tuple[int, str, bytes]) -> None:
        number, host, data = answer
        if not node.is_alive or not self._passes(node.host, host):
            return
        if node.paused_until > self.now:
            self._schedule(node.paused_until - self.now + 0.001, self._reply, node, answer)
            return
        node.engine.exchange_received(number, data, node.local(self.now))
        self._drain(node)

    def _fail(self, node: SimNode, number: int) -> None:
        if node.is_alive:
            node.engine.exchange_failed(number, node.local(self.now))
            self._drain(node)

    def _resolve(self, node: SimNode, name: str) -> None:
        if not node.is_alive:
            return
        error = "the server does not answer" if self.dns == "fails" else ""
        addresses = () if error else self.names.get(name, ())
        if self.dns == "self":
            addresses = (node.host,)
        elif self.dns == "lies":
            addresses = ("10.99.0.1", *addresses)
        if not error and not addresses:
            error = "no such name"
        node.engine.resolved(name, addresses, error, node.local(self.now))
        self._drain(node)

    # --- faults of processes ---

    def _pause_gap(self) -> float:
        return self.random.expovariate(1.0 / self.faults.pause_every_s)

    def _pause(self, node: SimNode, _: object) -> None:
        if node.is_alive and self.faults.pause_every_s:
            self._pause_for(node, self.faults.pause_s * self.random.random())
            self._schedule(self.faults.pause_s + self._pause_gap(), self._pause, node, None)

    def _pause_for(self, node: SimNode, pause_s: float) -> None:
        node.paused_until = max(node.paused_until, self.now + pause_s)
        self._schedule(node.paused_until - self.now + 1e-6, self._resume, node, None)

    def _resume(self, node: SimNode, _: object) -> None:
        """Wake up: the timer first, then what waited in the socket."""
        if node.paused_until > self.now or not node.is_alive:
            return
        node.tick_at = None
        node.engine.tick(node.local(self.now))
        self._drain(node)
        inbox, node.inbox = node.inbox, []
        for packet in inbox:
            self._deliver(node, packet)

    def _exit(self, node: SimNode, _: object) -> None:
        if node.is_alive:
            self.crash(node.name)

    # --- invariants ---

    def _violation(self, text: str) -> ViolationError:
        replay = self._replay or f"Cluster(seed={self.seed})"
        return ViolationError(f"{text} at {self.now:.3f} s; replay with: {replay}")

    def _note_writes(self, node: SimNode) -> None:
        state = node.engine._state
        if state.version < node.written_version:
            raise self._violation(f"I3: {node.name} went back to version {state.version}")
        for entry in state.after(node.written_version):
            node.written.setdefault(entry.version, []).append((entry.key, entry.value, entry.deleted))
        node.written_version = state.version

    def _observe(self, node: SimNode, event: object) -> None:
        """Build a node's view from its events alone, and check what each event claims."""
        if self._is_traced:
            self.trace = zlib.crc32(f"{self.now} {node.name} {event}".encode(), self.trace)
        view = node.view
        if isinstance(event, NodeJoined):
            self._check_return(node, event.node_id)
            view[event.node_id] = Seen(addr=event.addr)
            self.joined_at.setdefault((node.name, event.node_id), self.now)
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
            self._check_unreachable(node, event)
        elif isinstance(event, NodeReachable):
            self._check_return(node, event.node_id)
            view[event.node_id].status = "active"
            self._note_healed(node, event.node_id)
        elif isinstance(event, NodeLeft):
            view[event.node_id].status = "left"
            if not self.nodes[event.node_id].has_left:
                raise self._violation(f"{node.name} takes {event.node_id} for left")
            node.was_dead_here[event.node_id] = None
        elif isinstance(event, NodeForgotten):
            del view[event.node_id]
        else:
            raise self._violation(f"an unknown event {event}")

    def _check_unreachable(self, node: SimNode, event: NodeUnreachable) -> None:
        other = self.nodes[event.node_id]
        if other.is_alive:
            self.false_unreachable.append((self.now, node.name, event.node_id))
        else:
            node.was_dead_here[event.node_id] = None

    def _note_healed(self, node: SimNode, other: str) -> None:
        for at, accuser, accused in reversed(self.false_unreachable):
            if (accuser, accused) == (node.name, other):
                self.healed_s.append(self.now - at)
                return

    def _check_return(self, node: SimNode, other: str) -> None:
        """I4 and I8: a node that died, and was found dead here, does not come back; nor does one that left."""
        if other in node.was_dead_here and not self.nodes[other].is_alive and self.nodes[other].died_at < self.now - 1:
            raise self._violation(f"I4: {other} is dead and comes back at {node.name}")

    def check(self) -> None:
        """Check all tables of all nodes."""
        for node in self.nodes.values():
            if node.is_alive:
                self._check_node(node)

    def _check_node(self, node: SimNode) -> None:
        engine = node.engine
        if isinstance(engine, Reference):
            return
        members = engine._members.nodes
        for name, member in members.items():
            if name == node.name:
                continue
            owner = self.nodes.get(name)
            if owner is None:
                continue
            seen = node.view.get(name)
            if seen is None or seen.status != member.status.value:
                raise self._violation(f"{node.name} told {seen} about {name}, which is {member.status}")
            self._check_entries(node, owner)
        active = sum(member.status is MemberStatus.ACTIVE for member in members.values())
        if engine._members.peers != active - (engine._local.status is MemberStatus.ACTIVE):
            raise self._violation(f"{node.name} counts {engine._members.peers} peers of {active}")

    def _check_entries(self, node: SimNode, owner: SimNode) -> None:
        """I1 and I2: what a node holds of another is what that wrote, without a gap."""
        held = node.engine._members.nodes[owner.name].state
        own = owner.engine._state
        if held.version > own.version and owner.lives > 1:
            return  # of a former process; the owner will hear of it, and outlive it
        if held.version > own.version:
            raise self._violation(f"I1: {node.name} holds version {held.version} of {owner.name}, at {own.version}")
        for entry in own.entries.values():
            if entry.version > held.version:
                break
            if held.entries.get(entry.key) != entry:
                raise self._violation(f"I2: {node.name} at {held.version} of {owner.name} lacks {entry}")
        keys = {}
        for entry in held.entries.values():
            if (entry.key, entry.value, entry.deleted) not in owner.written.get(entry.version, ()):
                raise self._violation(f"I1: {node.name} holds {entry}, which {owner.name} never wrote")
            if not entry.deleted and not entry.internal:
                keys[entry.key] = entry.value
        if keys != node.view[owner.name].keys:
            raise self._violation(f"I11: the events of {node.name} told {node.view[owner.name].keys}, not {keys}")

    # --- looking ---

    def alive(self) -> list[SimNode]:
        """Return the engines of ours that run and have not left."""
        return [
            node
            for node in self.nodes.values()
            if node.is_alive and not node.has_left and not isinstance(node.engine, Reference)
        ]

    def has_full_view(self) -> bool:
        """Whether every live node has every live node as active, with its address."""
        alive = self.alive()
        for node in alive:
            view = node.view
            if len(view) < len(alive) - 1:
                return False
            for other in alive:
                if other is not node:
                    seen = view.get(other.name)
                    if seen is None or seen.status != "active" or "proxy_addr" not in seen.keys:
                        return False
        return True

    def is_converged(self) -> bool:
        """Whether all live nodes have equal tables: who is active, and at which version."""
        if not self.has_full_view():
            return False
        alive = self.alive()
        names = {node.name for node in alive}
        for node in alive:
            members = node.engine._members.nodes
            active = {name for name, member in members.items() if member.status is MemberStatus.ACTIVE}
            if active != names:
                return False
            if any(members[other.name].state.version != other.engine._state.version for other in alive):
                return False
        return True

    def is_key_everywhere(self, name: str, key: str, value: str) -> bool:
        """Whether every other live node has seen this value."""
        for node in self.alive():
            if node.name != name:
                seen = node.view.get(name)
                if seen is None or seen.keys.get(key) != value:
                    return False
        return True

    def routes_to(self, name: str) -> list[str]:
        """Return the live nodes that would still route to a node."""
        return [node.name for node in self.alive() if name in node.view and node.view[name].status == "active"]
