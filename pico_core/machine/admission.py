"""Which connections a machine keeps when there are more than it can have. Start at ``Admission``.

A machine has a number of connections in all. Each of its ports has a limit, and a reserve that no other port can take;
so have the connections that the machine opens. When a port or the machine is full, a new connection gets the place of
one that waits for a request, the longest idle first. Where none is idle, the new one is refused.

A client's address has a share of its port. The share counts only when ``PRESSURE`` of the port is taken: from then on,
an address that has its share replaces idle connections of such addresses, or is refused. The rest is for the others.
An IPv6 network of /64 counts as one address.
The addresses of trusted proxies have no share, because their clients are many.

Members of the cluster connect to ports that clients use too, and forward requests of many clients. They have places
of their own there (``MemberPlaces``), without a share, and their idle connections end after those of clients.
"""

import heapq
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Protocol

import msgspec

from pico_core.client_group import client_group
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Logger
from pico_core.machine.refused import RefusedConnection
from pico_core.timers import NEVER, Timers

MAX_DESCRIPTORS = 1 << 20
"""More than a node can serve in its memory; some systems have a hard limit of a thousand times as many."""

PRESSURE = 7 / 8
"""How much of a port may be taken before addresses are held to their share: the rest suffices to let others in."""

REPORT_INTERVAL_S = 60.0
"""One line a minute and port says how many connections were refused or closed."""

REFUSED_AT_ONCE = 16
"""Refused peers whose bytes are read for a moment, so that no reset destroys the answer; the others get no moment."""

REFUSED_S = 1.0
"""How long that is."""

CLOSED_WHEN_SHORT = 16
"""Idle connections closed when the system has no descriptor left: a few, since it says so again ten times a second."""

CHEAP_SCAN = 256
"""Connections that may be looked through for idle ones at any time: it takes some 50 us."""

SCANNED_PER_CLOSED = 16
"""In a larger port, each connection closed pays for looking at so many. A look that found none waits instead."""

SCAN_AGAIN_S = 0.1
"""How long such a port is not looked over again: those that connect meanwhile are refused without a look."""

UNPROVEN = 1 / 2
"""How much of the members' places may be taken by connections that have not shown yet that they are a member's."""


class Dismissible:
    """The user of a channel that can end when another connection needs its place."""

    __slots__ = ()

    @property
    def idle_since(self) -> float:
        """Since when the connection waits for its peer's next request; ``NEVER`` while it is in use."""
        return NEVER

    def dismiss(self, now: float) -> None:
        """End the connection; called only while it is idle."""


class PortLimits(msgspec.Struct, frozen=True):
    """Bounds of one port: its ``most`` connections, and the ``reserve`` that it can have whatever other ports have.

    ``address_share`` is the share of ``most`` for one client address. ``gives_way`` says that idle connections are
    closed for those of other ports too. A refused peer is sent ``answer``. The addresses in ``shared`` have no share:
    those of balancers, through which many clients come.
    """

    most: int
    reserve: int
    address_share: float = 1.0
    gives_way: bool = False
    answer: bytes = b""
    shared: Container[str] = ()


