"""The base of every machine: the connection table, dispatch of inputs, the queue of commands, timers and logs.

A subclass overrides the ``on_...`` hooks. Everything inside a machine is plain synchronous calls; only ``handle``,
``poll`` and ``deadline`` are seen from outside (see ``pico_core.boundary``).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from mypy_extensions import mypyc_attr

from pico_core.boundary import (
    Abort,
    Accepted,
    AcceptFailed,
    Command,
    ConfigRefused,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    DatagramReceived,
    EofReceived,
    FileRead,
    HandshakeBegan,
    HandshakeFailed,
    Input,
    ListenFailed,
    Listening,
    LogLinesDropped,
    ReadFile,
    Received,
    Resolve,
    Resolved,
    SelectSource,
    ShutdownRequested,
    SignalReceived,
    SourceSelected,
    StartTls,
    Tick,
    TlsStarted,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.changes import is_among
from pico_core.http.date import Dates
from pico_core.machine.admission import UNLIMITED, Admission, ConnectionLimits
from pico_core.machine.channel import TcpChannel
from pico_core.machine.lingering import Lingering
from pico_core.machine.logs import LINES_PER_WINDOW, WARNINGS_PER_WINDOW, LogLimits
from pico_core.machine.parts import (
    ConnectUser,
    FileUser,
    Flushable,
    LogField,
    MeasureUser,
    ResolveUser,
    SourceUser,
    TlsUser,
)
from pico_core.machine.turns import Turns
from pico_core.records import Log, MeasureProcess, ProcessMeasured
from pico_core.timers import NEVER, Timers

CLOSE_LINGER_S = 10.0
"""How long a peer may take to receive what is left after ``Close`` before its connection is reset."""


class _Unwanted:
    """The user of a connection that is not wanted any more."""

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Reset the connection: it came too late."""
        channel.abort()

    def on_connect_failed(self, reason: str, now: float) -> None:
        pass


_UNWANTED = _Unwanted()


