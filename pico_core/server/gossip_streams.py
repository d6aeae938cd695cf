"""Gossip over TCP: the connections that other nodes open to us, and those that our own engine asks for.

``carry_out(now)`` does what the engine wants done after it was fed.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import StreamRequest
from pico_core.gossip.streams import InboundStream
from pico_core.gossip.wire.records import WireError
from pico_core.machine.admission import Dismissible
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, Logger
from pico_core.pieces import Piece
from pico_core.timers import NEVER

CarryOut: TypeAlias = Callable[[float], None]

STREAM_TIMEOUT_S = 10.0
"""How long a peer may take to send its request."""


class GossipHost(Connector, Logger, Protocol):
    """What a stream needs of the machine."""


class InboundGossipStream(Dismissible):
    """A join or leave that another node sends."""

    def __init__(
        self,
        host: GossipHost,
        gossip: Gossip,
        stream: InboundStream,
        channel: TcpChannel,
        carry_out: CarryOut,
        now: float,
    ) -> None:
        self.deadline_at = now + STREAM_TIMEOUT_S
        self._host = host
        self._gossip = gossip
        self._carry_out = carry_out
        self._channel = channel
        self._stream = stream
        channel.user = self
        host.timers.watch(self, now)

    @property
    def idle_since(self) -> float:
        """Since when the request is not whole: a node sends it at once."""
        return self.deadline_at - STREAM_TIMEOUT_S

    def dismiss(self, now: float) -> None:
        """End the connection: others need its place."""
        self._end()

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes; answer when the request is whole."""
        try:
            answer = self._stream.receive(bytes(data), now)
        except WireError as error:
            self._gossip.counters.malformed += 1
            self._host.warn("gossip", "malformed stream", host=self._channel.host, reason=str(error))
            self._end()
            return
        if answer is not None:
            self._channel.send(answer)
            self._end()
        self._carry_out(now)

    def on_eof(self, now: float) -> None:
        """It ended early."""
        self._end()

    def on_lost(self, now: float) -> None:
        """It is gone."""
        self._end()

    def on_writable(self, now: float) -> None:
        """The answer is on its way."""

    def on_deadline(self, now: float) -> None:
        """It takes too long."""
        self._end()

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._host.timers.unwatch(self)
        self._channel.close()


class OutboundGossipStream:
    """A join, repair or leave of ours."""

    def __init__(
        self, host: GossipHost, gossip: Gossip, request: StreamRequest, carry_out: CarryOut, now: float
    ) -> None:
        self.deadline_at = now + request.timeout_s
        self._host = host
        self._gossip = gossip
        self._carry_out = carry_out
        self._request = request
        self._channel: TcpChannel | None = None
        host.connect(request.host, request.port, request.timeout_s, self)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Send the request."""
        self._channel = channel
        channel.user = self
        self._host.timers.watch(self, now)
        channel.send(self._request.data)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The peer cannot be reached."""
        self._host.log("debug", "gossip", "no answer", addr=self._request.host, reason=reason)
        self._fail(now)

    def on_data(self, data: Piece, now: float) -> None:
        """Take the answer."""
        over = self._gossip.stream_received(self._request.number, bytes(data), now)
        if over:
            self._end()
        self._carry_out(now)

    def on_eof(self, now: float) -> None:
        """It ended early."""
        self._fail(now)

    def on_lost(self, now: float) -> None:
        """It is gone."""
        self._fail(now)

    def on_writable(self, now: float) -> None:
        """The request is on its way."""

    def on_deadline(self, now: float) -> None:
        """It takes too long."""
        self._fail(now)

    def _fail(self, now: float) -> None:
        self._end()
        self._gossip.stream_failed(self._request.number, now)
        self._carry_out(now)

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._host.timers.unwatch(self)
        if self._channel is not None:
            self._channel.close()
