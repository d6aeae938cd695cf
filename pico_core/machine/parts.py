"""The calls that the parts of a machine may make to it, as narrow protocols: none of them knows the whole machine."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from pico_core.boundary import Command
from pico_core.config.logs import LogConfig
from pico_core.http.date import Dates
from pico_core.machine.channel import TcpChannel
from pico_core.machine.lingering import Lingering
from pico_core.records import ProcessMeasured
from pico_core.timers import Timers

LogField: TypeAlias = str | int | float | bool

MeasureUser: TypeAlias = Callable[[ProcessMeasured, float], None]
"""The part that asked what the process uses: called once with the answer and ``now``, never by ``measure_process``."""

STOP_HINT = "a second signal stops it at once"
"""The hint in the line that begins a drain, beside the work that is waited for and the longest wait."""


class ConnectUser(Protocol):
    """The part that asked for an outbound connection. Exactly one of these is called, and never by ``connect``."""

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """The connection is open. Set ``channel.user``."""

    def on_connect_failed(self, reason: str, now: float) -> None:
        """It could not be opened; ``reason`` is one readable clause."""


class TlsUser(Protocol):
    """The part that asked for TLS on a connection that was open. Exactly one of these is called."""

    def on_tls_started(self, now: float) -> None:
        """The handshake is done; the channel goes on."""

    def on_tls_failed(self, reason: str, now: float) -> None:
        """The handshake has failed, and the channel is lost; ``reason`` is one readable clause."""


class ResolveUser(Protocol):
    """The part that asked for the addresses of a name."""

    def on_resolved(self, addresses: tuple[str, ...], error: str, now: float) -> None:
        """The answer, as in ``boundary.Resolved``. Called once, and never by ``resolve``."""


class SourceUser(Protocol):
    """The part that asked which address of this host packets to another one come from."""

    def on_source(self, host: str, now: float) -> None:
        """The answer, as in ``boundary.SourceSelected``. Called once, and never by ``select_source``."""


class FileUser(Protocol):
    """The part that asked for the content of a file."""

    def on_file(self, content: bytes, error: str, now: float) -> None:
        """The answer, as in ``boundary.FileRead``. Called once, and never by ``read_file``."""


class FileReader(Protocol):
    """Reads small files of this host."""

    def read_file(self, path: str, max_bytes: int, user: FileUser) -> None:
        """Ask for the content of a file. Next: ``user.on_file``."""


class ProcessMeter(Protocol):
    """Tells what the process uses."""

    def measure_process(self, user: MeasureUser) -> None:
        """Ask for it. Next: ``user`` is called with the answer."""


class Connector(Protocol):
    """Looks names up and opens outbound connections, and watches what they wait for."""

    timers: Timers

    def resolve(self, name: str, timeout_s: float, user: ResolveUser) -> None:
        """Ask for the addresses of a name. Next: ``user.on_resolved``."""

    def connect(
        self, host: str, port: int, timeout_s: float, user: ConnectUser, tls: str = "", server_name: str = ""
    ) -> int:
        """Ask for an outbound connection; return its number. Next: ``cancel_connect``, if it is not wanted any more.

        ``tls`` names a TLS profile of the driver; empty means plain TCP. The peer's certificate must be for
        ``server_name``, or for ``host`` where that is empty.
        """

    def start_tls(self, channel: TcpChannel, tls: str, server_name: str, user: TlsUser, received: bytes = b"") -> None:
        """Begin a TLS handshake on a connection that is open. Next: ``user`` is told of the outcome."""

    def cancel_connect(self, connection: int) -> None:
        """Drop a connection that is still being opened; its user is not called."""


class AnsweringHost(Protocol):
    """The part of the machine that a connection needs to answer its peer."""

    timers: Timers
    lingering: Lingering
    """Takes the connection after its last answer."""
    dates: Dates


class SourceSelector(Protocol):
    """Says which address of this host its packets come from."""

    def select_source(self, address: str, user: SourceUser) -> None:
        """Ask for the address that packets to ``address``, an IP address, come from. Next: ``user.on_source``."""


class WallClock(Protocol):
    """Tells the wall time, which can jump."""

    def wall_s(self, now: float) -> float:
        """Return the seconds since the epoch; 0.0 while the driver has not told it."""


class Logger(Protocol):
    """Takes log events. ``message`` is a fixed text; what varies goes into ``fields``."""

    def log(self, level: str, subsystem: str, message: str, **fields: LogField) -> None:
        """Emit one log event: ``level`` is ``debug``, ``info``, ``warning`` or ``error``."""

    def warn(self, subsystem: str, message: str, **fields: LogField) -> None:
        """Emit a warning that a peer may cause: of one kind, only some in a while."""


class AdminHost(ProcessMeter, Logger, Protocol):
    """The part of its machine that an admin port needs."""

    def use_log(self, config: LogConfig) -> None:
        """Log as ``config`` says from now on."""


class PagesHost(Connector, AdminHost, Protocol):
    """The part of the machine that pages need to ask other processes."""


class Flushable(Protocol):
    """A part that gathers output during a turn and emits it once, when the machine is polled."""

    def flush(self, now: float) -> None:
        """Emit what was gathered."""


class FlushScheduler(Protocol):
    """Calls the parts that gathered output at the end of a turn."""

    def mark_dirty(self, part: Flushable) -> None:
        """Have ``part.flush`` called once before this turn ends."""


class Emitter(FlushScheduler, Protocol):
    """Takes commands too."""

    emit: Callable[[Command], None]