@mypyc_attr(allow_interpreted_subclasses=True)
class BaseMachine:
    """Base of every machine: the handlers of inputs, the connection table, timers and logs."""

    def __init__(self, limits: ConnectionLimits = UNLIMITED, lines_per_window: int = LINES_PER_WINDOW) -> None:
        """``limits`` bound the connections: a server and a forwarder have peers that they do not choose.

        ``lines_per_window`` bounds the log lines of one kind (``LogLimits``).
        """
        self._commands: deque[Command] = deque()
        self.emit = self._commands.append
        self._on_closing = self._closing  # one for all channels
        self.timers = Timers()
        self.lingering = Lingering(self.timers)
        self.dates = Dates(self.wall_s)
        self.log_limits = LogLimits(self.timers, self.emit, lines_per_window)
        self.admission = Admission(self, limits)
        self.now = 0.0
        self.turns = Turns(self.timers, lambda: self.now)
        self._started = False
        self._wall_offset_s: float | None = None
        self._connections: dict[int, TcpChannel] = {}
        self._connecting: dict[int, ConnectUser] = {}
        self._closing_by: dict[int, float] = {}
        self._close_check_due = False
        self._starting_tls: dict[int, TlsUser] = {}
        self._next_connection = 2
        self._resolving: dict[int, ResolveUser] = {}
        self._selecting: dict[int, SourceUser] = {}
        self._reading: dict[int, FileUser] = {}
        self._measuring: dict[int, MeasureUser] = {}
        self._queries = 0
        self._dirty: dict[Flushable, None] = {}
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            WritingPaused: self._writing_paused,
            WritingResumed: self._writing_resumed,
            EofReceived: self._eof_received,
            ConnectionLost: self._connection_lost,
            Accepted: self._accepted,
            AcceptFailed: self._accept_failed,
            HandshakeBegan: self._handshake_began,
            HandshakeFailed: self._handshake_failed,
            TlsStarted: self._tls_started,
            Connected: self._connected,
            ConnectFailed: self._connect_failed,
            Tick: self._tick,
            Listening: self.on_listening,
            ListenFailed: self.on_listen_failed,
            DatagramReceived: self.on_datagram,
            Resolved: self._resolved,
            SourceSelected: self._source_selected,
            FileRead: self._file_read,
            ProcessMeasured: self._process_measured,
            ShutdownRequested: self.on_shutdown_requested,
            SignalReceived: self._signal_received,
            LogLinesDropped: self.on_log_lines_dropped,
            ConfigReloaded: self.on_config_reloaded,
            ConfigRefused: self._config_refused,
        }

    # --- the machine interface ---

    def handle(self, event: Input, now: float) -> None:
        """Take one input. The first one of any kind starts the machine."""
        self.now = now
        if isinstance(event, Received):  # nearly all of them
            channel = self._connections.get(event.connection)
            if channel is not None:
                if channel.held is None:
                    channel.user.on_data(event.data, now)
                else:
                    channel.held += event.data
            return
        if not self._started:
            self._started = True
            if isinstance(event, Tick):
                self._read_wall_clock(event, now)  # ``on_start`` may ask for it
            self.on_start(now)
        self._handlers[type(event)](event, now)

    def poll(self) -> Command | None:
        """Return the next command; what was gathered during the turn comes last, one message per tunnel."""
        commands = self._commands
        if commands:
            return commands.popleft()
        while self._dirty:
            dirty = self._dirty
            self._dirty = {}
            for each in dirty:
                each.flush(self.now)
            if commands:
                return commands.popleft()
        return None

    def deadline(self) -> float | None:
        """Return when the next ``Tick`` is due, in seconds on the clock of ``now``; ``None`` for never."""
        at = self.timers.deadline()
        return None if at == NEVER else at

    # --- for the parts of a machine ---

    def connect(
        self, host: str, port: int, timeout_s: float, user: ConnectUser, tls: str = "", server_name: str = ""
    ) -> int:
        """Ask for an outbound connection; ``user`` is told of the outcome. Next: ``cancel_connect`` if unwanted.

        ``tls`` names a TLS profile of the driver; empty means plain TCP. The peer's certificate must be for
        ``server_name``, or for ``host`` where that is empty.
        """
        connection = self.expect_connection(user)
        self.emit(Connect(connection, host, port, timeout_s, tls, server_name))
        return connection

    def expect_connection(self, user: ConnectUser) -> int:
        """Number a connection that a command asks for; ``user`` is told of the outcome. Next: emit that command."""
        connection = self._next_connection
        self._next_connection += 2
        self._connecting[connection] = user
        self.admission.dialing(self.now)
        return connection

    def start_tls(self, channel: TcpChannel, tls: str, server_name: str, user: TlsUser, received: bytes = b"") -> None:
        """Begin a TLS handshake on a connection that is open. Next: ``user`` is told of the outcome."""
        self._starting_tls[channel.id] = user
        self.emit(StartTls(channel.id, tls, server_name, received))

    def resolve(self, name: str, timeout_s: float, user: ResolveUser) -> None:
        """Ask for the addresses of a name; ``user`` is told the outcome."""
        self._queries += 1
        self._resolving[self._queries] = user
        self.emit(Resolve(self._queries, name, timeout_s))

    def select_source(self, address: str, user: SourceUser) -> None:
        """Ask which address of this host its packets to ``address`` come from; ``user`` is told."""
        self._queries += 1
        self._selecting[self._queries] = user
        self.emit(SelectSource(self._queries, address))

    def read_file(self, path: str, max_bytes: int, user: FileUser) -> None:
        """Ask for the content of a file; ``user`` is told."""
        self._queries += 1
        self._reading[self._queries] = user
        self.emit(ReadFile(self._queries, path, max_bytes))

    def measure_process(self, user: MeasureUser) -> None:
        """Ask what the process uses; ``user`` is called with the answer."""
        self._queries += 1
        self._measuring[self._queries] = user
        self.emit(MeasureProcess(self._queries))

    def cancel_connect(self, connection: int) -> None:
        """Drop a connection that is still being opened; its user is not called."""
        if connection in self._connecting:
            self._connecting[connection] = _UNWANTED
            self.emit(Abort(connection))

    def mark_dirty(self, part: Flushable) -> None:
        """Have ``part.flush`` called once before this turn ends."""
        self._dirty[part] = None

    def log(self, level: str, subsystem: str, message: str, **fields: LogField) -> None:
        """Emit one log event, within ``LogLimits``. ``message`` is a fixed text; what varies goes into ``fields``."""
        self.log_limits.log(Log(level, subsystem, message, fields), self.now)

    def warn(self, subsystem: str, message: str, **fields: LogField) -> None:
        """Emit a warning, at most ``WARNINGS_PER_WINDOW`` of one kind in ten seconds (a peer may cause it)."""
        self.log_limits.log(Log("warning", subsystem, message, fields), self.now, WARNINGS_PER_WINDOW)

    def wall_s(self, now: float) -> float:
        """Return the wall clock's time at ``now``, in seconds since the epoch; 0.0 while the driver has not told it.

        The clock is read at every ``Tick`` and advanced by ``now`` in between. So when the clock of the host is set,
        the answer is wrong until the next tick and no longer. Two answers may be in the wrong order for that reason:
        take ``now`` for intervals.
        """
        return 0.0 if self._wall_offset_s is None else now + self._wall_offset_s

    @property
    def connection_count(self) -> int:
        """How many connections are open, closing ones included."""
        return len(self._connections)

    # --- hooks for subclasses ---

    def on_start(self, now: float) -> None:
        """Called once, with the first input. Emit ``Listen`` and ``Connect`` commands here."""

    def on_listening(self, event: Listening, now: float) -> None:
        """A listener is open."""

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """A listener could not be opened."""

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """A peer connected. Set ``channel.user``, or close the channel."""

    def on_datagram(self, event: DatagramReceived, now: float) -> None:
        """A datagram arrived at a listener for UDP; its source may be forged."""

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """The operator wants the machine to stop."""

    def on_log_lines_dropped(self, event: LogLinesDropped, now: float) -> None:
        """The sink has dropped lines. Override it to publish their number; the sink itself logs it when it can."""

    def on_config_reloaded(self, event: ConfigReloaded, now: float) -> None:
        """The operator's configuration was read again. Override it to take over what can change while running."""
        self.log("warning", "config", "this configuration cannot be changed while running")

    def log_reload(self, changed: Iterable[str], applied: Collection[str]) -> None:
        """Say which keys have changed, and which of them are not among those that can be ``applied`` while running."""
        keys = list(changed)
        if not keys:
            self.log("info", "config", "configuration read again: no key has changed")
            return
        now = [key for key in keys if is_among(key, applied)]
        later = [key for key in keys if key not in now]
        if now:
            self.log("info", "config", "configuration read again", changed=", ".join(now))
        if later:
            self.log("warning", "config", "some changes need a restart", keys=", ".join(later))

    # --- dispatch ---

    def _eof_received(self, event: EofReceived, now: float) -> None:
        channel = self._connections.get(event.connection)
        if channel is not None:
            channel.eof(now)

    def _writing_paused(self, event: WritingPaused, now: float) -> None:
        channel = self._connections.get(event.connection)
        if channel is not None:
            channel.writable = False

    def _writing_resumed(self, event: WritingResumed, now: float) -> None:
        channel = self._connections.get(event.connection)
        if channel is not None:
            channel.writable = True
            channel.user.on_writable(now)

    def _connection_lost(self, event: ConnectionLost, now: float) -> None:
        channel = self._connections.pop(event.connection, None)
        if channel is not None:
            self._closing_by.pop(event.connection, None)
            if self._starting_tls and (user := self._starting_tls.pop(event.connection, None)) is not None:
                user.on_tls_failed(event.reason, now)
            self.admission.lost(channel)
            if event.refused:
                channel.refusal = event.reason
            channel.lost(now)

    def _accepted(self, event: Accepted, now: float) -> None:
        self.admission.handshake_over(event.listener)
        channel = self._open(event)
        if self.admission.admit(channel, event.listener, now):
            self.on_accepted(channel, event.listener, now)

    def _accept_failed(self, event: AcceptFailed, now: float) -> None:
        self.admission.accept_failed(event.listener, event.reason, now)

    def _handshake_began(self, event: HandshakeBegan, now: float) -> None:
        self.admission.handshake_began(event.listener)

    def _handshake_failed(self, event: HandshakeFailed, now: float) -> None:
        self.admission.handshake_over(event.listener)
        self.log("debug", event.listener, "TLS handshake failed", client=event.host, reason=event.reason)

    def _tls_started(self, event: TlsStarted, now: float) -> None:
        user, channel = self._starting_tls.pop(event.connection, None), self._connections.get(event.connection)
        if user is not None and channel is not None:
            user.on_tls_started(now)

    def _connected(self, event: Connected, now: float) -> None:
        channel = self._open(event)
        self._connecting.pop(event.connection).on_connected(channel, now)

    def _connect_failed(self, event: ConnectFailed, now: float) -> None:
        self.admission.dial_failed()
        self._connecting.pop(event.connection).on_connect_failed(event.reason, now)

    def _resolved(self, event: Resolved, now: float) -> None:
        user = self._resolving.pop(event.query, None)
        if user is not None:
            user.on_resolved(event.addresses, event.error, now)

    def _source_selected(self, event: SourceSelected, now: float) -> None:
        user = self._selecting.pop(event.query, None)
        if user is not None:
            user.on_source(event.host, now)

    def _file_read(self, event: FileRead, now: float) -> None:
        user = self._reading.pop(event.query, None)
        if user is not None:
            user.on_file(event.content, event.error, now)

    def _process_measured(self, event: ProcessMeasured, now: float) -> None:
        user = self._measuring.pop(event.query, None)
        if user is not None:
            user(event, now)

    def _tick(self, event: Tick, now: float) -> None:
        self._read_wall_clock(event, now)
        self.timers.fire(now)

    def _read_wall_clock(self, event: Tick, now: float) -> None:
        if event.wall_s:
            self._wall_offset_s = event.wall_s - now

    def _config_refused(self, event: ConfigRefused, now: float) -> None:
        self.log("warning", "config", "the changed configuration is not used", reason=event.reason)

    def _signal_received(self, event: SignalReceived, now: float) -> None:
        if event.name == "SIGHUP":
            self.log("info", "config", "nothing to read again: the configuration was read just now")
        else:
            self.log("info", "process", "signal ignored", signal=event.name)

    def _open(self, event: Accepted | Connected) -> TcpChannel:
        channel = TcpChannel(event.connection, event.host, self.emit, self._on_closing, self.turns)
        self._connections[event.connection] = channel
        return channel

    def _closing(self, connection: int) -> None:
        if not self._close_check_due:
            self._close_check_due = True
            self.timers.schedule(self.now + CLOSE_LINGER_S, self._reset_slow)
        self._closing_by[connection] = self.now + CLOSE_LINGER_S

    def _reset_slow(self, now: float) -> None:
        self._close_check_due = False
        while self._closing_by:
            connection, reset_at = next(iter(self._closing_by.items()))
            if reset_at > now:
                self._close_check_due = True
                self.timers.schedule(reset_at, self._reset_slow)
                return
            del self._closing_by[connection]
            self._connections[connection].abort()
