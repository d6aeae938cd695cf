"""The one dial of every WebSocket client: connect to a server, do the opening handshake, within a deadline.

An agent registers endpoints this way, a forwarder reaches them. ``WebSocketDial`` is one attempt, ``Backoff`` says how
long to wait before the next one.
"""

from collections.abc import Sequence
from typing import Protocol

from pico_core.config.values import Address, Origin, is_ip
from pico_core.entropy import Entropy
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector
from pico_core.pieces import Piece
from pico_core.timers import NEVER
from pico_core.websocket.handshake import ClientHandshake, HandshakeError

FALLBACK_S = 2.0
"""How long one address of a name may take before the next one is tried: a server that is there answers sooner."""


class DialUser(Protocol):
    """The part that dialed. Exactly one of these is called, once, and never by the constructor of the dial."""

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """The WebSocket is open. Set ``channel.user``, then take ``rest``: what came behind the handshake."""

    def on_dial_refused(self, status: int, reason: str, now: float) -> None:
        """The server answered with an HTTP status other than 101; ``reason`` is one short clause of the server's."""

    def on_dial_failed(self, reason: str, now: float) -> None:
        """The connection failed, or the answer was not a valid one; ``reason`` is one short clause of ours."""


class Server:
    """A server by its URL and TLS profile, and the address that the last dial to it began with or reached.

    Every address of a name has its turn: a dial begins with the address behind the last one, the first dial with one
    drawn at random. So agents spread over the nodes behind a name, and a retry does not repeat the same choice.
    """

    __slots__ = ("_entropy", "_last", "origin", "tls")

    def __init__(self, origin: Origin, entropy: Entropy, tls: str = "") -> None:
        self.origin = origin
        self.tls = tls
        self._entropy = entropy
        self._last = ""

    def turns(self, addresses: Sequence[str]) -> list[str]:
        """Return the distinct addresses in the order in which one dial tries them."""
        ordered = sorted(set(addresses))
        if not self._last:
            first = self._entropy.getrandbits(16) % len(ordered)
        else:
            first = sum(address <= self._last for address in ordered) % len(ordered)
        return ordered[first:] + ordered[:first]

    def tried(self, address: str) -> None:
        """Take note that a dial tries ``address`` now."""
        self._last = address


class WebSocketDial:
    """One attempt to open a WebSocket at ``target`` of a server, in ``timeout_s`` seconds in all.

    A name is looked up anew for each attempt, and its addresses are tried one after the other until a connection opens.
    ``headers`` are sent besides those of the handshake. Next: one call of ``user``; before it, ``cancel`` ends the
    attempt.
    """

    __slots__ = (
        "_addresses",
        "_cancelled",
        "_channel",
        "_connection",
        "_connector",
        "_handshake",
        "_server",
        "_timeout_s",
        "_until",
        "_user",
        "deadline_at",
    )

    def __init__(
        self,
        connector: Connector,
        user: DialUser,
        server: Server,
        target: str,
        headers: Sequence[tuple[bytes, bytes]],
        entropy: Entropy,
        timeout_s: float,
        now: float,
    ) -> None:
        origin = server.origin
        self.deadline_at = self._until = now + timeout_s
        self._connector = connector
        self._user = user
        self._server = server
        self._timeout_s = timeout_s
        self._handshake = ClientHandshake(str(Address(origin.host, origin.port)), target, headers, entropy)
        self._addresses: list[str] = []
        self._channel: TcpChannel | None = None
        self._connection: int | None = None
        self._cancelled = False
        if is_ip(origin.host):
            self._connect(origin.host, timeout_s)
        else:
            connector.resolve(origin.host, timeout_s, self)

    def cancel(self) -> None:
        """End the attempt; ``user`` is not called any more."""
        self._cancelled = True
        self._end()
        if self._channel is not None:
            self._channel.close()
        elif self._connection is not None:
            self._connector.cancel_connect(self._connection)

    # --- looking up and connecting ---

    def on_resolved(self, addresses: tuple[str, ...], error: str, now: float) -> None:
        """Try the addresses of the name."""
        if self._cancelled:
            return
        if addresses:
            self._addresses = self._server.turns(addresses)
            self._try_next(now)
        else:
            self._user.on_dial_failed(error or "the name has no address", now)

    def _try_next(self, now: float) -> None:
        """Connect to the next address; the last one gets all the time that is left."""
        address = self._addresses.pop(0)
        left_s = self._until - now
        self._connect(address, min(left_s, FALLBACK_S) if self._addresses else left_s)

    def _connect(self, address: str, timeout_s: float) -> None:
        self._server.tried(address)
        server = self._server
        self._connection = self._connector.connect(address, server.origin.port, timeout_s, self, server.tls)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Try the next address, if there is one and time is left."""
        if self._addresses and now < self._until:
            self._try_next(now)
        else:
            self._user.on_dial_failed(reason, now)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Ask for the upgrade."""
        self._channel = channel
        channel.user = self
        self._connector.timers.watch(self, now)
        channel.send(self._handshake.request_bytes())

    # --- the handshake ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take the answer."""
        try:
            rest = self._handshake.receive(bytes(data))
        except HandshakeError as error:
            self._refused(error, now)
            return
        if rest is not None and self._channel is not None:
            self._end()
            self._user.on_dialed(self._channel, rest, now)

    def on_eof(self, now: float) -> None:
        """The answer ends early."""
        try:
            self._handshake.receive_eof()
        except HandshakeError as error:
            self._refused(error, now)

    def on_lost(self, now: float) -> None:
        """The connection broke."""
        self._fail("connection closed by the server", now)

    def on_writable(self, now: float) -> None:  # noqa: D102 - the request was sent whole
        pass

    def on_deadline(self, now: float) -> None:
        """The server does not answer."""
        self._fail(f"the server did not answer within {self._timeout_s:g} s", now)

    # --- inside ---

    def _refused(self, error: HandshakeError, now: float) -> None:
        if not error.status:
            self._fail(error.reason, now)
            return
        self._close()
        self._user.on_dial_refused(error.status, error.reason, now)

    def _fail(self, reason: str, now: float) -> None:
        self._close()
        self._user.on_dial_failed(reason, now)

    def _close(self) -> None:
        self._end()
        if self._channel is not None:
            self._channel.close()

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._connector.timers.unwatch(self)


class Backoff:
    """Pauses between attempts: doubling from ``first_s`` to ``last_s``, each shortened at random by up to half.

    The randomness keeps the agents of a server that restarted from coming back at the same moment.
    """

    __slots__ = ("_entropy", "_first_s", "_last_s", "_next_s")

    def __init__(self, first_s: float, last_s: float, entropy: Entropy) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._next_s = first_s
        self._entropy = entropy

    def next_s(self) -> float:
        """Return how long to wait before the next attempt."""
        wait_s = self._next_s * (0.5 + self._entropy.getrandbits(16) / 131_072)
        self._next_s = min(self._next_s * 2, self._last_s)
        return wait_s

    def reset(self) -> None:
        """Begin anew with ``first_s``: the last attempt was a success."""
        self._next_s = self._first_s
