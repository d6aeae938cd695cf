"""The network between hosts: which paths are open, latency, faults of datagrams, and the answers of DNS."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.process import Process

RETRANSMIT_S = 0.2
"""How much later a lost segment arrives; twice as much each time it is lost again."""


@dataclass
class Faults:
    """The faults of the network. Shares are between 0 and 1, times in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    truncation: float = 0.0
    latency_s: float = 0.0004
    jitter_s: float = 0.0004
    tail: float = 0.0
    tail_s: float = 0.2
    segment_cuts: float = 0.05
    """The share of segments that end in the middle of a ``Send``."""
    no_route: float = 0.0
    """The share of questions for a source address to which a host answers that it has no route yet."""


@dataclass
class NameFaults:
    """The faults of DNS. Shares are between 0 and 1."""

    failure: float = 0.0
    silence: float = 0.0
    only_self: float = 0.0
    """The share of answers that name only the host that asks, where it is among the addresses."""
    stranger: float = 0.0
    """The share of answers that also name an address that no host has."""
    lag_s: float = 0.0
    """How old the answers are."""
    latency_s: float = 0.003


STRANGER = "10.255.255.1"
"""An address that no host ever has."""


OVERHEARD = 200


class Virtual(Protocol):
    """A balancer behind an address of its own, which chooses the host of each new connection."""

    def choose(self, port: int) -> str:
        """Return the address of a host; empty if there is none, and the connection is refused."""


class DatagramSocket(Protocol):
    """The process behind a UDP port."""

    def datagram_arrived(self, listener: str, data: bytes, source: str, port: int) -> None:
        """Take a datagram that arrived on ``listener`` from port ``port`` of the host ``source``."""


