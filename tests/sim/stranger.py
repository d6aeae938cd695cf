"""A hostile process: it sends to every port of the servers what no node or client would, and knows no secret of theirs.

Its choices come from a random stream of its own. It does nothing that the wire cannot tell from a node of the cluster:
it does not alter datagrams of nodes so that they stay well-formed, or send them from the address of a node, or answer a
question that went to an address it forged before.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pico_core.gossip.counters import Counters
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.packets import PacketSeal
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import DELTA, DIGEST, JOIN, LEAVE, Entry
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from pico_core.websocket.handshake import ClientHandshake
from tests.sim.network import Network

PROXY_PORT, UPSTREAM_PORT, GOSSIP_PORT = 8000, 8001, 8003
LARGEST_DATAGRAM_BYTES = 65_507
HOLD_S = 5.0
"""How long it keeps a connection at most."""
UNASKED = "stranger-"
"""How the endpoints begin that it registers."""
FORGED = "10.254"
"""The first half of the addresses that it forges: no host has them."""


@dataclass(frozen=True)
class Stolen:
    """Secrets that are of no use here: those of another cluster, and those that were exchanged or have expired."""

    gossip_key: bytes
    tokens: tuple[str, ...]
    endpoint: str


class Stranger(BaseMachine):
    """Attacks one server after the other until ``stopped``. ``targets`` returns the addresses of the servers."""

    def __init__(
        self,
        network: Network,
        host: str,
        entropy: random.Random,
        targets: Callable[[], list[str]],
        rate: float,
        secrets: "Stolen | None" = None,
    ) -> None:
        """``host`` is its own address, ``rate`` the number of attacks per second.

        ``secrets`` are those of another cluster, or of this one before they were exchanged.
        """
        super().__init__()
        self.stopped = False
        self._network = network
        self._host = host
        self._entropy = entropy
        self._targets = targets
        self._rate = rate
        self._forgeries = 0
        self._attacks: tuple[Callable[[str], None], ...] = (
            self.garbage,
            self.oversized,
            self.tiny_values,
            self.forged_digest,
            self.forged_delta,
            self.replayed,
            self.stream_of_garbage,
            self.unfinished_stream,
            self.cut_stream,
            self.garbage_request,
            self.short_registration,
            self.garbage_frames,
        )
        self._stolen = secrets
        if secrets is not None:
            seal = PacketSeal(Keyring([secrets.gossip_key]), entropy, Counters(), lambda output: None)
            self._seal = seal
            self._attacks += (self.sealed_with_another_key, self.registration_with_another_token)

    def on_start(self, now: float) -> None:
        self.timers.schedule(now + self._entropy.expovariate(self._rate), self._next)

    def _next(self, now: float) -> None:
        if self.stopped:
            return
        self.timers.schedule(now + self._entropy.expovariate(self._rate), self._next)
        targets = self._targets()
        if targets:
            attack = self._entropy.choice(self._attacks)
            self._network.world.sometimes["stranger: " + attack.__name__.replace("_", " ")] += 1
            attack(self._entropy.choice(targets))

    # --- datagrams ---

    def _datagram(self, target: str, data: bytes, source: str = "") -> None:
        delay_s = 0.0005 + 0.002 * self._entropy.random()
        self._network.forge_datagram(source or self._host, GOSSIP_PORT, target, GOSSIP_PORT, data, delay_s)

    def _forged(self) -> tuple[str, str]:
        """Return a new node ID and a new host for it."""
        self._forgeries += 1
        return f"nobody-{self._forgeries}", f"{FORGED}.{self._forgeries >> 8}.{self._forgeries & 255}"

    def garbage(self, target: str) -> None:
        head = self._entropy.choice((b"", DIGEST, DELTA))
        honest = self._entropy.choice(self._targets())
        data = head + b"\xc1" + self._entropy.randbytes(self._entropy.randrange(1400))
        self._datagram(target, data, self._entropy.choice((self._host, honest)))

    def oversized(self, target: str) -> None:
        data = (DIGEST + b"\x80" * LARGEST_DATAGRAM_BYTES)[:LARGEST_DATAGRAM_BYTES]
        for _ in range(self._entropy.randrange(1, 40)):
            self._datagram(target, data)

    def tiny_values(self, target: str) -> None:
        for _ in range(self._entropy.randrange(1, 40)):
            self._datagram(target, DELTA + self._entropy.choice((b"\x80", b"\x90", b"\x01")) * 1398)

    def forged_digest(self, target: str) -> None:
        """Name a node that is not there, and victims that are not either."""
        node_id, host = self._forged()
        data = writing.digest_head(node_id, f"{host}:{GOSSIP_PORT}", request=self._entropy.random() < 0.8)
        for number in range(self._entropy.randrange(20)):
            data += writing.digest_entry(f"victim-{number}", f"{FORGED}.255.{number}:53", 1 + number, left=False)
        self._datagram(target, data, host)

    def forged_delta(self, target: str) -> None:
        """Say of every server that it left, and serves nothing."""
        node_id, host = self._forged()
        data = writing.delta_head(node_id, f"{host}:{GOSSIP_PORT}")
        for server in [*self._targets(), host]:
            data += writing.delta_node(server, f"{server}:{GOSSIP_PORT}", 1, 0)
            data += writing.pack_entry(Entry("_internal:left", "", 1 << 50, True, False))
        self._datagram(target, data, host)

    def sealed_with_another_key(self, target: str) -> None:
        """Say of a node that is not there what would be believed under the key of the cluster."""
        node_id, host = self._forged()
        data = writing.digest_head(node_id, f"{host}:{GOSSIP_PORT}", request=True)
        self._datagram(target, self._seal.seal(data, (target, GOSSIP_PORT)))

    def replayed(self, target: str) -> None:
        """Send what honest nodes said, from an address that is not theirs."""
        if self._network.overheard:
            self._datagram(target, self._entropy.choice(self._network.overheard))

    # --- connections ---

    def _connect(self, target: str, port: int, *pieces: bytes) -> None:
        self.connect(target, port, HOLD_S, _Attack(self, pieces, HOLD_S * self._entropy.random()))

    def stream_of_garbage(self, target: str) -> None:
        head = self._entropy.choice((b"", JOIN, LEAVE))
        self._connect(target, GOSSIP_PORT, head + self._entropy.randbytes(self._entropy.randrange(1, 20_000)))

    def unfinished_stream(self, target: str) -> None:
        head = JOIN + b"\x82\xa7node_id\xa1x\xa4addr\xa0\x91\x82\xa2id\xa1x\xa4more\xdb\x7f\xff\xff\xff"
        self._connect(target, GOSSIP_PORT, head, bytes(self._entropy.randrange(200_000)))

    def cut_stream(self, target: str) -> None:
        """Announce more entries than any node has, in one byte each."""
        head = JOIN + b"\x82\xa7node_id\xa1x\xa4addr\xa0\x91\x82\xa2id\xa1x\xa7entries\xdd\x00\xff\xff\xff"
        self._connect(target, GOSSIP_PORT, head + b"\x80" * self._entropy.randrange(100_000))

    def garbage_request(self, target: str) -> None:
        self._connect(target, PROXY_PORT, self._entropy.randbytes(self._entropy.randrange(1, 3_000)))

    def short_registration(self, target: str) -> None:
        """Register an endpoint that no client asks for, and leave soon."""
        self._connect(target, UPSTREAM_PORT, self._registration())

    def garbage_frames(self, target: str) -> None:
        data = self._entropy.randbytes(self._entropy.randrange(1, 3_000))
        self._connect(target, UPSTREAM_PORT, self._registration(), data)

    def registration_with_another_token(self, target: str) -> None:
        """Register an endpoint that agents of the cluster serve."""
        assert self._stolen is not None
        fields = ((b"Authorization", b"Bearer " + self._entropy.choice(self._stolen.tokens).encode()),)
        handshake = ClientHandshake("pico", f"/pico/v1/upstream/{self._stolen.endpoint}", fields, self._entropy)
        self._connect(target, UPSTREAM_PORT, handshake.request_bytes())

    def _registration(self) -> bytes:
        name = f"{UNASKED}{self._entropy.randrange(10_000)}"
        return ClientHandshake("pico", f"/pico/v1/upstream/{name}", (), self._entropy).request_bytes()


class _Attack:
    """One connection: it sends its pieces, and goes after a while, by a close or a reset."""

    def __init__(self, stranger: Stranger, pieces: tuple[bytes, ...], hold_s: float) -> None:
        self._stranger = stranger
        self._pieces = pieces
        self._hold_s = hold_s
        self._channel: TcpChannel | None = None

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        self._channel = channel
        channel.user = self
        for number, piece in enumerate(self._pieces):
            self._stranger.timers.schedule(now + 0.1 * number, partial(self._send, piece))
        self._stranger.timers.schedule(now + self._hold_s, self._leave)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The server is not there."""

    def _send(self, piece: bytes, now: float) -> None:
        if self._channel is not None:
            self._channel.send(piece)

    def _leave(self, now: float) -> None:
        if self._channel is not None:
            (self._channel.close if self._hold_s < HOLD_S / 2 else self._channel.abort)()

    def on_data(self, data: Piece, now: float) -> None:
        """It reads and does not care."""

    def on_eof(self, now: float) -> None:
        """The server ended it."""

    def on_lost(self, now: float) -> None:
        self._channel = None

    def on_writable(self, now: float) -> None:
        """It has sent all already."""
