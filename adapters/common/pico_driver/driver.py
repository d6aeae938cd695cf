"""A driver without its loop: carries out the commands of a machine and tells it what happened.

A runtime's driver subclasses ``Driver`` and fills in how its loop waits: for sockets, for a time, for a lookup, for a
connection to open. Nothing here awaits anything but those methods, so it runs under every loop.
"""

import itertools
import signal
import socket
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pico_core.boundary import (
    Abort,
    Accepted,
    AcceptFailed,
    Close,
    ConfigRefused,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    FileRead,
    HandshakeFailed,
    Input,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Machine,
    PauseReading,
    ReadFile,
    Received,
    Resolve,
    Resolved,
    ResumeReading,
    SelectSource,
    Send,
    SendDatagram,
    SendEof,
    SignalReceived,
    SourceSelected,
    StartTls,
    StopListening,
    TlsStarted,
)
from pico_core.errors import ConfigError
from pico_core.records import Sink
from pico_driver import sockets
from pico_driver.connection import Connection
from pico_driver.early import EarlyListeners
from pico_driver.files import read_file
from pico_driver.handshakes import START_TLS_TIMEOUT_S, Cancellable, Handshakes
from pico_driver.listeners import DatagramSocket, ListenerOwner, ListeningSocket
from pico_driver.options import DriverOptions
from pico_driver.reads import Reads
from pico_driver.signals import SIGNALS
from pico_driver.turn import Conversation

if TYPE_CHECKING:
    from pico_driver.tls import SecureConnection

ConnectionT = TypeVar("ConnectionT", bound=Connection)
Result = TypeVar("Result")
WatchedSocket: TypeAlias = ListeningSocket | DatagramSocket
Bind: TypeAlias = Callable[[list[sockets.SocketAddress]], socket.socket]
ListenerType: TypeAlias = Callable[[ListenerOwner, str, socket.socket], WatchedSocket]


