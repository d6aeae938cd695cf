"""Hostile services: what stands behind an honest agent, and answers as no service may.

``ANSWERS`` are also what hostile agents put into the streams that they take.
"""

import random
from collections.abc import Callable, Sequence

from pico_core.boundary import Exit, Listen, ShutdownRequested
from pico_core.machine.channel import TcpChannel
from tests.sim.hostile import HOSTILE, Hostile, Line, Script
from tests.sim.world import World

HOSTILE_PORT = 3002
HOSTILE_HTTP = "hostile"
"""The name that a deployment has for the protocol of an endpoint with this service."""
SERVICE = HOSTILE + "service"

STUCK_S = 12.0
"""How long a service that is stuck holds its connection."""

OK = b"HTTP/1.1 200 OK\r\n"


def _garbage(entropy: random.Random) -> bytes:
    return entropy.randbytes(entropy.randrange(1, 5_000))


def _half_a_head(entropy: random.Random) -> bytes:
    return OK + b"X: " + b"x" * entropy.choice((0, 100, 40_000))


def _long_head(entropy: random.Random) -> bytes:
    return OK + b"X: y\r\n" * entropy.choice((900, 1_100, 9_000)) + b"Content-Length: 0\r\n\r\n"


def _half_a_body(entropy: random.Random) -> bytes:
    return OK + b"Content-Length: 1000\r\n\r\n" + bytes(entropy.randrange(1_000))


def _more_than_announced(entropy: random.Random) -> bytes:
    return OK + b"Content-Length: 5\r\n\r\nhello" + OK + b"Content-Length: 6\r\n\r\npoison"


def _interim_flood(entropy: random.Random) -> bytes:
    return (
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * entropy.choice((10, 255, 300, 2_000)) + OK + b"Content-Length: 0\r\n\r\n"
    )


def _unasked_upgrade(entropy: random.Random) -> bytes:
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + _garbage(entropy)


def _two_framings(entropy: random.Random) -> bytes:
    return OK + entropy.choice(
        (
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            b"Content-Length: -5\r\n\r\n",
            b"Content-Length: 5, 5\r\n\r\nhello",
            b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        )
    )


def _bad_chunks(entropy: random.Random) -> bytes:
    return (
        OK
        + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        + entropy.choice(
            (
                b"xyz\r\n",
                b"fffffffffffffffff\r\n",
                b"1" + b";x=" + b"y" * 20_000 + b"\r\nx\r\n0\r\n\r\n",
                b"1;x\r\nx\r\n" * 5_000 + b"0\r\n\r\n",
                b"0\r\n" + b"X: y\r\n" * 3_000 + b"\r\n",
                b"5\r\nhello!\r\n0\r\n\r\n",
                b"",
            )
        )
    )


def _bad_fields(entropy: random.Random) -> bytes:
    return (
        OK
        + entropy.choice((b"X\x00: y", b" x: y", b"x : y", b"x: y\r\n folded", b": y", b"x: \x7f\x01", b"\xff: y"))
        + (b"\r\nContent-Length: 0\r\n\r\n")
    )


def _own_fields(entropy: random.Random) -> bytes:
    """Speak as a node would."""
    status = entropy.choice((b"421 Misdirected Request", b"502 Bad Gateway", b"503 Service Unavailable"))
    fields = (
        b"X-Pico-Failure: no-route\r\nX-Pico-Error: overloaded; by=server\r\nX-Pico-Request-ID: 0\r\nRetry-After: 9\r\n"
    )
    return b"HTTP/1.1 " + status + b"\r\n" + fields + b"Content-Length: 0\r\n\r\n"


def _bad_status_line(entropy: random.Random) -> bytes:
    line = entropy.choice(
        (b"HTTP/1.1 99 X", b"HTTP/1.1 1000 X", b"HTTP/2 200", b"HTTP/1.1", b"200 OK", b"HTTP/0.9 200 OK")
    )
    return line + b"\r\nContent-Length: 0\r\n\r\n"


def _body_where_none_may_be(entropy: random.Random) -> bytes:
    status = entropy.choice((b"204 No Content", b"304 Not Modified", b"205 Reset Content"))
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nhello"


def _unframed(entropy: random.Random) -> bytes:
    return b"HTTP/1.0 200 OK\r\n\r\n" + bytes(entropy.randrange(60_000))


def _honest(entropy: random.Random) -> bytes:
    size = entropy.randrange(1_000)
    return OK + b"Content-Length: %d\r\n\r\n" % size + bytes(size)


ANSWERS: tuple[Callable[[random.Random], bytes], ...] = (
    _garbage,
    _half_a_head,
    _long_head,
    _half_a_body,
    _more_than_announced,
    _interim_flood,
    _unasked_upgrade,
    _two_framings,
    _bad_chunks,
    _bad_fields,
    _own_fields,
    _bad_status_line,
    _body_where_none_may_be,
    _unframed,
    _honest,
)
"""The bytes to send, whole or in part."""


class HostileService(Hostile):
    """A service behind an honest agent. Connections come from the agent alone."""

    def __init__(self, world: World, entropy: random.Random) -> None:
        super().__init__(world, entropy, "service")

    @property
    def ways(self) -> Sequence[Callable[[Line], Script]]:
        """The scripts to choose from, each for one connection."""
        return (
            self.answers_badly,
            self.answers_badly,
            self.answers_badly,
            self.answers_before_it_is_asked,
            self.answers_slowly,
            self.never_answers,
            self.does_not_read,
            self.ends_at_once,
        )

    def on_start(self, now: float) -> None:
        self.emit(Listen("hostile", "", HOSTILE_PORT))

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        way = self.entropy.choice(self.ways)
        self.note(way)
        Line(self, way).begin(channel, now)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        self.emit(Exit(0, ""))

    def _answer(self) -> bytes:
        return self.entropy.choice(ANSWERS)(self.entropy)

    def answers_badly(self, line: Line) -> Script:
        """Answer what was asked, several times if the connection is kept."""
        for _ in range(self.entropy.randrange(1, 5)):
            yield from line.wait_for(b"\r\n\r\n", STUCK_S)
            line.take()
            line.send(self._answer())
            yield 0.5 * self.entropy.random()

    def answers_before_it_is_asked(self, line: Line) -> Script:
        line.send(self._answer())
        yield STUCK_S * self.entropy.random()

    def answers_slowly(self, line: Line) -> Script:
        """Answer a byte at a time."""
        yield from line.wait_for(b"\r\n\r\n", STUCK_S)
        for byte in self._answer()[:200]:
            line.send(bytes((byte,)))
            yield 0.2 * self.entropy.random()

    def never_answers(self, line: Line) -> Script:
        yield STUCK_S * self.entropy.random()

    def does_not_read(self, line: Line) -> Script:
        line.stop_reading()
        yield STUCK_S * self.entropy.random()

    def ends_at_once(self, line: Line) -> Script:
        """Take a request, or none, and leave; the script's end ends the connection."""
        yield from line.wait_for(b"\r\n\r\n", 0.1 * self.entropy.random())
