"""A listener whose raw streams the program takes: each waits for it, and is reset if it is not taken in time."""

from typing import Protocol

from pico_core.agent.service import ServiceHost
from pico_core.agent.tcp_streams import TcpStreams
from pico_core.config.agent import ListenerConfig
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import ConnectUser

MAX_UNTAKEN = 1_024
"""Streams of one listener that wait for the program; further ones are refused."""


class OfferHost(ServiceHost, Protocol):
    """The part of the machine that an offer of a stream needs."""

    now: float

    def offer(self, listener: int, offer: "Offer") -> int:
        """Offer a stream to the program; return the number of its connection.

        Next: ``offer`` is told whether the connection opened, and ``Offer.taken`` is called when the program takes it.
        """

    def withdraw(self, connection: int) -> None:
        """Forget an offer."""


class ProgramStreams(TcpStreams):
    """A ``StreamHandler`` that joins each stream with a connection to the program."""

    def __init__(self, host: OfferHost, config: ListenerConfig, listener: int) -> None:
        super().__init__(host, config)
        self.untaken = 0
        self._program = host
        self._listener = listener
        self._timeout_s = config.timeout_s

    def connect(self, user: ConnectUser) -> int:
        """Offer the stream to the program."""
        self.untaken += 1
        return Offer(self._program, self, self._listener, user, self._timeout_s).connection


class Offer:
    """A stream that the program has not taken yet, and the ``ConnectUser`` of its connection."""

    def __init__(
        self, host: OfferHost, streams: ProgramStreams, listener: int, user: ConnectUser, timeout_s: float
    ) -> None:
        self._host = host
        self._streams = streams
        self._user = user
        self._channel: TcpChannel | None = None
        self._timeout_s = timeout_s
        self._timer = host.timers.schedule(host.now + timeout_s, self._expired)
        self.connection = host.offer(listener, self)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """The stream waits for the program; bytes that come meanwhile do too. Too many do not wait."""
        self._channel = channel
        self._user.on_connected(channel, now)
        if self._streams.untaken > MAX_UNTAKEN:
            self._reset(f"{MAX_UNTAKEN} streams wait for the program already", now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The program does not listen any more."""
        self.taken()
        self._host.withdraw(self.connection)
        self._user.on_connect_failed(reason, now)

    def taken(self) -> None:
        """Stop counting it: the program has taken it, or never will."""
        self._streams.untaken -= 1
        self._timer.cancel()

    def _expired(self, now: float) -> None:
        self._reset(f"the program did not take the stream within {self._timeout_s:g} s", now)

    def _reset(self, reason: str, now: float) -> None:
        self.taken()
        self._host.withdraw(self.connection)
        if self._channel is not None:
            self._host.warn("agent", "reset a stream", endpoint=self._streams.endpoint, reason=reason)
            user = self._channel.user
            self._channel.abort()
            user.on_lost(now)