@dataclass
class Host:
    """A host with an address of its own, and its open ports. A ``dark`` one lost its power or its route."""

    address: str
    dark: bool = False
    datagrams: dict[int, tuple[DatagramSocket, str]] = field(default_factory=dict)
    listeners: dict[int, tuple["Process", str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """The files that a machine on this host may read, by path."""


class Network:
    """Hosts by address, and the paths between them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.names = Names(world)
        self.hosts: dict[str, Host] = {}
        self.virtual: dict[str, Virtual] = {}
        self.overheard: deque[bytes] = deque(maxlen=OVERHEARD)
        """The last datagrams that were sent, for a stranger that replays them."""
        self._cuts: dict[tuple[str, str], None] = {}
        self._sides: dict[str, int] = {}
        self._next_address = 0

    def new_host(self) -> Host:
        """Return a host with an address that no host had before."""
        self._next_address += 1
        address = f"10.0.{self._next_address >> 8}.{self._next_address & 255}"
        host = self.hosts[address] = Host(address)
        return host

    # --- paths ---

    def cut(self, source: str, target: str) -> None:
        """Cut the path from ``source`` to ``target``; the other direction stays open."""
        self._cuts[source, target] = None

    def split(self, *sides: list[str]) -> None:
        """Cut all paths between hosts of different sides; a host of no side reaches all."""
        self._sides = {address: number for number, side in enumerate(sides) for address in side}

    def heal(self) -> None:
        """End all cuts and splits."""
        self._cuts.clear()
        self._sides = {}

    @property
    def is_whole(self) -> bool:
        """Whether no path is cut."""
        return not self._cuts and not self._sides

    def blocked(self, source: str, target: str) -> bool:
        """Return whether everything that ``source`` sends to ``target`` is lost."""
        hosts = self.hosts
        if source not in hosts or target not in hosts or hosts[source].dark or hosts[target].dark:
            return True
        sides = self._sides
        if sides and source in sides and target in sides and sides[source] != sides[target]:
            return True
        return bool(self._cuts) and (source, target) in self._cuts

    def delay_s(self) -> float:
        """Draw the latency of a packet."""
        faults = self.faults
        delay_s = faults.latency_s + faults.jitter_s * self.world.random.random()
        if faults.tail and self.world.random.random() < faults.tail:
            delay_s += faults.tail_s * self.world.random.random()
        return delay_s

    def segment_delay_s(self) -> float:
        """Draw the latency of a segment, retransmissions included."""
        delay_s = self.delay_s()
        retransmit_s = RETRANSMIT_S
        while self.world.chance(self.faults.loss):
            delay_s += retransmit_s
            retransmit_s *= 2
            self.world.sometimes["segment lost"] += 1
        return delay_s

    # --- datagrams ---

    def send_datagram(self, source: str, source_port: int, target: str, port: int, data: bytes) -> None:
        """Send a datagram, which the network may lose, double, delay, cut short or break."""
        world, faults = self.world, self.faults
        self.overheard.append(data)
        if self.blocked(source, target) or (faults.loss and world.chance(faults.loss)):
            return
        if faults.corruption and world.chance(faults.corruption):
            world.sometimes["datagram corrupted"] += 1
            data = self._corrupted(data)
        if faults.truncation and world.chance(faults.truncation):
            world.sometimes["datagram cut short"] += 1
            data = data[: world.random.randrange(1, len(data))]
        world.after(self.delay_s(), self._deliver, target, port, data, source, source_port)
        if faults.duplication and world.chance(faults.duplication):
            world.sometimes["datagram doubled"] += 1
            world.after(self.delay_s() + 0.01, self._deliver, target, port, data, source, source_port)

    def forge_datagram(
        self, source: str, source_port: int, target: str, port: int, data: bytes, delay_s: float
    ) -> None:
        """Let a datagram arrive that claims any source. It draws nothing: the stranger has its own random stream."""
        if target in self.hosts and not self.hosts[target].dark:
            self.world.after(delay_s, self._deliver, target, port, data, source, source_port)

    def _corrupted(self, data: bytes) -> bytes:
        """Return a datagram that cannot be decoded, as nearly all are that the UDP checksum lets through."""
        broken = bytearray(data)
        for _ in range(self.world.random.randrange(1, 8)):
            broken[self.world.random.randrange(len(broken))] ^= self.world.random.randrange(1, 256)
        broken[min(2, len(broken) - 1)] = 0xC1
        return bytes(broken)

    def _deliver(self, target: str, port: int, data: bytes, source: str, source_port: int) -> None:
        host = self.hosts[target]
        bound = host.datagrams.get(port)
        if bound is not None and not host.dark:
            bound[0].datagram_arrived(bound[1], data, source, source_port)


class Names:
    """DNS: the records, and the answers, which may be late, old, incomplete or wrong (``faults``)."""

    def __init__(self, world: World) -> None:
        self.faults = NameFaults()
        self._world = world
        self._records: dict[str, list[tuple[float, tuple[str, ...]]]] = {}

    def set(self, name: str, addresses: list[str]) -> None:
        """Make a name resolve to ``addresses`` from now on."""
        history = self._records.setdefault(name, [])
        if not history or history[-1][1] != tuple(addresses):
            history.append((self._world.now, tuple(addresses)))

    def addresses(self, name: str, age_s: float = 0.0) -> tuple[str, ...]:
        """Return the addresses that a name resolved to ``age_s`` ago."""
        found: tuple[str, ...] = ()
        for at, addresses in self._records.get(name, ()):
            if at <= self._world.now - age_s:
                found = addresses
        return found

    def look_up(self, name: str, asker: str, timeout_s: float, answer: Callable[[tuple[str, ...], str], None]) -> None:
        """Call ``answer(addresses, error)`` later, as in ``boundary.Resolved``."""
        world, faults = self._world, self.faults
        if world.chance(faults.silence):
            world.sometimes["name server silent"] += 1
            world.after(timeout_s, answer, (), f"timed out after {timeout_s:g} s")
            return
        delay_s = faults.latency_s * (0.5 + world.random.random())
        if world.chance(faults.failure):
            world.sometimes["name lookup failed"] += 1
            world.after(delay_s, answer, (), "temporary failure in name resolution")
            return
        addresses = self.addresses(name, faults.lag_s)
        if addresses != self.addresses(name):
            world.sometimes["name answer stale"] += 1
        if asker in addresses and world.chance(faults.only_self):
            world.sometimes["name names only self"] += 1
            addresses = (asker,)
        if world.chance(faults.stranger):
            world.sometimes["name names a stranger"] += 1
            addresses = (STRANGER, *addresses)
        world.after(delay_s, answer, addresses, "")
