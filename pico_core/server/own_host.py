"""Which addresses a node tells the others, where neither a bind nor an advertised address says it.

The peers of a node reach it at the address that its packets to them come from: that of the interface towards the nodes
to join. So the node asks its host for that address as soon as it knows where the others are. While there is no answer
that can be used it claims no address and does not gossip; it asks again, since a network may come up after the node.

Without nodes to join, it is the address towards a default route. Where there is no such route either, the first node
that joins this one shows where the others are; a worker takes loopback then, so that the workers find each other.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from pico_core.config.values import LOCALHOST, Address, is_ip, is_loopback, is_unspecified
from pico_core.gossip.seeds import JOIN_RETRY_S
from pico_core.machine.parts import Logger, SourceSelector
from pico_core.server.facts import Facts
from pico_core.timers import Timers

KEYS = {
    "gossip": "cluster.gossip.advertise_addr",
    "proxy": "proxy.advertise_addr",
    "admin": "admin.advertise_addr",
}
"""The keys that say what is told to other nodes, by port."""

ANYWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses that no host has (RFC 5737, RFC 3849): only a default route leads there."""

LONE_RETRY_S = 10.0
"""How soon to ask again without nodes to join: none waits for this node then. With some: ``JOIN_RETRY_S``."""

MAX_TARGETS = 16
"""How many targets are asked about at a time. Each costs a system call or two, and one good answer suffices."""


class OwnHostUser(Logger, SourceSelector, Protocol):
    """The part of the machine that this needs."""

    timers: Timers


class OwnHost:
    """Finds ``Facts.addresses``. Next: ``begin`` once the ports are open, then ``ask`` whenever more may be known.

    ``targets()`` are the IP addresses to join, as far as they are known. ``found(now)`` is called once, when the
    addresses are known; that may be within ``begin``.
    """

    def __init__(
        self,
        host: OwnHostUser,
        facts: Facts,
        targets: Callable[[], Sequence[str]],
        found: Callable[[float], None],
    ) -> None:
        self._host = host
        self._facts = facts
        self._targets = targets
        self._found = found
        self._bound: dict[str, Address] = {}
        self._missing: list[str] = []
        self._peer = ""
        self._sources: dict[str, str] = {}  # by target, of the questions asked last
        self._unanswered = 0
        self._has_warned = False

    @property
    def is_known(self) -> bool:
        """Whether this node knows its own addresses."""
        return bool(self._facts.addresses)

    @property
    def missing_keys(self) -> str:
        """The keys that would say what the host does not, for one line of text."""
        return ", ".join(KEYS[name] for name in self._missing)

    def begin(self, bound: dict[str, Address], now: float) -> None:
        """Begin, now that the ports are ``bound``."""
        self._bound = bound
        self._missing = [name for name, address in self._given().items() if address is None]
        if self._missing:
            self._retry(now)
        else:
            self._know("", now)

    def ask(self, now: float) -> None:
        """Ask where packets to the targets come from, unless that is known or was asked already."""
        if self.is_known or self._unanswered or not self._missing:
            return
        targets = self._targets()[:MAX_TARGETS] if self._facts.config.cluster.join else ANYWHERE
        self._sources.clear()
        for target in (*targets, *([self._peer] if self._peer else ())):
            self._unanswered += 1
            self._host.select_source(target, _Question(self, target))

    def peer_came(self, host: str, now: float) -> None:
        """A node at ``host`` wants to join this one: packets go there as well."""
        if not self.is_known and is_ip(host) and not (is_loopback(host) and self._facts.config.cluster.join):
            self._peer = host
            self.ask(now)

    def answered(self, target: str, source: str, now: float) -> None:
        """Packets to ``target`` come from ``source``, or go nowhere where that is empty."""
        self._unanswered -= 1
        self._sources[target] = source
        if self._unanswered or self.is_known:
            return
        source = self._best() or self._among_workers()
        if source:
            self._know(source, now)
        elif self._facts.config.cluster.join and not self._has_warned:
            self._has_warned = True
            self._host.log(
                "warning",
                "cluster",
                "no address to tell other nodes: none of this host leads to a node to join",
                targets=", ".join(self._sources),
                set=self.missing_keys,
            )

    def _retry(self, now: float) -> None:
        if not self.is_known and not self._facts.left:
            self._host.timers.schedule(
                now + (JOIN_RETRY_S if self._facts.config.cluster.join else LONE_RETRY_S), self._retry
            )
            self.ask(now)

    def _given(self) -> dict[str, Address | None]:
        """Return the addresses that the configuration says, by port; ``None`` where it says none."""
        config = self._facts.config
        advertised = {
            "gossip": config.cluster.gossip.advertise_addr,
            "proxy": config.proxy.advertise_addr,
            "admin": config.admin.advertise_addr,
        }
        return {
            name: self._told(name, address) or (None if is_unspecified(self._bound[name].host) else self._bound[name])
            for name, address in advertised.items()
        }

    def _told(self, name: str, address: Address | None) -> Address | None:
        """Return an advertised address as this node has it: a worker has ports of its own at that host."""
        if address is None or self._facts.worker is None:
            return address
        return Address(address.host, self._bound[name].port)

    def _best(self) -> str:
        """Return the source towards the first other host, else the address of ours that is among the targets."""
        takes_loopback = all(is_loopback(target) for target in self._sources if target not in ANYWHERE)
        takes_ipv6 = all(":" in self._bound[name].host for name in self._missing)
        usable = {
            target: source
            for target, source in self._sources.items()
            if is_ip(source)
            and not is_unspecified(source)
            and (takes_loopback or not is_loopback(source))
            and (takes_ipv6 or ":" not in source)
            and not _is_link_local(source)
        }
        others = [source for target, source in usable.items() if source != target]
        return next(iter(others or usable.values()), "")

    def _know(self, source: str, now: float) -> None:
        for name, address in self._given().items():
            self._facts.addresses[name] = address or Address(source, self._bound[name].port)
        self._warn_of_loopback()
        self._found(now)

    def _among_workers(self) -> str:
        """Return loopback for a worker without nodes to join: the other workers are here, no other node is known."""
        alone = self._facts.worker is not None and not self._facts.config.cluster.join
        return LOCALHOST if alone else ""

    def _warn_of_loopback(self) -> None:
        """Say so where other hosts are to be joined and this node can only tell them an address that is its own."""
        if all(is_loopback(member.host) for member in self._facts.config.cluster.join):
            return
        for name, address in self._facts.addresses.items():
            if is_loopback(address.host):
                self._host.log(
                    "warning",
                    "cluster",
                    "other hosts cannot reach the address that this node tells them",
                    addr=str(address),
                    set=KEYS[name],
                )


def _is_link_local(host: str) -> bool:
    """Return whether ``host`` is an IPv6 address that means nothing without the interface, which only we know."""
    address = ip_address(host)
    return isinstance(address, IPv6Address) and address.is_link_local


class _Question:
    """A question for the source towards ``target``."""

    __slots__ = ("_own_host", "_target")

    def __init__(self, own_host: OwnHost, target: str) -> None:
        self._own_host = own_host
        self._target = target

    def on_source(self, host: str, now: float) -> None:
        """Pass the answer on."""
        self._own_host.answered(self._target, host, now)
