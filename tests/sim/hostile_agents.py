"""Hostile agents of the upstream port: one process on one host, with a random stream of its own.

They register endpoints that no honest agent serves, and now and then ``CONTESTED``, which one does.
"""

import random
from collections.abc import Callable, Sequence

from pico_core.mux.frame import ACK, DATA, FIN, GO_AWAY, HEADER, HEADER_BYTES, PING, RST, SYN, WINDOW_UPDATE
from pico_core.websocket.decoding import FrameDecoder, FrameError
from pico_core.websocket.encoding import encode_close, encode_frame
from pico_core.websocket.handshake import ClientHandshake, HandshakeError
from tests.sim.hostile import HOSTILE, WATCH_S, Attacker, Line, Script
from tests.sim.hostile_clients import broken_frame, flood_of_frames
from tests.sim.hostile_services import ANSWERS
from tests.sim.world import World

UPSTREAM_PORT = 8001
CONTESTED = HOSTILE + "contested"
"""An endpoint that an honest agent serves too."""
NAMES = tuple(f"{HOSTILE}{number}" for number in range(4))
"""The endpoints that clients ask for. ``registers_many`` has others."""

STAY_S = 20.0
"""How long an agent that serves stays at most."""
UNKNOWN = 999_998
"""A stream that never was."""
MOST_PER_SECOND = 50


