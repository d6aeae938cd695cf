"""The common part of the simulation's drivers: inputs in turns, commands one by one, and the checks of the contract.

A new command of ``pico_core.boundary`` is added here, and in ``process`` if it acts on the simulated network.
"""

import traceback
import zlib
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from pico_core.boundary import (
    Abort,
    Close,
    Command,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Data,
    Exit,
    Input,
    Listen,
    ListenDatagram,
    Machine,
    PauseReading,
    ReadFile,
    Resolve,
    ResumeReading,
    SelectSource,
    Send,
    SendDatagram,
    SendEof,
    StopListening,
)
from pico_core.records import AccessLog, Log, MeasureProcess, Record, Spans, UseLogConfig
from tests.sim.world import Violation, World

MOST_DATAGRAM_BYTES = 1400

ConnectionCommand: TypeAlias = Send | SendEof | Close | Abort | PauseReading | ResumeReading


class Connection(Protocol):
    """The driver's end of an open connection. The flags say which commands the machine has given."""

    reading: bool
    closing: bool
    eof_sent: bool

    def send(self, data: Data) -> None: ...

    def send_eof(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


ConnectionT = TypeVar("ConnectionT", bound=Connection)
DialT = TypeVar("DialT")


class Driver(Generic[ConnectionT, DialT]):
    """Runs one machine: ``handle`` the inputs of a turn, then ``finish_turn``. A breach of contract is a ``Violation``.

    A subclass overrides the hooks, and keeps ``ends`` (open connections) and ``dialing`` (those being opened) current.
    """

    def __init__(self, world: World, name: str, machine: Machine) -> None:
        self.world = world
        self.name = name
        self.machine = machine
        self.running = True
        self.exit: Exit | None = None
        self.ends: dict[int, ConnectionT] = {}
        self.dialing: dict[int, DialT] = {}
        self.sent_bytes = 0
        self._highest_dial = 0
        self._aborted: set[int] = set()
        self._opening: set[int] = set()
        """Connections that the machine may give up before it knows that they are open, and then once more."""
        self._opened_this_turn: list[int] = []
        self._untold: set[int] = set()
        self._told_this_turn: list[int] = []
        self._told: set[int] = set()
        self._late: list[Input] = []
        self._performing = False
        self._drained = True
        self._perform: dict[type, Callable[[Any], None]] = {
            Listen: self.listen,
            ListenDatagram: self.listen,
            StopListening: self.stop_listening,
            Connect: self._connect,
            Send: self._send,
            SendEof: self._send_eof,
            Close: self._close,
            Abort: self._abort,
            PauseReading: self._pause_reading,
            ResumeReading: self._resume_reading,
            SendDatagram: self._send_datagram,
            Resolve: self.resolve,
            SelectSource: self.select_source,
            ReadFile: self.read_file,
            MeasureProcess: self.measure_process,
            UseLogConfig: lambda _command: None,
            Spans: lambda _command: None,
            Log: self.log,
            AccessLog: self.access_log,
            Exit: self.leave,
        }

    # --- hooks for subclasses ---

    def machine_time(self) -> float:
        """Return the time on the machine's clock."""
        return self.world.now

    def listen(self, command: Listen | ListenDatagram) -> None:
        """Open a port. Next: ``answer`` with ``Listening`` or ``ListenFailed``."""
        raise NotImplementedError

    def dial(self, command: Connect) -> None:
        """Put a dial into ``dialing``, and begin it."""
        raise NotImplementedError

    def cancel_dial(self, connection: int) -> None:
        """The machine aborts a connection that is being opened. It is answered all the same."""

    def stop_listening(self, command: StopListening) -> None: ...

    def send_datagram(self, command: SendDatagram) -> None: ...

    def resolve(self, command: Resolve) -> None: ...

    def select_source(self, command: SelectSource) -> None: ...

    def read_file(self, command: ReadFile) -> None: ...

    def measure_process(self, command: MeasureProcess) -> None: ...

    def log(self, command: Log) -> None: ...

    def access_log(self, command: AccessLog) -> None: ...

    def leave(self, command: Exit) -> None:
        """The machine has ended."""
        self.exit = command

    def observe_sent(self, data: Data) -> None:
        """The machine sends ``data`` on a connection."""
        self.sent_bytes += len(data) if isinstance(data, bytes) else sum(map(len, data))

    # --- for subclasses ---

    def handle(self, event: Input) -> None:
        """Hand an input to the machine. Next: the other inputs of the turn, then ``finish_turn``."""
        if not self.running:
            return
        if self.world.tracing:
            self.world.note(self.name, f"> {describe(event)}")
        if isinstance(event, (ConnectionLost, ConnectFailed)):
            self._tell_gone(event.connection)
        elif isinstance(event, Connected):
            self._opened_this_turn.append(event.connection)
        self._drained = False
        try:
            self.machine.handle(event, self.machine_time())
        except Violation:
            raise
        except Exception as error:  # no input may make a machine raise, whichever exception it is
            raise self.violation(f"raised {error!r} on {describe(event)}\n{traceback.format_exc()}") from error

    def finish_turn(self) -> None:
        """Carry out the machine's commands and hand over the inputs that answer them, until there are no more."""
        self._performing = True
        perform = self._perform
        while self.running:
            while self.running and (command := self._poll()) is not None:
                if self.world.tracing:
                    self.world.note(self.name, f"< {describe(command)}")
                perform[type(command)](command)
            self._drained = True
            self._opening.difference_update(self._opened_this_turn)
            self._opened_this_turn.clear()
            self._told.update(self._told_this_turn)
            self._told_this_turn.clear()
            if not self._late:
                break
            late, self._late = self._late, []
            for event in late:
                self.handle(event)
        self._late.clear()
        self._performing = False

    def answer(self, event: Input) -> None:
        """Hand over the answer to the command that is being carried out, after all commands of the turn."""
        self._late.append(event)

    def forget(self, connection: int) -> None:
        """Remove a connection that is gone or could not be opened. Next: hand over the input that says so."""
        self.ends.pop(connection, None)
        self.dialing.pop(connection, None)
        self._untold.add(connection)

    def violation(self, text: str) -> Violation:
        """Return the error that says how the machine broke the contract."""
        return self.world.violation(f"{self.name} {text}")

    def _tell_gone(self, connection: int) -> None:
        """Note that the machine hears now that a connection is gone.

        Commands that it gave before, upon other inputs of the turn, may still wait in its queue.
        """
        self._untold.discard(connection)
        self._aborted.discard(connection)
        self._opening.discard(connection)
        if self._drained:
            self._told.add(connection)
        else:
            self._told_this_turn.append(connection)

    def _poll(self) -> Command | None:
        try:
            return self.machine.poll()
        except Exception as error:  # a machine must not raise when polled, whichever exception it is
            raise self.violation(f"raised {error!r} when polled\n{traceback.format_exc()}") from error

    # --- commands ---

    def _connect(self, command: Connect) -> None:
        if command.connection <= self._highest_dial or command.connection % 2:
            raise self.violation(f"asks for a connection under a used number: {describe(command)}")
        self._highest_dial = command.connection
        self._opening.add(command.connection)
        self.dial(command)

    def _end(self, command: ConnectionCommand) -> ConnectionT | None:
        """Return the connection of a command; ``None`` if it is gone and the machine could not know."""
        number = command.connection
        if number in self._aborted:
            raise self.violation(f"has aborted the connection before: {describe(command)}")
        end = self.ends.get(number)
        if end is None:
            if number in self._told:
                raise self.violation(f"was told that the connection is gone: {describe(command)}")
            if number not in self._untold and number not in self._told_this_turn:
                raise self.violation(f"names a connection that never was: {describe(command)}")
        elif end.closing and not isinstance(command, Abort):
            raise self.violation(f"has closed the connection before: {describe(command)}")
        return end

    def _send(self, command: Send) -> None:
        end = self._end(command)
        if end is None:
            return
        if end.eof_sent:
            raise self.violation(f"sends after its own end of stream: {describe(command)}")
        self.observe_sent(command.data)
        end.send(command.data)

    def _send_eof(self, command: SendEof) -> None:
        end = self._end(command)
        if end is None:
            return
        if end.eof_sent:
            raise self.violation(f"sends a second end of stream: {describe(command)}")
        end.send_eof()

    def _close(self, command: Close) -> None:
        end = self._end(command)
        if end is not None:
            end.close()

    def _abort(self, command: Abort) -> None:
        number = command.connection
        if number in self.dialing:
            self.cancel_dial(number)
            return
        end = self._end(command)
        if end is not None:
            if number not in self._opening:
                self._aborted.add(number)
            end.abort()

    def _pause_reading(self, command: PauseReading) -> None:
        end = self._end(command)
        if end is None:
            return
        if not end.reading:
            raise self.violation(f"has paused the connection before: {describe(command)}")
        self.world.sometimes["reading paused"] += 1
        end.pause_reading()

    def _resume_reading(self, command: ResumeReading) -> None:
        end = self._end(command)
        if end is None:
            return
        if end.reading:
            raise self.violation(f"has not paused the connection: {describe(command)}")
        end.resume_reading()

    def _send_datagram(self, command: SendDatagram) -> None:
        if len(command.data) > MOST_DATAGRAM_BYTES:
            raise self.violation(f"I9: sends a datagram of {len(command.data)} bytes")
        self.send_datagram(command)


def describe(record: Record) -> str:
    """Return a record as one line of a trace: bytes by length, checksum and beginning."""
    parts = []
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            value = b"".join(value)
        if isinstance(value, bytes):
            parts.append(f"{len(value)} bytes {zlib.crc32(value):08x} {value[:48]!r}")
        else:
            parts.append(repr(value))
    return f"{type(record).__name__}({', '.join(parts)})"
