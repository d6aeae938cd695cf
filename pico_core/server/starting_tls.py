"""A connection on which TLS begins late: behind the PROXY header, which comes before everything else."""

from collections.abc import Callable
from typing import Protocol

from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Logger, TlsUser
from pico_core.pieces import Piece


class TlsStarter(Logger, Protocol):
    """The part of the machine that the start of TLS needs."""

    def start_tls(self, channel: TcpChannel, tls: str, server_name: str, user: TlsUser, received: bytes = b"") -> None:
        """Begin a TLS handshake on a connection that is open. Next: ``user`` is told of the outcome."""


class StartingTls:
    """Begins the handshake, then gives the channel to ``accept`` as if it were new."""

    __slots__ = ("_accept", "_channel", "_host", "_listener")

    def __init__(
        self,
        channel: TcpChannel,
        tls: str,
        listener: str,
        accept: Callable[[TcpChannel, float], None],
        host: TlsStarter,
        received: bytes,
    ) -> None:
        """``tls`` names the profile of the port, ``received`` has the bytes behind the header."""
        self._channel = channel
        self._listener = listener
        self._accept = accept
        self._host = host
        channel.user = self
        host.start_tls(channel, tls, "", self, received)

    def on_tls_started(self, now: float) -> None:
        """The handshake is done: hand the connection to its port."""
        self._accept(self._channel, now)

    def on_tls_failed(self, reason: str, now: float) -> None:
        """Log why the handshake failed; the connection is closed already."""
        self._host.log("debug", self._listener, "TLS handshake failed", client=self._channel.host, reason=reason)

    def on_data(self, data: Piece, now: float) -> None:
        """Do nothing: no bytes are announced before the handshake is done."""

    def on_eof(self, now: float) -> None:
        """Do nothing: no end is announced before the handshake is done."""

    def on_lost(self, now: float) -> None:
        """Told by ``on_tls_failed``."""

    def on_writable(self, now: float) -> None:
        """Do nothing: the node sends nothing before the handshake is done."""
