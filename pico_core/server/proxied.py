"""A connection that a trusted proxy opened, until it has told in a PROXY header whose connection it passes on."""

from collections.abc import Callable
from typing import Protocol

from pico_core.machine.admission import Admission, Dismissible
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Logger
from pico_core.pieces import Piece
from pico_core.proxy_protocol import LATE, UNFINISHED, ProxyHeaderError, begins_like_header, read_proxy_header
from pico_core.timers import NEVER, Timers


class ProxiedHost(Logger, Protocol):
    """The part of the machine that reading the header needs."""

    timers: Timers
    admission: Admission


class ProxiedConnection(Dismissible):
    """Reads the header, tells the channel the client's address, and gives the channel to ``accept`` as if it were new.

    ``accept`` also gets the bytes behind the header, when the connection was opened, and the time.
    A connection without a valid header is closed: its client is not known. Where ``is_optional`` the peer may be
    one that sends none (a node of the cluster), and a connection that begins with something else is served as it is.
    The time for the first request begins before the header.
    """

    __slots__ = (
        "_accept",
        "_accepted_at",
        "_channel",
        "_data",
        "_host",
        "_is_optional",
        "_listener",
        "_refused",
        "deadline_at",
    )

    def __init__(
        self,
        channel: TcpChannel,
        listener: str,
        accept: Callable[[TcpChannel, bytes, float, float], None],
        host: ProxiedHost,
        now: float,
        *,
        timeout_s: float,
        is_optional: bool,
        refused: dict[tuple[str, str], int],
    ) -> None:
        """``refused`` counts by listener and reason."""
        self.deadline_at = now + timeout_s
        self._channel = channel
        self._listener = listener
        self._accept = accept
        self._accepted_at = now
        self._host = host
        self._is_optional = is_optional
        self._refused = refused
        self._data = b""
        channel.user = self
        host.timers.watch(self, now)

    @property
    def idle_since(self) -> float:
        """Since when the proxy has sent nothing; ``NEVER`` where it has."""
        return NEVER if self._data else self._accepted_at

    def dismiss(self, now: float) -> None:
        """Close the connection, on which nothing has come."""
        self._close()

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes of the header, and perhaps what follows it."""
        self._data += data
        if self._is_optional and not begins_like_header(self._data):
            self._serve(self._data, now)
            return
        try:
            read = read_proxy_header(self._data)
        except ProxyHeaderError as error:
            self._refuse(error.reason, str(error))
            return
        if read is None:
            return
        header, size = read
        self._channel.is_nameless = not header.host
        if header.host and not self._host.admission.told(self._channel, self._listener, header.host, now):
            self._host.timers.unwatch(self)
            return
        self._serve(self._data[size:], now)

    def on_eof(self, now: float) -> None:
        """The proxy ended the connection. Health checks do that before the first byte."""
        if self._data:
            self._refuse(UNFINISHED, "unfinished PROXY header")
        else:
            self._close()

    def on_lost(self, now: float) -> None:
        """Stop watching the deadline: the connection is gone."""
        self._host.timers.unwatch(self)

    def on_writable(self, now: float) -> None:
        """Do nothing: the node sends nothing before the header has come."""

    def on_deadline(self, now: float) -> None:
        """The header did not come in time."""
        self._refuse(LATE, "no PROXY header in time")

    def _serve(self, rest: bytes, now: float) -> None:
        self._host.timers.unwatch(self)
        self._accept(self._channel, rest, self._accepted_at, now)

    def _refuse(self, code: str, text: str) -> None:
        self._refused[self._listener, code] += 1
        self._host.warn(
            self._listener,
            "closed a connection of a trusted proxy, which has to begin with a PROXY header here",
            proxy=self._channel.host,
            code=code,
            reason=text,
        )
        self._close()

    def _close(self) -> None:
        self._host.timers.unwatch(self)
        self._channel.close()
