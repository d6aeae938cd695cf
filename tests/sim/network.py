"""The network between hosts: who reaches whom, how long it takes, what happens to datagrams, what names resolve to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.process import Process

RETRANSMIT_S = 0.2
"""What a lost segment costs; twice as much for each time it is lost again."""


@dataclass
class Faults:
    """What the network does to what passes. Shares are between 0 and 1, times in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    truncation: float = 0.0
    latency_s: float = 0.0004
    jitter_s: float = 0.0004
    tail: float = 0.0
    tail_s: float = 0.2
    segment_cuts: float = 0.05
    """The share of segments that end in the middle of what was sent."""


@dataclass
class NameFaults:
    """What DNS does to who asks."""

    failure: float = 0.0
    silence: float = 0.0
    only_self: float = 0.0
    lag_s: float = 0.0
    """Answers are as old as this."""
    latency_s: float = 0.003


class Virtual(Protocol):
    """Something behind an address of its own that chooses where each new connection goes."""

    def choose(self, port: int) -> str:
        """Return the address of a host; empty if there is none, and the connection is refused."""


@dataclass
class Host:
    """A machine of the cluster with its own address. A ``dark`` one lost its power or its route: it never answers."""

    address: str
    dark: bool = False
    datagrams: dict[int, tuple["Process", str]] = field(default_factory=dict)
    listeners: dict[int, tuple["Process", str]] = field(default_factory=dict)


class Network:
    """Hosts by address, and the paths between them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.names = Names(world)
        self.hosts: dict[str, Host] = {}
        self.virtual: dict[str, Virtual] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._sides: dict[str, int] = {}
        self._next_address = 0

    def new_host(self) -> Host:
        """Return a host with an address that nobody has had before."""
        self._next_address += 1
        address = f"10.0.{self._next_address >> 8}.{self._next_address & 255}"
        host = self.hosts[address] = Host(address)
        return host

    # --- paths ---

    def cut(self, source: str, target: str) -> None:
        """Nothing from ``source`` reaches ``target`` any more; the other direction works."""
        self._cuts[source, target] = None

    def split(self, *sides: list[str]) -> None:
        """Hosts of different sides do not reach each other; those in none reach all."""
        self._sides = {address: number for number, side in enumerate(sides) for address in side}

    def heal(self) -> None:
        """End all cuts and splits."""
        self._cuts.clear()
        self._sides = {}

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut."""
        return not self._cuts and not self._sides

    def blocked(self, source: str, target: str) -> bool:
        """Return whether what ``source`` sends to ``target`` disappears."""
        hosts = self.hosts
        if source not in hosts or target not in hosts or hosts[source].dark or hosts[target].dark:
            return True
        sides = self._sides
        if sides and source in sides and target in sides and sides[source] != sides[target]:
            return True
        return bool(self._cuts) and (source, target) in self._cuts

    def delay_s(self) -> float:
        """Draw how long a packet is on its way."""
        faults = self.faults
        delay_s = faults.latency_s + faults.jitter_s * self.world.random.random()
        if faults.tail and self.world.random.random() < faults.tail:
            delay_s += faults.tail_s * self.world.random.random()
        return delay_s

    def segment_delay_s(self) -> float:
        """Draw how long a segment is on its way, retransmissions included."""
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
        if self.blocked(source, target) or world.chance(faults.loss):
            return
        if world.chance(faults.corruption):
            world.sometimes["datagram corrupted"] += 1
            data = self._corrupted(data)
        if world.chance(faults.truncation):
            world.sometimes["datagram cut short"] += 1
            data = data[: world.random.randrange(1, len(data))]
        world.after(self.delay_s(), self._deliver, target, port, data, source, source_port)
        if world.chance(faults.duplication):
            world.sometimes["datagram doubled"] += 1
            world.after(self.delay_s() + 0.01, self._deliver, target, port, data, source, source_port)

    def _corrupted(self, data: bytes) -> bytes:
        """Break a datagram so that it shows, as nearly all do that the UDP checksum lets through."""
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
    """DNS: the truth about names, and the answers, which lag behind it, fail, or name only the one who asks."""

    def __init__(self, world: World) -> None:
        self.faults = NameFaults()
        self._world = world
        self._truth: dict[str, list[tuple[float, tuple[str, ...]]]] = {}

    def set(self, name: str, addresses: list[str]) -> None:
        """Make a name resolve to ``addresses`` from now on."""
        history = self._truth.setdefault(name, [])
        if not history or history[-1][1] != tuple(addresses):
            history.append((self._world.now, tuple(addresses)))

    def addresses(self, name: str, age_s: float = 0.0) -> tuple[str, ...]:
        """Return what a name resolved to ``age_s`` ago."""
        found: tuple[str, ...] = ()
        for at, addresses in self._truth.get(name, ()):
            if at <= self._world.now - age_s:
                found = addresses
        return found

    def look_up(self, name: str, asker: str, timeout_s: float, answer: Callable[[tuple[str, ...], str], None]) -> None:
        """Call ``answer(addresses, error)`` later; exactly one of the two is empty."""
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
        world.after(delay_s, answer, addresses, "" if addresses else "name does not exist")
