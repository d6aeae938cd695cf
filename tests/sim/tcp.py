"""TCP between processes of the simulation, as a kernel shows it: byte streams that stall, end, or are reset.

Modelled: handshakes and refusals, latency with retransmissions, cuts of segments, a window of bytes that the receiver
has not read, half-close, FIN and RST of processes that end, the RST that answers bytes for a closed connection (which
destroys the data on its way), and connections over a broken path, which hang until a timer of either end closes them.
"""

from collections import deque
from typing import TYPE_CHECKING

from pico_core.boundary import Data
from tests.sim.network import RETRANSMIT_S, Network

if TYPE_CHECKING:
    from tests.sim.process import Process

WINDOW_BYTES = 131_072
"""The most bytes of a sender on the wire and unread by the receiving process: the buffers of both kernels."""

SEGMENT_BYTES = 32_768
HIGH_WATER_BYTES = 65_536
LOW_WATER_BYTES = 16_384
"""The fill levels at which a driver's own buffer pauses and resumes the machine."""

LONGEST_RETRANSMIT_S = 30.0
KEEP_ALIVE_S = 5.0
KEEP_ALIVE_PROBES = 3
"""A client that probes an open connection gives it up when so many probes in a row are lost."""
GIVE_UP_S = 900.0
"""Linux closes a connection after about a quarter of an hour without an acknowledgement."""

FIN = b""


