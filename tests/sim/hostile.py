"""The common part of hostile processes: a machine with many connections, each of which goes through a script.

A script is a generator: it sends, reads or ends its connection, and yields the seconds until it goes on. When it is
over, or the peer ends the connection, so is the connection.
"""

import random
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from pico_core.boundary import Data
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from tests.sim.world import World

CONNECT_TIMEOUT_S = 5.0
KEPT_BYTES = 1 << 24
"""How much of what a peer sent is kept for the script: more than windows allow between two looks at it."""
WATCH_S = 0.02
MOST_LINES = 150
"""Connections of one process at once. An attack that would need more waits for its next turn."""

HOSTILE = "hostile-"
"""How the endpoints begin that hostile agents and services have."""

Script: TypeAlias = Generator[float, None, None]
"""Yields how many seconds to wait."""


class Line:
    """One connection, and the script that it goes through: the user of its channel."""

    def __init__(self, owner: "Hostile", script: Callable[["Line"], Script]) -> None:
        self.owner = owner
        self.received = b""
        """Bytes that have arrived and were not taken, at most ``KEPT_BYTES``."""
        self.ended = False
        """Whether the peer ended its side."""
        self._script = script(self)
        self._channel: TcpChannel | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection can be used."""
        return self._channel is not None

    def begin(self, channel: TcpChannel, now: float) -> None:
        """Start the script on an open connection."""
        self._channel = channel
        channel.user = self
        self.owner.lines[self] = None
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._channel is None:
            return
        pause_s = next(self._script, None)
        if pause_s is None:
            (self.close if self.owner.entropy.random() < 0.5 else self.reset)()
        else:
            self.owner.timers.schedule(now + pause_s, self._go_on)

    # --- for scripts ---

    def send(self, data: Data) -> None:
        """Send bytes, unless the connection takes no more just now."""
        if self._channel is not None and self._channel.writable:
            self._channel.send(data)

    def take(self) -> bytes:
        """Return what has arrived since the last call."""
        data, self.received = self.received, b""
        return data

    def stop_reading(self) -> None:
        """Read nothing until ``read_again``."""
        if self._channel is not None:
            self._channel.pause_reading()

    def read_again(self) -> None:
        """Read what has arrived, and what comes."""
        if self._channel is not None:
            self._channel.resume_reading()

    def end(self) -> None:
        """End the own side."""
        if self._channel is not None:
            self._channel.send_eof()

    def close(self) -> None:
        """End the connection."""
        channel = self._forget()
        if channel is not None:
            channel.close()

    def reset(self) -> None:
        """Reset the connection."""
        channel = self._forget()
        if channel is not None:
            channel.abort()

    def wait_for(self, token: bytes, longest_s: float) -> Script:
        """Wait until ``token`` has arrived, or the time is over."""
        while token not in self.received and longest_s > 0:
            yield WATCH_S
            longest_s -= WATCH_S

    def _forget(self) -> TcpChannel | None:
        channel, self._channel = self._channel, None
        self.owner.lines.pop(self, None)
        return channel

    # --- what the machine reports ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        self.owner.dialing -= 1
        if self.owner.stopped:
            channel.abort()
        else:
            self.begin(channel, now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        self.owner.dialing -= 1

    def on_data(self, data: Piece, now: float) -> None:
        if len(self.received) < KEPT_BYTES:
            self.received += bytes(data)

    def on_eof(self, now: float) -> None:
        self.ended = True
        self.close()

    def on_lost(self, now: float) -> None:
        self._forget()

    def on_writable(self, now: float) -> None:
        """The script sends when its time comes."""


class Hostile(BaseMachine):
    """A process with a random stream of its own. ``lines`` are its open connections. Next: ``leave``."""

    def __init__(self, world: World, entropy: random.Random, kind: str) -> None:
        """``kind`` names it where its attacks are counted."""
        super().__init__()
        self.world = world
        self.entropy = entropy
        self.lines: dict[Line, None] = {}
        self.dialing = 0
        self.stopped = False
        self._kind = kind

    def note(self, script: Callable[[Line], Script]) -> None:
        """Count an attack by the name of its script."""
        self.world.sometimes[f"hostile {self._kind}: {script.__name__.replace('_', ' ')}"] += 1

    def leave(self, now: float) -> None:
        """Attack no more, and end all connections."""
        self.stopped = True
        for line in list(self.lines):
            (line.close if self.entropy.random() < 0.5 else line.reset)()


class Attacker(Hostile):
    """Begins ``rate`` attacks a second on one port of the servers. ``targets`` returns their addresses."""

    def __init__(
        self,
        world: World,
        entropy: random.Random,
        kind: str,
        targets: Callable[[], list[str]],
        port: int,
        rate: float,
    ) -> None:
        super().__init__(world, entropy, kind)
        self.targets = targets
        self._port = port
        self._rate = rate

    @property
    def attacks(self) -> Sequence[Callable[[Line], Script]]:
        """The scripts to choose from, each for one connection."""
        raise NotImplementedError

    def on_start(self, now: float) -> None:
        self.timers.schedule(now + self.entropy.expovariate(self._rate), self._next)

    def _next(self, now: float) -> None:
        if self.stopped:
            return
        self.timers.schedule(now + self.entropy.expovariate(self._rate), self._next)
        if self.targets():
            attack = self.entropy.choice(self.attacks)
            self.note(attack)
            self.open(self.target(), attack)

    def target(self) -> str:
        """Return the address of one server; empty while none runs."""
        targets = self.targets()
        return self.entropy.choice(targets) if targets else ""

    def open(self, target: str, script: Callable[[Line], Script]) -> None:
        """Open one more connection, which goes through ``script``, unless no server runs or there are too many."""
        if target and not self.stopped and len(self.lines) + self.dialing < MOST_LINES:
            self.dialing += 1
            self.connect(target, self._port, CONNECT_TIMEOUT_S, Line(self, script))
