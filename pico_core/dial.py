"""The one dial of every WebSocket client: connect to a server, do the opening handshake, within a deadline.

An agent registers endpoints this way, a forwarder reaches them. ``WebSocketDial`` is one attempt, ``Backoff`` says how
long to wait before the next one, ``Complaints`` whether its failure is worth a warning.
"""

from collections.abc import Sequence
from typing import NoReturn, Protocol

from pico_core.access.grant import ADVICE
from pico_core.config.proxy import Proxy
from pico_core.config.values import Address, Origin, is_ip, show_figure
from pico_core.entropy import Entropy
from pico_core.http.proxy_connect import ProxyConnect, ProxyError
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector
from pico_core.pieces import Piece
from pico_core.timers import NEVER
from pico_core.websocket.handshake import ClientHandshake, HandshakeError
from pico_core.websocket.refusal import Refusal

FALLBACK_S = 2.0
"""How long one address of a name may take to connect before the next one is tried: a server that is there is faster."""

HANDSHAKE_S = 5.0
"""How long it may then take to answer before the next one is tried; a busy server answers sooner."""

MAX_ADDRESSES_TRIED = 4
"""Of one name, in one attempt: a large cluster that restarts is not asked at every address at once."""

SILENT_S = 1.0
"""An address that fails after this long or longer was silent: it costs that time again, unlike one that refuses."""

AVOIDED_S = 60.0
"""How long an address that was silent comes last. The others may fail meanwhile, so it is not left out."""

MAX_SILENT = 16
"""Addresses of one server that are known to be silent. One dial learns of at most ``MAX_ADDRESSES_TRIED``."""

NONE_SILENT: dict[str, float] = {}
"""What all servers share of which no address was silent. It is never changed."""

REMINDER_S = 60.0
"""After which a reason that was warned of is worth another warning: a line a minute shows that the outage goes on."""

MAX_REASONS = 8
"""A server may give another reason each time; those above this number wait for the next minute."""


class DialUser(Protocol):
    """The part that dialed. Exactly one of these is called, once, and never by the constructor of the dial."""

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """The WebSocket is open. Set ``channel.user``, then take ``rest``: the bytes behind the handshake."""

    def on_dial_refused(self, error: HandshakeError, now: float) -> None:
        """The answer was not the 101 that was asked for; ``error.refusal`` says what the next attempt can expect."""

    def on_dial_failed(self, reason: str, now: float) -> None:
        """The connection failed, or the answer was not a valid one; ``reason`` is one short clause of ours."""


def explain(error: HandshakeError) -> str:
    """Say for a log which answer came instead of the 101, and whose it was."""
    answer = f"{error.status} {error.reason}"
    if error.refusal is Refusal.FOREIGN:
        return f"not the answer of a Pico server: {answer}; check connect.url and what stands before it"
    return f"the server refused: {advised(error)}"


def advised(error: HandshakeError) -> str:
    """Return the server's answer, and what the user does about a refused token, or else the name of the reason."""
    advice = ADVICE.get(error.reason, "") if error.status == 401 else ""
    more = f"; {advice}" if advice else f" ({error.code})" if error.code else ""
    return f"{error.status} {error.reason}{more}"