class MemberPlaces(msgspec.Struct, frozen=True):
    """Whose connections to the listeners ``places`` and ``clients`` get places of their own: those of members.

    ``places`` and ``clients`` name ports: the places of members, and those of all others. ``may_be`` says whether an
    address is that of a member. A member shows that it is one only later (``Admission.shown``).
    """

    places: str
    clients: str
    may_be: Callable[[str], bool]


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Bounds of a machine: ``most`` connections in all, those of its ports by listener, and what it opens itself."""

    most: int
    ports: Mapping[str, PortLimits]
    outgoing_reserve: int = 0
    members: MemberPlaces | None = None


UNLIMITED = ConnectionLimits(most=1 << 62, ports={})


class AdmissionHost(Logger, Protocol):
    """The part of its machine that admission needs."""

    timers: Timers


class PortPlaces:
    """The connections of one port, and what was counted of them: for metrics."""

    __slots__ = (
        "candidates",
        "channels",
        "clients",
        "closed",
        "limits",
        "listener",
        "paid",
        "refused",
        "scan_at",
        "telling",
        "told_closed",
        "told_refused",
        "unproven",
    )

    def __init__(self, listener: str, limits: PortLimits) -> None:
        self.listener = listener
        self.limits = limits
        self.channels: dict[int, TcpChannel] = {}
        self.clients: dict[str, int] = {}
        self.unproven: dict[int, None] = {}
        """Connections in the places of members that have not shown whether they are a member's, or are not."""
        self.refused = 0
        self.closed = 0
        self.told_refused = 0
        self.told_closed = 0
        self.telling = False
        self.candidates: list[tuple[bool, float, int]] = []  # the longest idle last
        self.paid = 0
        self.scan_at = -NEVER

    @property
    def taken(self) -> int:
        """Places that other ports cannot have."""
        return max(len(self.channels), self.limits.reserve)

    def has_its_share(self, host: str) -> bool:
        """Return whether ``host`` has as many connections as its share, or more."""
        has_so_many = self.clients.get(client_group(host), 0) >= self.limits.address_share * self.limits.most
        return has_so_many and host not in self.limits.shared

    def must_replace(self, host: str) -> bool:
        """Return whether a new connection of ``host`` may only take the place of one whose address has its share."""
        return len(self.channels) >= PRESSURE * self.limits.most and self.has_its_share(host)

    def add(self, channel: TcpChannel) -> None:
        """Count a connection, for all of them and for its client's address or IPv6 network."""
        self.channels[channel.id] = channel
        client = client_group(channel.host)
        self.clients[client] = self.clients.get(client, 0) + 1

    def remove(self, number: int) -> bool:
        """Forget a connection; return whether it was counted here."""
        channel = self.channels.pop(number, None)
        if channel is None:
            return False
        self.unproven.pop(number, None)
        client = client_group(channel.host)
        left = self.clients[client] - 1
        if left:
            self.clients[client] = left
        else:
            del self.clients[client]
        return True

    def longest_idle(self, now: float, *, with_share: bool) -> TcpChannel | None:
        """Return an idle connection: of an address with its share before others, then the longest idle first.

        With ``with_share``, only those of such an address are looked for.
        """
        while True:
            while self.candidates:
                _, since, number = self.candidates[-1]
                channel = self.channels.get(number)
                if channel is not None and _idle_since(channel) == since:
                    return channel if not with_share or self.has_its_share(channel.host) else None
                self.candidates.pop()  # gone, or in use again
            if not self._scan(now):
                return None

    def _scan(self, now: float) -> bool:
        """Look for idle connections, unless none was found just now; return whether there are any."""
        count = len(self.channels)
        if count > CHEAP_SCAN and self.paid < count and now < self.scan_at:
            return False
        self.paid = 0
        self.scan_at = now + SCAN_AGAIN_S
        idle = [
            (not self.has_its_share(channel.host), since, number)
            for number, channel in self.channels.items()
            if (since := _idle_since(channel)) != NEVER
        ]
        self.candidates = heapq.nsmallest(max(64, count // SCANNED_PER_CLOSED), idle)
        self.candidates.reverse()
        return bool(idle)


def _idle_since(channel: TcpChannel) -> float:
    user = channel.user
    return user.idle_since if isinstance(user, Dismissible) else NEVER


class Admission:
    """Decides about new connections. Next: ``admit`` and ``dialing`` for each, and ``lost`` when it has ended."""

    def __init__(self, host: AdmissionHost, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.outgoing = 0
        self.accepts_failed = 0
        self.handshakes: dict[str, int] = {}  # TLS handshakes in progress, by listener
        self.ports = {listener: PortPlaces(listener, port) for listener, port in limits.ports.items()}
        self._host = host
        self._closing: dict[int, TcpChannel] = {}
        self._most_closing = max(1, min(64, limits.most // 8))
        self._refused = 0
        self._shortage_told_at = -NEVER

    def configure(self, limits: ConnectionLimits) -> None:
        """Go by other limits. Open connections stay and are counted, also those of a port that was removed."""
        self.limits = limits
        for listener, port in list(self.ports.items()):
            if listener in limits.ports:
                port.limits = limits.ports[listener]
            elif not port.channels:
                del self.ports[listener]
        for listener, new in limits.ports.items():
            if listener not in self.ports:
                self.ports[listener] = PortPlaces(listener, new)

    def admit(self, channel: TcpChannel, listener: str, now: float) -> bool:
        """Return whether to serve a new connection; one that is refused is answered and closed here."""
        members = self.limits.members
        if members is not None and listener in (members.places, members.clients):
            if members.may_be(channel.host) and self._admit_unproven(channel, members, now):
                return True
            listener = members.clients
        port = self.ports.get(listener)
        if port is None:
            return True
        if not self._has_place(port, channel.host, now):
            self._refuse(port, channel, now)
            return False
        port.add(channel)
        return True

    def is_unproven(self, channel: TcpChannel) -> bool:
        """Return whether the connection has a place of members, by its address alone. Next: ``shown``."""
        members = self.limits.members
        return members is not None and channel.id in self.ports[members.places].unproven

    def shown(self, connection: int, *, is_member: bool) -> None:
        """Count a connection as what its peer has shown to be, as far as there is a free place.

        One that is not a member's and finds no place among clients stays with those that have shown nothing.
        """
        members = self.limits.members
        if members is None:
            return
        own, clients = self.ports[members.places], self.ports[members.clients]
        if is_member:
            own.unproven.pop(connection, None)
        source, target = (clients, own) if is_member else (own, clients)
        channel = source.channels.get(connection)
        if channel is not None and self._is_free(target) and not target.must_replace(channel.host):
            source.remove(connection)
            target.add(channel)

    def handshake_began(self, listener: str) -> None:
        """Count a TLS handshake. Next: ``handshake_over``."""
        self.handshakes[listener] = self.handshakes.get(listener, 0) + 1

    def handshake_over(self, listener: str) -> None:
        """Take note that a TLS handshake of ``listener`` has ended, well or not."""
        if listener in self.handshakes:
            self.handshakes[listener] -= 1

    def told(self, channel: TcpChannel, listener: str, host: str, now: float) -> bool:
        """Count a connection for ``host``, as its proxy has told; return whether to serve it, as ``admit`` does."""
        self._forget(channel.id)
        channel.host = host
        return self.admit(channel, listener, now)

    def dialing(self, now: float) -> None:
        """The machine opens a connection: it is never refused, but closes an idle one where there is no place."""
        self.outgoing += 1
        if self._taken() > self.limits.most:
            self._close_any(now)

    def dial_failed(self) -> None:
        """A connection that the machine wanted did not open."""
        self.outgoing -= 1

    def lost(self, channel: TcpChannel) -> None:
        """A connection has ended."""
        number = channel.id
        if not number % 2:
            self.outgoing -= 1
        elif self._closing.pop(number, None) is None:
            self._forget(number)

    def accept_failed(self, listener: str, reason: str, now: float) -> None:
        """The system has no descriptor or memory for a connection: close a few that are idle."""
        self.accepts_failed += 1
        closed = 0
        own = self.ports.get(listener)
        for port in self.ports.values():
            while port.limits.gives_way and closed < CLOSED_WHEN_SHORT and self._close_idle(port, now):
                closed += 1
        if not closed and own is not None and self._close_idle(own, now):
            closed = 1
        if now - self._shortage_told_at >= REPORT_INTERVAL_S:
            self._shortage_told_at = now
            self._host.log(
                "warning",
                "connections",
                "cannot accept connections",
                listener=listener,
                reason=reason,
                closed_idle=closed,
            )

    # --- inside ---

    def _forget(self, number: int) -> None:
        for port in self.ports.values():
            if port.remove(number):
                break

    def _admit_unproven(self, channel: TcpChannel, members: MemberPlaces, now: float) -> bool:
        port = self.ports[members.places]
        if len(port.unproven) >= UNPROVEN * port.limits.most or not self._has_place(port, channel.host, now):
            return False
        port.add(channel)
        port.unproven[channel.id] = None
        return True

    def _is_free(self, port: PortPlaces) -> bool:
        """Return whether the port has a free place that is not in another port's reserve."""
        count = len(port.channels)
        return count < port.limits.most and (count < port.limits.reserve or self._taken() < self.limits.most)

    def _taken(self) -> int:
        taken = max(self.outgoing, self.limits.outgoing_reserve)
        for port in self.ports.values():
            taken += port.taken
        return taken

    def _has_place(self, port: PortPlaces, host: str, now: float) -> bool:
        """Return whether there is a place for one more connection of ``host``, after closing an idle one if need be."""
        if port.must_replace(host):
            return self._close_idle(port, now, with_share=True)
        if len(port.channels) >= port.limits.most:
            return self._close_idle(port, now)
        return self._is_free(port) or self._close_any(now) or self._close_idle(port, now)

    def _close_any(self, now: float) -> bool:
        """Close the longest idle connection of a port that gives way and has more than its reserve."""
        for port in self.ports.values():
            if port.limits.gives_way and len(port.channels) > port.limits.reserve and self._close_idle(port, now):
                return True
        return False

    def _close_idle(self, port: PortPlaces, now: float, *, with_share: bool = False) -> bool:
        channel = port.longest_idle(now, with_share=with_share)
        if channel is None:
            return False
        port.closed += 1
        self._note(port, now)
        port.paid += SCANNED_PER_CLOSED
        port.remove(channel.id)
        user = channel.user
        if isinstance(user, Dismissible):
            user.dismiss(now)
        self._closing[channel.id] = channel
        if len(self._closing) > self._most_closing:  # a peer that does not read what was sent must not keep the place
            self._closing.pop(next(iter(self._closing))).abort()
        return True

    def _refuse(self, port: PortPlaces, channel: TcpChannel, now: float) -> None:
        port.refused += 1
        self._note(port, now)
        answer = port.limits.answer
        if answer and self._refused < REFUSED_AT_ONCE:
            self._refused += 1
            refused = RefusedConnection(channel, answer, self._refused_over)
            self._host.timers.schedule(now + REFUSED_S, refused.on_eof)
            return
        if answer:
            channel.send(answer)
        channel.close()

    def _refused_over(self) -> None:
        self._refused -= 1

    def _note(self, port: PortPlaces, now: float) -> None:
        """Log that the port is full, unless a line of the last minute says so: then the next one has the numbers."""
        if not port.telling:
            port.telling = True
            self._tell(port, now)

    def _tell(self, port: PortPlaces, now: float) -> None:
        refused, closed = port.refused - port.told_refused, port.closed - port.told_closed
        if not refused and not closed:
            port.telling = False
            return
        port.told_refused, port.told_closed = port.refused, port.closed
        self._host.log(
            "warning" if refused else "info",
            "connections",
            "no place for more connections",
            listener=port.listener,
            open=len(port.channels),
            refused=refused,
            closed_idle=closed,
        )
        self._host.timers.schedule(now + REPORT_INTERVAL_S, partial(self._tell, port))