class Tunnel:
    """The agent's end of a tunnel, which keeps no rule unless its script does. Next: ``register``, then ``step``."""

    def __init__(self, line: Line, entropy: random.Random, new_token: Callable[[], str] | None) -> None:
        self.opened: list[int] = []
        """Streams that the server opened and the script has not taken."""
        self._line = line
        self._entropy = entropy
        self._new_token = new_token
        self._decoder = FrameDecoder(masked=False)
        self._bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether the connection can be used."""
        return self._line.is_open

    def register(self, endpoint: str, *, is_tcp: bool = False, max_streams: int = 64) -> Script:
        """Register an endpoint, and wait for the answer; a refusal ends the connection."""
        fields = [(b"x-pico-protocol", b"tcp" if is_tcp else b"http"), (b"x-pico-max-streams", b"%d" % max_streams)]
        if self._entropy.random() < 0.5:
            fields.append((b"x-pico-instance", b"%x" % self._entropy.getrandbits(64)))
        if self._new_token is not None:
            fields.append((b"authorization", b"Bearer " + self._new_token().encode()))
        handshake = ClientHandshake("pico", f"/pico/v1/upstream/{endpoint}", fields, self._entropy)
        self._line.send(handshake.request_bytes())
        sometimes = self._line.owner.world.sometimes
        while self._line.is_open:
            yield WATCH_S
            received = self._line.take()
            try:
                rest = handshake.receive(received) if received else None
            except HandshakeError as error:
                sometimes[f"hostile agent refused with {error.status}"] += 1
                self._line.close()
                return
            if rest is not None:
                sometimes["hostile agent registered"] += 1
                self._read(rest)
                return

    def step(self) -> None:
        """Read what has arrived."""
        self._read(self._line.take())

    def send(self, *frames: bytes) -> None:
        """Send frames in one message."""
        payload = b"".join(frames)
        self._line.send(encode_frame((payload,), len(payload), self._entropy))

    def _read(self, data: bytes) -> None:
        try:
            for item in self._decoder.receive(data):
                if isinstance(item, (bytes, memoryview)):
                    self._bytes += item
        except FrameError as error:
            raise self._line.owner.world.violation(f"an agent was sent what is not a frame: {error}") from error
        while len(self._bytes) >= HEADER_BYTES:
            kind, flags, stream, length = HEADER.unpack_from(self._bytes)
            size = HEADER_BYTES + (length if kind == DATA else 0)
            if len(self._bytes) < size:
                break
            self._bytes = self._bytes[size:]
            if flags & SYN and kind != PING:
                self._line.owner.world.sometimes["hostile agent was given a stream"] += 1
                self.opened.append(stream)


def frame(kind: int, flags: int, stream: int, value: int, body: bytes = b"") -> bytes:
    """Return one frame of yamux."""
    return HEADER.pack(kind, flags, stream, value) + body


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    """Return a data frame."""
    return frame(DATA, flags, stream, len(body), body)


class HostileAgents(Attacker):
    """Attacks the upstream port."""

    def __init__(
        self,
        world: World,
        entropy: random.Random,
        targets: Callable[[], list[str]],
        rate: float,
        new_token: Callable[[], str] | None,
    ) -> None:
        """``new_token`` makes a token where the servers ask for one."""
        super().__init__(world, entropy, "agent", targets, UPSTREAM_PORT, rate)
        self._new_token = new_token

    @property
    def attacks(self) -> Sequence[Callable[[Line], Script]]:
        return (
            self.sends_half_a_head,
            self.sends_garbage,
            self.registers_and_leaves,
            self.registers_many,
            self.breaks_websocket,
            self.floods_frames,
            self.floods_unknown_streams,
            self.breaks_yamux,
            self.opens_streams,
            self.takes_streams,
            self.takes_streams,
            self.answers_badly,
            self.answers_badly,
            self.answers_badly,
            self.abuses_windows,
            self.goes_away,
        )

    def _tunnel(self, line: Line) -> Tunnel:
        return Tunnel(line, self.entropy, self._new_token)

    def _name(self) -> str:
        return CONTESTED if self.entropy.random() < 0.2 else self.entropy.choice(NAMES)

    def _registered(self, line: Line, tunnel: Tunnel) -> Script:
        is_tcp = self.entropy.random() < 0.1
        yield from tunnel.register(self._name(), is_tcp=is_tcp, max_streams=self.entropy.choice((1, 64, 9_999_999)))

    # --- before a tunnel ---

    def sends_half_a_head(self, line: Line) -> Script:
        """Begin a registration with a head of up to 1 MB, and stop."""
        size = self.entropy.choice((10, 5_000, 15_000, 1_000_000))
        line.send(b"GET /pico/v1/upstream/x HTTP/1.1\r\nHost: pico\r\nX: " + b"x" * size)
        yield STAY_S * self.entropy.random()

    def sends_garbage(self, line: Line) -> Script:
        line.send(self.entropy.randbytes(self.entropy.randrange(1, 20_000)))
        yield self.entropy.random()

    def registers_and_leaves(self, line: Line) -> Script:
        """Register an endpoint and leave, again and again."""
        for _ in range(self.entropy.randrange(1, 30)):
            self.open(self.target(), self.comes_and_goes)
            yield 1.0 / MOST_PER_SECOND

    def comes_and_goes(self, line: Line) -> Script:
        yield from self._registered(line, self._tunnel(line))
        yield 0.1 * self.entropy.random()

    def registers_many(self, line: Line) -> Script:
        """Register many endpoints, each through a connection of its own, up to the cap of connections."""
        for _ in range(self.entropy.randrange(1, 80)):
            self.open(self.target(), self.stays)
            yield 1.0 / MOST_PER_SECOND

    def stays(self, line: Line) -> Script:
        """Serve an endpoint that no other agent has, and do nothing."""
        tunnel = self._tunnel(line)
        yield from tunnel.register(f"{HOSTILE}many-{self.entropy.randrange(100_000)}")
        yield STAY_S * self.entropy.random()

    # --- frames ---

    def breaks_websocket(self, line: Line) -> Script:
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        line.send(broken_frame(self.entropy))
        yield self.entropy.random()
        line.send(self.entropy.randbytes(1_000))
        yield self.entropy.random()

    def floods_frames(self, line: Line) -> Script:
        """Send empty messages and pings of both protocols without pause, and read no answer."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        line.stop_reading()
        for _ in range(self.entropy.randrange(1, 30)):
            line.send(flood_of_frames(self.entropy))
            yield 0.02
        yield STAY_S * self.entropy.random()

    def floods_unknown_streams(self, line: Line) -> Script:
        """Send frames for streams that never were, many to a message or one."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        for _ in range(self.entropy.randrange(1, 30)):
            kind, flags, body = self.entropy.choice(
                ((WINDOW_UPDATE, 0, b""), (WINDOW_UPDATE, RST, b""), (WINDOW_UPDATE, FIN, b""), (DATA, ACK, b"x"))
            )
            one = frame(kind, flags, UNKNOWN, len(body) if kind == DATA else 1, body)
            if self.entropy.random() < 0.5:
                tunnel.send(one * self.entropy.randrange(1, 5_000))
            else:
                for _ in range(self.entropy.randrange(1, 300)):
                    tunnel.send(one)
            yield 0.02

    def breaks_yamux(self, line: Line) -> Script:
        """Send a frame that ends the session, behind some that do not."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        yield from self._wait_for_stream(tunnel)
        stream = tunnel.opened[0] if tunnel.opened else 2
        tunnel.send(
            frame(WINDOW_UPDATE, ACK, stream, 0) * 3,
            self.entropy.choice(
                (
                    frame(DATA, SYN, stream, 0),
                    frame(DATA, 0, 0, 5, b"hello"),
                    frame(WINDOW_UPDATE, 0, 0, 1),
                    frame(WINDOW_UPDATE, 0xFF, stream, 1),
                    frame(PING, 0, 0, 1),
                    frame(PING, SYN, stream, 1),
                    frame(GO_AWAY, SYN, 0, 0),
                    frame(77, 0, 0, 0),
                    frame(0x0100, 0, stream, 0),
                    frame(WINDOW_UPDATE, 0, stream, 0xFFFFFFFF) * 2,
                    frame(DATA, ACK, stream, 0xFFFFFFFF, bytes(5_000)),
                    self.entropy.randbytes(500),
                )
            ),
        )
        yield STAY_S * self.entropy.random() ** 2

    def opens_streams(self, line: Line) -> Script:
        """Open streams towards the server, which takes none."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        stream = 1
        for _ in range(self.entropy.randrange(1, 10)):
            count = self.entropy.choice((1, 50, 1_000))
            kind = self.entropy.choice((WINDOW_UPDATE, DATA))
            tunnel.send(*(frame(kind, SYN, stream + 2 * number, 0) for number in range(count)))
            stream += 2 * count
            yield 0.05

    def goes_away(self, line: Line) -> Script:
        """Say that it leaves, and go on, or send more behind a close frame."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        yield from self._wait_for_stream(tunnel)
        if self.entropy.random() < 0.5:
            tunnel.send(frame(GO_AWAY, 0, 0, self.entropy.choice((0, 1, 2, 99))) * 100)
            yield STAY_S * self.entropy.random()
        else:
            line.send(encode_close(1000, "", self.entropy))
            for stream in tunnel.opened:
                tunnel.send(data(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
            yield 2 * self.entropy.random()

    # --- streams ---

    def _wait_for_stream(self, tunnel: Tunnel) -> Script:
        """Wait until a client asks for the endpoint."""
        for _ in range(int(STAY_S / 4 / WATCH_S)):
            tunnel.step()
            if tunnel.opened or not tunnel.is_open:
                return
            yield WATCH_S

    def takes_streams(self, line: Line) -> Script:
        """Take streams and never answer; acknowledge them or not, read what comes or not, and end some."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        reads = self.entropy.random() < 0.5
        acknowledges = self.entropy.random() < 0.5
        end = self.entropy.choice((0, 0, FIN, RST, FIN | RST))
        stay_s = STAY_S * self.entropy.random()
        while stay_s > 0 and tunnel.is_open:
            tunnel.step()
            for stream in tunnel.opened:
                if acknowledges:
                    tunnel.send(frame(WINDOW_UPDATE, ACK, stream, 100_000 if reads else 0))
                if end:
                    tunnel.send(frame(WINDOW_UPDATE, end, stream, 0))
            tunnel.opened.clear()
            yield WATCH_S * 5
            stay_s -= WATCH_S * 5

    def answers_badly(self, line: Line) -> Script:
        """Answer requests as hostile services do, in pieces or at once."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        stay_s = STAY_S * self.entropy.random()
        while stay_s > 0 and tunnel.is_open:
            tunnel.step()
            for stream in tunnel.opened:
                answer = self.entropy.choice(ANSWERS)(self.entropy)
                tunnel.send(frame(WINDOW_UPDATE, ACK, stream, 0))
                self._answer(tunnel, stream, answer)
                tunnel.send(frame(WINDOW_UPDATE, self.entropy.choice((0, 0, FIN, RST)), stream, 0))
            tunnel.opened.clear()
            yield WATCH_S
            stay_s -= WATCH_S

    def _answer(self, tunnel: Tunnel, stream: int, answer: bytes) -> None:
        """Send an answer, of which no more than a first window may be on its way."""
        answer = answer[:65_000]
        if self.entropy.random() < 0.2:
            tunnel.send(*(data(stream, answer[at : at + 1]) for at in range(min(len(answer), 2_000))))
        else:
            tunnel.send(data(stream, answer))

    def abuses_windows(self, line: Line) -> Script:
        """Send more than the window of a stream, or grant the server far more than it can use."""
        tunnel = self._tunnel(line)
        yield from self._registered(line, tunnel)
        yield from self._wait_for_stream(tunnel)
        if not tunnel.opened:
            return
        stream = tunnel.opened[0]
        if self.entropy.random() < 0.5:
            tunnel.send(data(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", ACK))
            for _ in range(20):
                tunnel.send(data(stream, bytes(30_000)))
        else:
            tunnel.send(frame(WINDOW_UPDATE, ACK, stream, 0xFFFF0000))
            for _ in range(200):
                tunnel.send(frame(WINDOW_UPDATE, 0, stream, 300))
        yield self.entropy.random()