class Handshake(Protocol):
    """One exchange of a dial, after which the same connection carries the next one: CONNECT, then the WebSocket's."""

    def request_bytes(self) -> bytes:
        """Return the bytes to send first."""

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the answer; return ``None`` while it is undecided, then the bytes behind it."""

    def receive_eof(self) -> NoReturn:
        """Take the end of the stream before the answer, and raise."""


class Server:
    """A server by its URL and TLS profile, the proxy on the way to it, and what dials have learnt of its addresses.

    A retry does not repeat the choice that failed: after a failure, a dial begins with the address behind the last one.
    The first dial, and each after a success, begins with any address but the last one, drawn at random. So agents
    spread over the nodes behind a name, and those of a lost node over all that are left. With ``keeps``, as forwarders
    have it, each dial after a success begins with the address that worked, until that one fails. An address that was
    silent comes last for ``AVOIDED_S``. With a ``proxy``, the addresses are the proxy's.
    """

    __slots__ = ("_entropy", "_failed", "_good", "_keeps", "_last", "_silent", "origin", "proxy", "tls")

    def __init__(
        self, origin: Origin, entropy: Entropy, proxy: Proxy | None = None, tls: str = "", *, keeps: bool = False
    ) -> None:
        """``tls`` names the TLS profile to use if ``origin`` is reached over TLS."""
        self.origin = origin
        self.proxy = proxy
        self.tls = tls if origin.is_secure else ""
        self._entropy = entropy
        self._keeps = keeps
        self._last = ""
        self._failed = False
        self._good = ""
        self._silent = NONE_SILENT
        """Until when an address comes last, in the order in which that was found out."""

    def turns(self, addresses: Sequence[str], now: float) -> list[str]:
        """Return the distinct addresses in the order in which one dial tries them, at most ``MAX_ADDRESSES_TRIED``."""
        ordered = sorted(set(addresses))
        behind = sum(address <= self._last for address in ordered) % len(ordered)
        others = len(ordered) - (self._last in ordered) or 1
        first = behind if self._failed else behind + self._entropy.getrandbits(16) % others
        turned = ordered[first:] + ordered[:first]
        turned.sort(key=lambda address: (self._silent.get(address, 0.0) > now, address != self._good))
        return turned[:MAX_ADDRESSES_TRIED]

    def tried(self, address: str) -> None:
        """Take note that a dial tries ``address`` now."""
        self._last = address
        self._failed = True

    def reached(self, address: str) -> None:
        """Take note that ``address`` accepted."""
        self._last = address
        self._failed = False
        self._silent.pop(address, None)
        if self._keeps:
            self._good = address

    def failed(self, address: str, silent_s: float, now: float) -> None:
        """Take note that ``address`` refused, failed or was given up, after so many seconds without an answer."""
        if address == self._good:
            self._good = ""
        if silent_s >= SILENT_S:
            self._silent.pop(address, None)
            if self._silent is NONE_SILENT:
                self._silent = {}
            if len(self._silent) >= MAX_SILENT:
                del self._silent[next(iter(self._silent))]
            self._silent[address] = now + AVOIDED_S


class WebSocketDial:
    """One attempt to open a WebSocket at ``target`` of a server, in ``timeout_s`` seconds in all.

    A name is looked up anew for each attempt. Its addresses are tried one after the other until one accepts or the
    server refuses. After an address that fails, is silent, leaves, or has a foreign answer, the next one is tried.
    ``target`` comes behind the path of the server's URL; ``headers`` are sent besides those of the handshake. Next: one
    call of ``user``; before it, ``cancel`` ends the attempt.
    """

    __slots__ = (
        "_address",
        "_addresses",
        "_cancelled",
        "_channel",
        "_connection",
        "_connector",
        "_entropy",
        "_handshakes",
        "_headers",
        "_hop",
        "_server",
        "_target",
        "_timeout_s",
        "_tried_at",
        "_until",
        "_user",
        "_websocket",
        "deadline_at",
    )

    def __init__(
        self,
        connector: Connector,
        user: DialUser,
        server: Server,
        target: str,
        headers: Sequence[tuple[bytes, bytes]],
        entropy: Entropy | None,
        timeout_s: float,
        now: float,
    ) -> None:
        """Without ``entropy`` it is no attempt, but a question: the handshake has no key, and cannot succeed."""
        self.deadline_at = NEVER
        self._until = now + timeout_s
        self._connector = connector
        self._user = user
        self._server = server
        self._target = server.origin.path + target
        self._headers = headers
        self._entropy = entropy
        self._timeout_s = timeout_s
        self._hop: Address = server.proxy or server.origin
        self._handshakes: list[Handshake] = []
        self._websocket: ClientHandshake | None = None
        self._address = ""
        self._tried_at = now
        self._addresses: list[str] = []
        self._channel: TcpChannel | None = None
        self._connection: int | None = None
        self._cancelled = False
        if is_ip(self._hop.host):
            self._connect(self._hop.host, timeout_s, now)
        else:
            connector.resolve(self._hop.host, timeout_s, self)

    @property
    def answer(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields of the 101, names in lower case; none before it."""
        return () if self._websocket is None else self._websocket.answer

    def cancel(self, now: float) -> None:
        """End the attempt; ``user`` is not called any more."""
        self._cancelled = True
        silent_s = now - self._tried_at
        if silent_s >= SILENT_S:
            self._give_address_up(now, silent_s)
        if self._channel is None and self._connection is not None:
            self._connector.cancel_connect(self._connection)
        self._hang_up()

    # --- looking up and connecting ---

    def on_resolved(self, addresses: tuple[str, ...], error: str, now: float) -> None:
        """Try the addresses of the name."""
        if self._cancelled:
            return
        if not addresses:
            self._fail(error or "the name has no address", now)
        elif now >= self._until:  # the process was stopped meanwhile: no time is left to connect
            self._fail(f"the name was not resolved within {show_figure(self._timeout_s)} s", now)
        else:
            self._addresses = self._server.turns(addresses, now)
            self._try_next(now)

    def _try_next(self, now: float) -> None:
        """Connect to the next address; the last one gets all the time that is left."""
        address = self._addresses.pop(0)
        left_s = self._until - now
        self._connect(address, min(left_s, FALLBACK_S) if self._addresses else left_s, now)

    def _connect(self, address: str, timeout_s: float, now: float) -> None:
        self._address = address
        self._tried_at = now
        self._server.tried(address)
        server = self._server
        tls = server.tls if server.proxy is None else ""  # with a proxy, TLS begins behind it
        self._connection = self._connector.connect(
            address, self._hop.port, timeout_s, self, tls, server.origin.host if tls else ""
        )

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Try the next address, if there is one and time is left."""
        self._fail(reason, now)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Ask the proxy for the connection to the server where there is one, then the server for the upgrade."""
        origin = self._server.origin
        authority = str(Address(origin.host, origin.port))
        proxy = self._server.proxy
        self._websocket = ClientHandshake(origin.authority, self._target, self._headers, self._entropy)
        self._handshakes = [self._websocket]
        if proxy is not None:
            self._handshakes.insert(0, ProxyConnect(authority, proxy.authorization))
        self._channel = channel
        channel.user = self
        self.deadline_at = min(self._until, now + HANDSHAKE_S) if self._addresses else self._until
        self._connector.timers.watch(self, now)
        channel.send(self._handshakes[0].request_bytes())

    # --- the handshakes ---

    def on_data(self, data: Piece, now: float) -> None:
        """Read the answer to the CONNECT or to the upgrade that was sent last."""
        try:
            rest = self._handshakes[0].receive(bytes(data))
        except (HandshakeError, ProxyError) as error:
            self._refused(error, now)
            return
        if rest is None or self._channel is None:
            return
        del self._handshakes[0]
        if self._handshakes and self._server.tls:
            if rest:
                self._fail("the proxy sent more than its answer", now)
                return
            self._connector.start_tls(self._channel, self._server.tls, self._server.origin.host, self)
            return
        if self._handshakes:
            self._channel.send(self._handshakes[0].request_bytes())
            return
        self._stop_waiting()
        self._server.reached(self._address)
        self._user.on_dialed(self._channel, rest, now)

    def on_tls_started(self, now: float) -> None:
        """Ask the server for the upgrade, behind the proxy."""
        if self._channel is not None:
            self._channel.send(self._handshakes[0].request_bytes())

    def on_tls_failed(self, reason: str, now: float) -> None:
        """The server behind the proxy cannot be trusted, or does not speak TLS."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()
            self._fail(reason, now)

    def on_eof(self, now: float) -> None:
        """The answer ends early."""
        try:
            self._handshakes[0].receive_eof()
        except (HandshakeError, ProxyError) as error:
            self._refused(error, now)

    def on_lost(self, now: float) -> None:
        """The connection ended before the handshakes were done: the attempt failed."""
        self._fail((self._channel and self._channel.refusal) or "connection closed by the server", now)

    def on_writable(self, now: float) -> None:
        """Do nothing: the requests were sent whole."""

    def on_deadline(self, now: float) -> None:
        """This address does not answer."""
        self._fail(f"the server did not answer within {show_figure(self._timeout_s)} s", now)

    # --- inside ---

    def _refused(self, error: HandshakeError | ProxyError, now: float) -> None:
        """Take the answer of the proxy, of the server, or of a machine in between."""
        self._give_address_up(now, silent_s=0.0)
        if isinstance(error, ProxyError):
            self._fail(str(error), now)
        elif not error.status:
            self._fail(error.reason, now)
        elif error.refusal in (Refusal.FINAL, Refusal.PASSING) or not self._another(now):
            self._hang_up()
            self._user.on_dial_refused(error, now)

    def _fail(self, reason: str, now: float) -> None:
        self._give_address_up(now, silent_s=now - self._tried_at)
        if not self._another(now):
            self._hang_up()
            proxy = self._server.proxy
            self._user.on_dial_failed(reason if proxy is None else f"through the proxy {proxy}: {reason}", now)

    def _give_address_up(self, now: float, silent_s: float) -> None:
        """Take note, once, that the address that was tried is of no use at present."""
        address, self._address = self._address, ""
        if address:
            self._server.failed(address, silent_s, now)

    def _another(self, now: float) -> bool:
        """Give this address up for the next one; return whether there is one, and time for it."""
        if not self._addresses or now >= self._until:
            return False
        self._hang_up()
        self._try_next(now)
        return True

    def _hang_up(self) -> None:
        self._stop_waiting()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _stop_waiting(self) -> None:
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

    def next_s(self, most_s: float = NEVER) -> float:
        """Return how long to wait before the next attempt: at most ``most_s``, beyond which the pause does not grow."""
        most_s = min(most_s, self._last_s)
        wait_s = self.jittered_s(min(self._next_s, most_s))
        self._next_s = min(self._next_s * 2, most_s)
        return wait_s

    def jittered_s(self, pause_s: float) -> float:
        """Return a pause shortened at random by up to half; the pauses to come stay as they are."""
        return pause_s * (0.5 + self._entropy.getrandbits(16) / 131_072)

    def reset(self) -> None:
        """Begin anew with ``first_s``: the last attempt was a success."""
        self._next_s = self._first_s


class Complaints:
    """Which failures of one outage are worth a warning: each reason once a minute."""

    __slots__ = ("_since", "_warned")

    def __init__(self) -> None:
        self._since = -NEVER
        self._warned: tuple[str, ...] = ()

    def is_due(self, reason: str, now: float) -> bool:
        """Return whether to warn of ``reason`` now, which then counts as done."""
        if now - self._since >= REMINDER_S:
            self._since = now
            self._warned = ()
        if reason in self._warned or len(self._warned) >= MAX_REASONS:
            return False
        self._warned = (*self._warned, reason)
        return True

    def clear(self) -> None:
        """The outage is over."""
        self._since = -NEVER
