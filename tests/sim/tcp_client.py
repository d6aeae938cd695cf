"""TCP clients of a forwarder. They log every outcome."""

import random
from dataclasses import dataclass

from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from pico_core.timers import Timer
from tests.sim.world import World


@dataclass
class Talk:
    """One TCP connection through a forwarder and its outcome.

    The outcome is ``ok``, ``cut`` (reset), ``truncated`` (ended early), ``refused`` or ``timeout``.
    """

    size: int
    began_at: float
    outcome: str = ""
    received: int = 0


class TcpClient(BaseMachine):
    """Sends bytes to a forwarder's port, ends its side, and expects the same bytes and their end."""

    def __init__(self, world: World, entropy: random.Random, target: tuple[str, int], rate: float) -> None:
        super().__init__()
        self.world = world
        self.talks: list[Talk] = []
        self.stopped = False
        self._target = target
        self._entropy = entropy
        self._rate = rate

    def on_start(self, now: float) -> None:
        self.timers.schedule(now + self._entropy.expovariate(self._rate), self._next)

    def _next(self, now: float) -> None:
        if self.stopped:
            return
        self.timers.schedule(now + self._entropy.expovariate(self._rate), self._next)
        size = 400_000 if self._entropy.random() < 0.1 else int(5000 * self._entropy.random())
        self.talk(size, now)

    def talk(self, size: int, now: float) -> Talk:
        """Begin one connection."""
        talk = Talk(size, now)
        self.talks.append(talk)
        self.connect(*self._target, 10.0, _Talker(self, talk))
        return talk


class _Talker:
    """One connection of a TCP client."""

    def __init__(self, client: TcpClient, talk: Talk) -> None:
        self._client = client
        self._talk = talk
        self._rest = b"x" * talk.size
        self._sent = False
        self._channel: TcpChannel | None = None
        self._timer: Timer | None = None

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        self._channel = channel
        channel.user = self
        self._timer = self._client.timers.schedule(now + 60.0, self._time_out)
        self.on_writable(now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        self._end("refused")

    def on_writable(self, now: float) -> None:
        channel = self._channel
        if channel is None or self._sent:
            return
        while self._rest and channel.writable:
            piece, self._rest = self._rest[:16_384], self._rest[16_384:]
            channel.send(piece)
        if not self._rest:
            self._sent = True
            channel.send_eof()

    def on_data(self, data: Piece, now: float) -> None:
        self._talk.received += len(data)
        if self._talk.received > self._talk.size:
            raise self._client.world.violation(f"a TCP client got {self._talk.received} of {self._talk.size} bytes")

    def on_eof(self, now: float) -> None:
        self._end("ok" if self._talk.received == self._talk.size else "truncated")

    def on_lost(self, now: float) -> None:
        self._end("cut")

    def _time_out(self, now: float) -> None:
        self._end("timeout")

    def _end(self, outcome: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()
        self._talk.outcome = outcome