class Driver(Conversation, Generic[ConnectionT]):
    """Owner of the sockets, timers and lookups of one machine. Next: ``tick``, which begins the conversation."""

    def __init__(
        self,
        machine: Machine,
        sink: Sink,
        clock: Callable[[], float],
        options: DriverOptions,
    ) -> None:
        super().__init__(machine, sink, clock)
        self._reads = Reads()
        self.receive_buffer = self._reads.buffer
        self.turn_bytes = 0
        self._early = options.get("early") or EarlyListeners()
        self._binding: dict[str, Cancellable] = {}
        self._numbers = itertools.count(1, 2)
        self._connections: dict[int, ConnectionT] = {}
        self._connecting: dict[int, Cancellable] = {}
        self._reload = options.get("reload")
        self._use_log = options.get("use_log_config")
        self._take_spans = options.get("take_spans")
        self._handshakes = Handshakes(self, self, clock, self.log, options.get("profiles"))
        self._listeners: dict[str, WatchedSocket] = {}
        self.crowded = 0
        self.perform |= {
            Listen: self._listen,
            ListenDatagram: self._listen_datagram,
            StopListening: self._stop_listening,
            Connect: self._connect,
            StartTls: self._start_tls,
            Send: self._send,
            SendEof: self._send_eof,
            Close: self._close,
            Abort: self._abort,
            PauseReading: self._pause_reading,
            ResumeReading: self._resume_reading,
            SendDatagram: self._send_datagram,
            Resolve: self._resolve,
            SelectSource: self._select_source,
            ReadFile: self._read_file,
        }

    def close(self) -> None:
        """End the conversation and close the listeners. Next: the runtime closes the connections."""
        super().close()
        self._handshakes.close()
        for listener in self._listeners.values():
            self._unwatch(listener)
            listener.abandon()
        self._early.close()

    def signalled(self, number: signal.Signals) -> Input:
        """Return the input that a signal becomes for the machine."""
        if number.name != "SIGHUP" or self._reload is None:
            return SIGNALS[number]
        try:
            return ConfigReloaded(self._reload())
        except ConfigError as error:
            return ConfigRefused(str(error))

    def taken(self, event: Input) -> Input:
        """Read the configuration again for a SIGHUP that came before this driver could."""
        is_reload = isinstance(event, SignalReceived) and event.name == "SIGHUP"
        return self.signalled(signal.SIGHUP) if is_reload else event

    # --- what the loop fills in ---

    @abstractmethod
    def _watch(self, listener: WatchedSocket) -> None:
        """Have ``listener.ready`` called whenever its socket is readable."""

    @abstractmethod
    def _unwatch(self, listener: WatchedSocket) -> None:
        """Undo ``_watch``, if that was called and not undone before."""

    @abstractmethod
    def begin(self, work: Coroutine[Any, Any, None]) -> Cancellable:
        """Start one of the rare things that wait: lookups, outgoing connections, new listeners."""

    @abstractmethod
    async def _within(self, timeout_s: float, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of ``work``; raises ``sockets.timed_out`` when that takes longer."""

    @abstractmethod
    async def sleep(self, duration_s: float) -> None:
        """Wait for ``duration_s`` seconds."""

    @abstractmethod
    async def _look_up_name(self, host: str, port: int) -> list[sockets.SocketAddress]:
        """Call ``sockets.lookup`` in one of ``LOOKUPS_AT_ONCE`` threads; after a cancel the thread runs on."""

    @abstractmethod
    async def _dial(self, addresses: list[sockets.SocketAddress]) -> socket.socket:
        """Return a socket connected to one of these addresses; raises ``OSError``."""

    @abstractmethod
    async def _adopt(self, number: int, connected: socket.socket, secure: "SecureConnection | None") -> None:
        """Make a connection of a socket that was asked for, with the owner ``secure`` if any. Next: ``connected``."""

    @abstractmethod
    def _send(self, command: Send) -> None:
        """Send, in as few calls as possible."""

    # --- connections that open and end ---

    def accepted(
        self,
        connection: ConnectionT,
        listener: str,
        host: str,
        port: int,
    ) -> None:
        """Announce, under a new number, a connection that a peer opened."""
        connection.number = number = next(self._numbers)
        self._connections[number] = connection
        self.hand_over(Accepted(number, listener, host, port))

    def join(self, connection: ConnectionT, event: Connected) -> None:
        """Announce a connection to the embedding program, which the machine has asked for."""
        self._connections[event.connection] = connection
        self.hand_over(event)

    def connected(self, connection: ConnectionT, host: str, port: int) -> None:
        """Announce a connection that the machine asked for, unless the machine has given it up meanwhile."""
        number = connection.number
        if self._connecting.pop(number, None) is None:
            connection.reset()
            return
        self._connections[number] = connection
        self.announce(Connected(number, host, port))

    def connect_failed(self, number: int, error: Exception) -> None:
        """Announce that a connection could not be opened, unless the machine has given it up meanwhile."""
        if self._connecting.pop(number, None) is not None:
            self.announce(ConnectFailed(number, sockets.describe(error)))

    def lost(self, number: int, error: Exception | None) -> None:
        """Announce the end of a connection that was announced."""
        if self._connections.pop(number, None) is not None:
            self.receive_buffer = self._reads.resume(number)
            refused = isinstance(error, sockets.HandshakeRefusedError)
            self.hand_over(ConnectionLost(number, sockets.describe(error), refused))

    def rest(self, listener: ListeningSocket, error: OSError) -> None:
        """Stop accepting for a while, since trying again at once would fail again at once."""
        self._unwatch(listener)
        self.begin(self._watch_again(listener))
        self.hand_over(AcceptFailed(listener.name, sockets.describe(error)))

    async def _watch_again(self, listener: ListeningSocket) -> None:
        await self.sleep(sockets.ACCEPT_RETRY_S)
        if self._listeners.get(listener.name) is listener:
            self._watch(listener)

    # --- commands for a connection ---

    def _send_eof(self, command: SendEof) -> None:
        if (connection := self._connections.get(command.connection)) is not None:
            connection.send_eof()

    def _close(self, command: Close) -> None:
        connection = self._connections.get(command.connection)
        if connection is not None:
            connection.close()
        else:
            self._give_up(command.connection)

    def _abort(self, command: Abort) -> None:
        connection = self._connections.get(command.connection)
        if connection is not None:
            connection.reset()
        else:
            self._give_up(command.connection)

    def _pause_reading(self, command: PauseReading) -> None:
        if (connection := self._connections.get(command.connection)) is not None:
            connection.pause_reading()
            self.receive_buffer = self._reads.pause(command.connection)

    def _resume_reading(self, command: ResumeReading) -> None:
        if (connection := self._connections.get(command.connection)) is not None:
            self.receive_buffer = self._reads.resume(command.connection)
            connection.resume_reading()

    # --- commands that open connections ---

    def _connect(self, command: Connect) -> None:
        if command.tls and self._handshakes.profile(command.tls) is None:
            self._inputs.append(ConnectFailed(command.connection, _no_profile(command.tls)))
        else:
            self._connecting[command.connection] = self.begin(self._open(command))

    def _give_up(self, number: int) -> None:
        connecting = self._connecting.pop(number, None)
        if connecting is not None:
            connecting.cancel()
            self._inputs.append(ConnectFailed(number, "aborted"))

    async def _open(self, command: Connect) -> None:
        until = self._clock() + command.timeout_s
        try:
            connected = await self._within(command.timeout_s, self._reach(command.host, command.port))
        except sockets.UNUSABLE as error:
            self.connect_failed(command.connection, error)
            return
        secure = None
        if command.tls:
            try:
                name = command.server_name or command.host
                secure = self._handshakes.begin(command.tls, command.connection, until, server_name=name)
            except sockets.UNUSABLE as error:
                connected.close()
                self.connect_failed(command.connection, error)
                return
            self._connecting[command.connection] = secure
        await self._adopt(command.connection, connected, secure)

    async def _reach(self, host: str, port: int) -> socket.socket:
        return await self._dial(await self._addresses(host, port))

    # --- TLS ---

    def secured(self, connection: "SecureConnection") -> None:
        """Announce a connection whose handshake is done."""
        self.forget_handshake(connection)
        host, port = connection.address
        secure: Any = connection  # the driver's commands find in it what they find in its own connections
        if connection.upgrade:
            self.announce(TlsStarted(connection.number))
        elif connection.listener:
            self.accepted(secure, connection.listener, host, port)
        else:
            self.connected(secure, host, port)

    def not_secured(self, connection: "SecureConnection", reason: str) -> None:
        """Announce that a handshake has failed."""
        self.forget_handshake(connection)
        if connection.upgrade:
            self.lost(connection.number, ConnectionError(reason))
            self.announce()
        elif connection.listener:
            self.announce(HandshakeFailed(connection.listener, connection.address[0], reason))
        else:
            self.connect_failed(connection.number, ConnectionError(reason))

    def forget_handshake(self, connection: "SecureConnection") -> None:
        """Stop counting a handshake: it is done, or given up."""
        self._handshakes.over(connection)

    def end_turn(self) -> None:
        """Hand the inputs of this turn to the machine now, and carry its commands out."""
        self.take_turn()

    def _start_tls(self, command: StartTls) -> None:
        raw = self._connections.get(command.connection)
        if raw is None:
            return
        if self._handshakes.profile(command.tls) is None:
            raw.reset()
            self.lost(command.connection, ConnectionError(_no_profile(command.tls)))
            return
        until = self._clock() + START_TLS_TIMEOUT_S
        try:
            secure: Any = self._handshakes.begin(
                command.tls, command.connection, until, server_name=command.server_name, upgrade=True
            )
        except ValueError as error:
            raw.reset()
            self.lost(command.connection, error)
            return
        raw.change_owner(secure)
        self._connections[command.connection] = secure
        secure.attach(raw, "", 0)
        if command.received:
            secure.hand_over(Received(command.connection, command.received))

    # --- names ---

    def _resolve(self, command: Resolve) -> None:
        self.begin(self._look_up(command))

    async def _look_up(self, command: Resolve) -> None:
        try:
            addresses = await self._within(command.timeout_s, self._addresses(command.name, 0))
        except sockets.UNUSABLE as error:
            reason = "" if sockets.is_unknown_name(error) else sockets.describe(error)
            self.announce(Resolved(command.query, (), reason))
        else:
            self.announce(Resolved(command.query, sockets.hosts(addresses), ""))

    async def _addresses(self, host: str, port: int) -> list[sockets.SocketAddress]:
        return sockets.lookup_literal(host, port) or await self._look_up_name(host, port)

    def _select_source(self, command: SelectSource) -> None:
        self._inputs.append(SourceSelected(command.query, sockets.source(command.address)))

    # --- files ---

    def _read_file(self, command: ReadFile) -> None:
        self._inputs.append(FileRead(command.query, *read_file(command.path, command.max_bytes)))

    # --- listeners ---

    def _listen(self, command: Listen) -> None:
        if command.tls:
            if self._handshakes.profile(command.tls) is None:
                self._inputs.append(ListenFailed(command.listener, _no_profile(command.tls)))
                return
            self._handshakes.listen(command.listener, command.tls)
        if (early := self._early.take(command.host, command.port)) is not None:
            self._inputs.append(self._listening(command.listener, ListeningSocket, early))
        else:
            self._bind(sockets.open_listener, ListeningSocket, command)

    def _listen_datagram(self, command: ListenDatagram) -> None:
        self._bind(sockets.open_datagram, DatagramSocket, command)

    def _bind(self, bind: Bind, listener_type: ListenerType, command: Listen | ListenDatagram) -> None:
        """Open a listener at once if its host is an address, and after a lookup if it is a name."""
        try:
            addresses = sockets.local_addresses(command.host, command.port)
        except sockets.UNUSABLE as error:
            self._inputs.append(ListenFailed(command.listener, sockets.describe(error)))
            return
        if addresses:
            self._inputs.append(self._bound(bind, listener_type, command.listener, addresses))
        else:
            self._binding[command.listener] = self.begin(self._bind_by_name(bind, listener_type, command))

    async def _bind_by_name(self, bind: Bind, listener_type: ListenerType, command: Listen | ListenDatagram) -> None:
        name = command.listener
        outcome: Listening | ListenFailed
        try:
            lookup = self._look_up_name(command.host, command.port)
            addresses = await self._within(sockets.LISTEN_LOOKUP_S, lookup)
        except sockets.UNUSABLE as error:
            outcome = ListenFailed(name, sockets.describe(error))
        else:
            outcome = self._bound(bind, listener_type, name, addresses)
        del self._binding[name]
        self.announce(outcome)

    def _bound(
        self, bind: Bind, listener_type: ListenerType, name: str, addresses: list[sockets.SocketAddress]
    ) -> Listening | ListenFailed:
        try:
            return self._listening(name, listener_type, bind(addresses))
        except sockets.UNUSABLE as error:
            return ListenFailed(name, sockets.describe(error))

    def _listening(self, name: str, listener_type: ListenerType, bound: socket.socket) -> Listening:
        self._listeners[name] = listener_type(self, name, bound)
        self._watch(self._listeners[name])
        return Listening(name, *sockets.endpoint(bound.getsockname()))

    @abstractmethod
    def take_over(self, listener: str, accepted: socket.socket, host: str, port: int) -> None:
        """Make a connection of an accepted socket. Next: ``accepted``."""

    def _stop_listening(self, command: StopListening) -> None:
        binding = self._binding.pop(command.listener, None)
        if binding is not None:
            binding.cancel()
            self._inputs.append(ListenFailed(command.listener, "aborted"))
        listener = self._listeners.pop(command.listener, None)
        if listener is not None:
            self._unwatch(listener)
            (listener.socket if command.leaves_waiting else listener).close()

    def _send_datagram(self, command: SendDatagram) -> None:
        listener = self._listeners.get(command.listener)
        if listener is not None:
            sockets.send_datagram(listener.socket, command.data, command.host, command.port)


def _no_profile(name: str) -> str:
    return f"no TLS profile named '{name}'"