class End:
    """One process's end of a connection. ``peer`` is the other one."""

    __slots__ = (
        "_backoff_s",
        "_due",
        "_fin_put",
        "_in_flight",
        "_last_arrival_at",
        "_network",
        "_pending",
        "_wire",
        "address",
        "blocked_at",
        "closing",
        "eof_arrived",
        "eof_given",
        "eof_sent",
        "error",
        "gone",
        "number",
        "peer",
        "pending_bytes",
        "process",
        "queued",
        "reading",
        "unread",
        "write_failed",
        "writing_paused",
    )

    peer: "End"

    def __init__(self, network: Network, process: "Process", number: int, address: str) -> None:
        self.process = process
        self.number = number
        self.address = address
        self.reading = True
        self.unread: list[bytes] = []
        self.eof_arrived = False
        self.eof_given = False
        self.eof_sent = False
        self.closing = False
        self.gone = False
        """Whether the process has no part in it any more: it closed or reset the connection, or it has ended."""
        self.error = ""
        """The reason of its reset; its process may not have noticed yet."""
        self.write_failed = False
        """Whether bytes waited in the driver when the connection was reset: it notices, even if it does not read."""
        self.writing_paused = False
        self.queued = False
        """Whether it is in its process's queue already."""
        self.pending_bytes = 0
        self._network = network
        self._pending: deque[memoryview] = deque()
        self._wire: deque[bytes] = deque()
        self._due = 0
        self._in_flight = 0
        self._last_arrival_at = 0.0
        self.blocked_at = -1.0
        self._backoff_s = RETRANSMIT_S
        self._fin_put = False

    @property
    def is_peer_dark(self) -> bool:
        """Whether the host at the other end lost its power."""
        return self._network.hosts[self.peer.address].dark

    @property
    def is_broken(self) -> bool:
        """Whether the other end is gone, or bytes wait for a retransmission, so that a request on it may fail."""
        return self.peer.gone or self.blocked_at >= 0 or self.peer.blocked_at >= 0

    def not_before(self, at: float) -> None:
        """Have no segment arrive before ``at``: the peer does not know of the connection yet."""
        self._last_arrival_at = at

    # --- commands of the process ---

    def send(self, data: Data) -> None:
        """Send bytes."""
        if self.error:
            self.process.lost(self, self.error)  # a process that does not read notices a reset when it writes
            return
        pieces = (data,) if isinstance(data, bytes) else data
        for piece in pieces:
            if len(piece):
                self._pending.append(memoryview(piece))
                self.pending_bytes += len(piece)
        self._pump()

    def send_eof(self) -> None:
        """Send FIN after all bytes."""
        self.eof_sent = True
        self._pump()

    def close(self) -> None:
        """Stop reading, send all bytes, then end the connection."""
        if self.error:
            self.process.lost(self, self.error)
            return
        self.closing = True
        self.reading = False
        self._pump()

    def abort(self) -> None:
        """Reset the connection at once."""
        self.refuse()
        self.process.lost(self, "")

    def refuse(self) -> None:
        """Reset a connection that the process never had."""
        self._vanish()
        self._reset_peer("connection reset by peer")

    def pause_reading(self) -> None:
        """Leave arriving bytes in the kernel's buffer."""
        self.reading = False

    def resume_reading(self) -> None:
        """Read again, first the bytes that have arrived."""
        if not self.closing:
            self.reading = True
            if self.unread or self.eof_arrived or self.error:
                self._readable()

    def take(self) -> bytes:
        """Return the bytes that have arrived, all of them or the first part."""
        data = b"".join(self.unread)
        self.unread.clear()
        if len(data) > 1 and self._network.world.chance(self._network.faults.segment_cuts):
            size = self._network.world.random.randrange(1, len(data))
            self.unread.append(data[size:])
            data = data[:size]
            self._readable()
        if data:
            self.peer.acknowledged(len(data))
        return data

    def keep_alive(self) -> None:
        """Probe the peer's kernel from now on, also while bytes are on the wire (TCP_USER_TIMEOUT does the same)."""
        self._network.world.after(KEEP_ALIVE_S, self._probe, KEEP_ALIVE_PROBES)

    def _probe(self, probes_left: int) -> None:
        if self.gone:
            return
        is_lost = self._network.blocked(self.address, self.peer.address) or self._network.blocked(
            self.peer.address, self.address
        )
        probes_left = probes_left - 1 if is_lost else KEEP_ALIVE_PROBES
        if probes_left:
            self._network.world.after(KEEP_ALIVE_S, self._probe, probes_left)
        else:
            self._network.world.sometimes["keep-alive found a dead peer"] += 1
            self._fail("timed out")

    # --- the end of the process ---

    def die(self) -> None:
        """The process was killed: its kernel ends the connection; the bytes in the process's buffer are lost."""
        self._pending.clear()
        self.pending_bytes = 0
        self._finish()

    def go_dark(self) -> None:
        """The host lost its power: it sends no more segments, and no FIN or RST."""
        self._vanish()

    # --- the wire ---

    def _pump(self) -> None:
        """Put on the wire as much as the window allows; then pause or resume the process, or end the connection."""
        if self.gone:
            return
        world, pending = self._network.world, self._pending
        while pending and self._in_flight < WINDOW_BYTES:
            piece = pending[0]
            size = min(len(piece), SEGMENT_BYTES, WINDOW_BYTES - self._in_flight)
            if size > 1 and world.chance(self._network.faults.segment_cuts):
                size = world.random.randrange(1, size)
            if size == len(piece):
                pending.popleft()
            else:
                pending[0] = piece[size:]
            self.pending_bytes -= size
            self._in_flight += size
            self._put(bytes(piece[:size]))
        if self.pending_bytes > HIGH_WATER_BYTES and not self.writing_paused:
            self.writing_paused = True
            self.process.writing_paused(self)
        elif self.writing_paused and self.pending_bytes < LOW_WATER_BYTES:
            self.writing_paused = False
            self.process.writing_resumed(self)
        if pending:
            return
        if self.closing:
            self._finish()
            self.process.lost(self, "")
        elif self.eof_sent:
            self._put_fin()

    def _put(self, segment: bytes) -> None:
        world = self._network.world
        at = max(self._last_arrival_at, world.now + self._network.segment_delay_s())
        self._last_arrival_at = at
        self._wire.append(segment)
        world.after(at - world.now, self._arrive)

    def _put_fin(self) -> None:
        if not self._fin_put:
            self._fin_put = True
            self._put(FIN)

    def _arrive(self) -> None:
        """A segment should arrive now; on a blocked path it and all behind it wait for a retransmission."""
        self._due += 1
        if self.blocked_at < 0:
            self._deliver()

    def _deliver(self) -> None:
        network, wire = self._network, self._wire
        world = network.world
        while self._due and wire:
            if network.blocked(self.address, self.peer.address):
                if self.blocked_at < 0:
                    self.blocked_at = world.now
                if world.now - self.blocked_at > GIVE_UP_S:
                    self._fail("timed out")
                    return
                world.after(self._backoff_s, self._retransmit)
                self._backoff_s = min(2 * self._backoff_s, LONGEST_RETRANSMIT_S)
                return
            if self.blocked_at >= 0:
                world.sometimes["connection survived a cut"] += 1
                self.blocked_at = -1.0
            self._backoff_s = RETRANSMIT_S
            self._due -= 1
            self.peer.segment_arrives(wire.popleft())

    def _retransmit(self) -> None:
        if self.blocked_at >= 0:
            self._deliver()

    def segment_arrives(self, segment: bytes) -> None:
        if self.gone:
            if segment:
                self._network.world.sometimes["bytes for a closed connection"] += 1
                self._reset_peer("connection reset by peer")
            return
        if segment:
            self.unread.append(segment)
            if self.closing:
                return
        else:
            self.eof_arrived = True
        self._readable()

    def acknowledged(self, size: int) -> None:
        """The peer has read: the window opens, unless the acknowledgement is lost on its way."""
        if self._network.blocked(self.peer.address, self.address):
            if not (self.gone or self.peer.gone):
                self._network.world.after(RETRANSMIT_S * 5, self.acknowledged, size)
            return
        self._in_flight -= size
        if self._pending:
            self._pump()

    def _readable(self) -> None:
        if self.reading and not self.queued:
            self.queued = True
            self.process.enqueue(self)

    # --- ends ---

    def _finish(self) -> None:
        """The process has ended its part: send FIN after all segments, or RST if bytes arrived that it never read."""
        self.gone = True
        if self.unread:
            self._network.world.sometimes["closed with bytes unread"] += 1
            self._wire.clear()
            self._due = 0
            self._reset_peer("connection reset by peer")
        else:
            self._put_fin()

    def _vanish(self) -> None:
        self.gone = True
        self._pending.clear()
        self._wire.clear()
        self._due = 0
        self.pending_bytes = 0

    def _reset_peer(self, reason: str) -> None:
        self._network.world.after(self._network.delay_s(), self._reset_passes, reason)

    def _reset_passes(self, reason: str) -> None:
        if not self._network.blocked(self.address, self.peer.address):
            self.peer.reset_arrives(reason)

    def reset_arrives(self, reason: str) -> None:
        if self._network.world.chance(0.5):
            self.unread.clear()
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        """The connection is broken; a process that does not read or write just now notices when it does."""
        was_gone = self.gone
        waited = bool(self._pending)
        self._vanish()
        if was_gone:
            return
        self.write_failed = waited
        self.error = reason
        if self.reading or self.closing or self.write_failed:
            self.queued = True
            self.process.enqueue(self)
