"""The addresses to join: configured ones, and names that are resolved again and again.

A name may resolve to nothing yet, to ourselves only, to nodes that are dead, or not at all. None of that is an error,
and none of it is final. A failed lookup changes nothing. An address is joined whenever no node that we know has it. Our
own addresses are never joined: neither the advertised one, nor those at which we met ourselves.
"""

from collections.abc import Callable, Sequence

from pico_core.entropy import Entropy
from pico_core.gossip.address import HostPort, is_literal, plain_host, split_address

LOOKUP_INTERVAL_S = 10.0
"""How often the names to join are looked up: a cluster that was split finds together again within it."""
FIRST_LOOKUP_INTERVAL_S = 1.0
"""While no node has answered yet: peers that boot with us appear in the name's records one after the other."""
LOOKUP_TIMEOUT_S = 5.0
"""The time that resolvers wait for one server (``timeout`` of resolv.conf)."""
JOIN_RETRY_S = 0.5
MAX_JOIN_RETRY_S = 10.0
"""Pauses before an address that did not answer is asked again: doubled each time, up to this."""
MAX_JOINS_IN_FLIGHT = 8
"""Addresses of dead nodes may drop packets until the timeout; fewer than this many do not delay the others."""
MAX_ADDRESSES_PER_NAME = 4096
"""As many as a cluster has nodes."""


class _Name:
    __slots__ = ("addresses", "error", "lookup_at", "port")

    def __init__(self, port: int) -> None:
        self.port = port
        self.lookup_at: float | None = 0.0
        self.addresses: tuple[str, ...] = ()
        self.error: str | None = "not answered yet"


class _Attempt:
    __slots__ = ("failures", "in_flight", "retry_at")

    def __init__(self) -> None:
        self.failures = 0
        self.in_flight = False
        self.retry_at = 0.0


class Seeds:
    """The joining policy. Call ``start`` once, ``lookups`` and ``joins`` every round, and report the outcomes.

    Before ``begin`` there is nothing to look up; ``start`` does the same where that was not called before.
    """

    def __init__(self, seeds: Sequence[str], entropy: Entropy) -> None:
        self._seeds = seeds
        self._entropy = entropy
        self._own: dict[HostPort, None] = {}
        self._names: dict[str, _Name] = {}
        self._literals: list[HostPort] = []
        self._siblings: dict[HostPort, None] = {}
        self._attempts: dict[HostPort, _Attempt] = {}
        self._has_begun = False
        self.has_answer = False

    def start(self, own: HostPort, default_port: int) -> None:
        """Join from now on, since our ``own`` address is known. Seeds without a port have ``default_port``."""
        self._own[own] = None
        self.begin(default_port)
        self._refresh()

    def begin(self, default_port: int) -> None:
        """Have names looked up, once. Seeds without a port have ``default_port``."""
        if self._has_begun:
            return
        self._has_begun = True
        for seed in self._seeds:
            address = split_address(seed, default_port)
            if address is None:
                continue
            host, port = address
            if is_literal(host):
                self._literals.append(address)
            else:
                self._names[f"{host}:{port}"] = _Name(port)
        self._refresh()

    def add_siblings(self, siblings: Sequence[HostPort]) -> None:
        """Join these nodes of our own host too, before ``start``. They say nothing about whether others are there."""
        self._siblings = dict.fromkeys(siblings)
        self._literals += siblings

    @property
    def targets(self) -> list[str]:
        """The distinct IP addresses to join, in the order of the seeds."""
        return list(dict.fromkeys(host for host, _ in self._attempts))

    @property
    def names_others(self) -> bool:
        """Whether there is an address to join that is not our own, as far as we know."""
        return any(address not in self._siblings for address in self._attempts)

    @property
    def unanswered(self) -> dict[str, str]:
        """The names of which nothing is known, with the reason why the last lookup failed."""
        return {each.rpartition(":")[0]: name.error for each, name in self._names.items() if name.error is not None}

    def lookups(self, now: float) -> list[str]:
        """Return the names to look up now. Next: ``resolved`` for each, once."""
        due = [each for each, name in self._names.items() if name.lookup_at is not None and name.lookup_at <= now]
        for each in due:
            self._names[each].lookup_at = None
        return [each.rpartition(":")[0] for each in due]

    def resolved(self, host: str, addresses: Sequence[str], error: str, now: float) -> None:
        """Take the answer to a lookup; an ``error`` changes nothing of what is known."""
        interval_s = LOOKUP_INTERVAL_S if self.has_answer else FIRST_LOOKUP_INTERVAL_S
        for each, name in self._names.items():
            if each.rpartition(":")[0] == host:
                name.lookup_at = now + interval_s * (0.8 + 0.4 * self._entropy.random())
                if error:
                    name.error = None if name.error is None else error
                else:
                    name.error = None
                    name.addresses = tuple(map(plain_host, addresses[:MAX_ADDRESSES_PER_NAME]))
        self._refresh()

    def joins(self, now: float, is_known: Callable[[HostPort], bool]) -> list[HostPort]:
        """Return the addresses to join now. Next: ``joined`` or ``failed`` for each."""
        room = MAX_JOINS_IN_FLIGHT - sum(attempt.in_flight for attempt in self._attempts.values())
        due = [
            address
            for address, attempt in self._attempts.items()
            if not attempt.in_flight and attempt.retry_at <= now and not is_known(address)
        ]
        chosen: list[HostPort] = []
        while due and len(chosen) < room:
            address = due.pop(int(self._entropy.random() * len(due)))
            self._attempts[address].in_flight = True
            chosen.append(address)
        return chosen

    def joined(self, address: HostPort, now: float, *, is_self: bool) -> None:
        """A node answered at ``address``; ``is_self`` if it was us."""
        if is_self:
            self._own[address] = None
            self._refresh()
            return
        self.has_answer = self.has_answer or address not in self._siblings
        attempt = self._attempts.get(address)
        if attempt is not None:
            attempt.in_flight = False
            attempt.failures = 0
            attempt.retry_at = now + MAX_JOIN_RETRY_S

    def failed(self, address: HostPort, now: float) -> None:
        """No node answered at ``address``."""
        attempt = self._attempts.get(address)
        if attempt is not None:
            attempt.in_flight = False
            pause_s = min(JOIN_RETRY_S * 2.0 ** min(attempt.failures, 10), MAX_JOIN_RETRY_S)
            attempt.retry_at = now + pause_s * (0.8 + 0.4 * self._entropy.random())
            attempt.failures += 1

    def _refresh(self) -> None:
        """Keep one attempt for each address that is configured or resolved, and is not ours."""
        before = self._attempts
        addresses = self._literals + [(host, name.port) for name in self._names.values() for host in name.addresses]
        self._attempts = {
            address: before.get(address) or _Attempt() for address in addresses if address not in self._own
        }
