"""The third driver: runs a node machine under virtual time, and checks that it keeps its side of the contract."""

import itertools
import traceback
import zlib
from collections.abc import Callable
from typing import Any

from pico_core.boundary import (
    Abort,
    Accepted,
    AccessLog,
    Close,
    Command,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    DatagramReceived,
    EofReceived,
    Exit,
    Input,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Log,
    Machine,
    PauseReading,
    Received,
    Record,
    Resolve,
    Resolved,
    ResumeReading,
    Send,
    SendDatagram,
    SendEof,
    ShutdownRequested,
    StopListening,
    Tick,
    WritingPaused,
    WritingResumed,
)
from tests.sim.network import Host, Network
from tests.sim.tcp import Dial, End
from tests.sim.world import Violation

SOCKET_BUFFER_DATAGRAMS = 256
"""What waits in the socket of a process that does not run: 208 KiB with the kernel's overhead for each datagram."""

MOST_DATAGRAM_BYTES = 1400
TURN_DELAY_S = 0.0002
"""At most so long after something happened the process looks: whatever came until then is one turn."""

TIMER_LATENESS_S = 0.001
VAIN_TICKS = 5

_TICK = Tick()


class Process:
    """A machine on a host. ``start``, then ``shut_down``, ``kill``, ``pause``; ``exit`` is set when it has ended."""

    def __init__(
        self,
        network: Network,
        host: Host,
        name: str,
        machine: Machine,
        *,
        clock_rate: float = 1.0,
        clock_offset_s: float = 0.0,
        on_log: Callable[[Log], None] | None = None,
        on_exit: Callable[[Exit], None] | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self.machine = machine
        self.running = False
        self.exit: Exit | None = None
        self.ends: dict[int, End] = {}
        self.paused_until = -1.0
        self.sent_bytes = 0
        self.sent_datagrams = 0
        self._world = network.world
        self._network = network
        self._rate = clock_rate
        self._offset_s = clock_offset_s
        self._on_log = on_log
        self._on_exit = on_exit
        self._numbers = itertools.count(1, 2)
        self._highest_connect = 0
        self._dials: dict[int, Dial] = {}
        self._known_gone: dict[int, float] = {}
        self._listeners: dict[str, tuple[bool, int]] = {}
        self._queue: list[Input | End] = []
        self._datagrams = 0
        self._late: list[Input] = []
        self._turn_due = False
        self._performing = False
        self._timer_at = float("inf")
        self._vain_ticks = 0
        self._perform: dict[type, Callable[[Any], None]] = {
            Listen: self._listen,
            ListenDatagram: self._listen_datagram,
            StopListening: self._stop_listening,
            Connect: self._connect,
            Send: self._send,
            SendEof: self._send_eof,
            Close: self._close,
            Abort: self._abort,
            PauseReading: self._pause_reading,
            ResumeReading: self._resume_reading,
            SendDatagram: self._send_datagram,
            Resolve: self._resolve,
            Log: self._log,
            AccessLog: _ignore,
            Exit: self._leave,
        }

    # --- its life ---

    def start(self) -> None:
        """Give the machine its first input."""
        self.running = True
        self.enqueue(_TICK)

    def shut_down(self) -> None:
        """Send it SIGTERM."""
        self.enqueue(ShutdownRequested())

    def kill(self) -> None:
        """Kill it as ``kill -9`` does; the kernel ends its connections."""
        for end in self._ends_at_last():
            end.die()

    def power_off(self) -> None:
        """Take the whole host away: nobody gets a FIN or RST from it, ever."""
        self.host.dark = True
        for end in self._ends_at_last():
            end.go_dark()

    def _ends_at_last(self) -> list[End]:
        """Stop running and return the connections there were."""
        self.running = False
        for is_datagram, port in self._listeners.values():
            (self.host.datagrams if is_datagram else self.host.listeners).pop(port, None)
        self._listeners.clear()
        ends, self.ends = self.ends, {}
        for dial in self._dials.values():
            dial.over = True
        return list(ends.values())

    def pause(self, duration_s: float) -> None:
        """Give it no processor for a while; what comes waits in its sockets."""
        self.paused_until = max(self.paused_until, self._world.now + duration_s)
        self._world.after(self.paused_until - self._world.now + 1e-6, self._turn)

    @property
    def paused(self) -> bool:
        """Whether it does not run just now."""
        return self._world.now < self.paused_until

    def call(self, function: Callable[[float], None]) -> None:
        """Have the machine do something that no input asks for, and carry out what follows from it."""
        function(self._local(self._world.now))
        self._finish_turn()

    # --- what happens to it ---

    def enqueue(self, item: Input | End) -> None:
        """Have the machine hear of something in its next turn."""
        if not self.running:
            return
        self._queue.append(item)
        if not self._turn_due:
            self._turn_due = True
            self._world.after(TURN_DELAY_S * self._world.random.random(), self._turn)

    def datagram_arrived(self, listener: str, data: bytes, source: str, port: int) -> None:
        """A datagram waits in the socket, if there is room."""
        if self._datagrams >= SOCKET_BUFFER_DATAGRAMS:
            self._world.sometimes["datagram dropped at a full socket"] += 1
            return
        self._datagrams += 1
        self.enqueue(DatagramReceived(listener, data, source, port))

    def accept(self, peer: End, listener: str, address: str) -> End:
        """The kernel has accepted a connection."""
        end = End(self._network, self, next(self._numbers), address)
        end.peer = peer
        self.ends[end.number] = end
        self.enqueue(Accepted(end.number, listener, peer.address, 40_000 + peer.number % 20_000))
        return end

    def dialed(self, end: End, address: str, port: int) -> None:
        """A connection asked for is open."""
        del self._dials[end.number]
        self.ends[end.number] = end
        self.enqueue(Connected(end.number, address, port))
        if end.error:
            self.enqueue(end)  # reset before we knew that it was open

    def dial_failed(self, number: int, reason: str) -> None:
        """A connection asked for could not be opened."""
        if self._dials.pop(number, None) is not None:
            self.enqueue(ConnectFailed(number, reason))

    def lost(self, end: End, reason: str) -> None:
        """A connection is gone."""
        if self.ends.get(end.number) is end:
            del self.ends[end.number]
            self._soon(ConnectionLost(end.number, reason))

    def writing_paused(self, end: End) -> None:
        """The driver's buffer is full."""
        self._world.sometimes["writing paused"] += 1
        self._soon(WritingPaused(end.number))

    def writing_resumed(self, end: End) -> None:
        """The driver's buffer has drained."""
        self._soon(WritingResumed(end.number))

    def _soon(self, event: Input) -> None:
        """Tell the machine, though not while its commands are being carried out."""
        if self._performing:
            self._late.append(event)
        else:
            self.enqueue(event)

    # --- turns ---

    def _local(self, now: float) -> float:
        return (now + self._offset_s) * self._rate

    def _turn(self) -> None:
        if not self.running or self.paused:
            return
        self._turn_due = False
        queue, self._queue = self._queue, []
        self._datagrams = 0
        for item in queue:
            if isinstance(item, End):
                self._read(item)
            else:
                self._handle(item)
        self._finish_turn()

    def _read(self, end: End) -> None:
        """Hand over what a connection has for us."""
        end.queued = False
        number = end.number
        if self.ends.get(number) is not end:
            return
        if end.reading:
            data = end.take()
            if data:
                self._handle(Received(number, data))
            if end.eof_arrived and not end.eof_given and not end.unread and not end.error:
                end.eof_given = True
                self._handle(EofReceived(number))
        if end.error and (end.closing or (end.reading and not end.unread)):
            del self.ends[number]
            self._handle(ConnectionLost(number, end.error))

    def _handle(self, event: Input) -> None:
        if not self.running:
            return
        if self._world.tracing:
            self._world.note(self.name, f"> {describe(event)}")
        if isinstance(event, (ConnectionLost, ConnectFailed)):
            self._known_gone[event.connection] = self._world.now
        try:
            self.machine.handle(event, self._local(self._world.now))
        except Violation:
            raise
        except Exception as error:  # whatever it is, the machine must not raise it
            raise self._violation(f"raised {error!r} on {describe(event)}\n{traceback.format_exc()}") from error

    def _finish_turn(self) -> None:
        """Carry out the commands, then set the timer."""
        self._performing = True
        poll, perform = self.machine.poll, self._perform
        while self.running:
            while self.running and (command := self._polled(poll)) is not None:
                if self._world.tracing:
                    self._world.note(self.name, f"< {describe(command)}")
                perform[type(command)](command)
            if not self._late:
                break
            late, self._late = self._late, []
            for event in late:
                self._handle(event)
        self._late.clear()
        self._performing = False
        if self.running:
            self._arm()

    def _polled(self, poll: Callable[[], Command | None]) -> Command | None:
        try:
            return poll()
        except Exception as error:  # whatever it is, the machine must not raise it
            raise self._violation(f"raised {error!r} when polled\n{traceback.format_exc()}") from error

    def _arm(self) -> None:
        deadline = self.machine.deadline()
        if deadline is None:
            return
        world = self._world
        at = deadline / self._rate - self._offset_s
        if at > world.now:
            self._vain_ticks = 0
        if at >= self._timer_at:
            return
        self._timer_at = at
        world.after(max(at - world.now, 0.0) + TIMER_LATENESS_S * world.random.random(), self._timer, at)

    def _timer(self, at: float) -> None:
        if at != self._timer_at or not self.running:
            return
        self._timer_at = float("inf")
        self._vain_ticks += 1
        if self._vain_ticks > VAIN_TICKS:
            raise self._violation(f"keeps its deadline at {at} in spite of ticks")
        self.enqueue(_TICK)

    def _violation(self, text: str) -> Violation:
        return self._world.violation(f"{self.name} {text}")

    # --- commands ---

    def _listen(self, command: Listen) -> None:
        self._bind(command.listener, command.port, self.host.listeners, is_datagram=False)

    def _listen_datagram(self, command: ListenDatagram) -> None:
        self._bind(command.listener, command.port, self.host.datagrams, is_datagram=True)

    def _bind(self, listener: str, port: int, bound: dict[int, tuple["Process", str]], *, is_datagram: bool) -> None:
        if port in bound:
            self._late.append(ListenFailed(listener, "address already in use"))
            return
        bound[port] = (self, listener)
        self._listeners[listener] = (is_datagram, port)
        self._late.append(Listening(listener, "0.0.0.0", port))

    def _stop_listening(self, command: StopListening) -> None:
        bound = self._listeners.pop(command.listener, None)
        if bound is not None:
            (self.host.datagrams if bound[0] else self.host.listeners).pop(bound[1], None)

    def _connect(self, command: Connect) -> None:
        if command.connection <= self._highest_connect or command.connection % 2:
            raise self._violation(f"asks for a connection under a used number: {describe(command)}")
        self._highest_connect = command.connection
        dial = Dial(self._network, self, command.connection, command.host, command.port)
        self._dials[command.connection] = dial
        dial.begin(command.timeout_s)

    def _end(self, command: Send | SendEof | Close | Abort | PauseReading | ResumeReading) -> End | None:
        """Return the connection a command is for; ``None`` if it is gone and the machine could not know."""
        end = self.ends.get(command.connection)
        if end is None:
            gone_at = self._known_gone.get(command.connection)
            if gone_at is not None and gone_at < self._world.now:
                raise self._violation(f"was told that the connection is gone: {describe(command)}")
            if gone_at is None and command.connection not in self._dials:
                self._check_known(command)
        return end

    def _check_known(self, command: Send | SendEof | Close | Abort | PauseReading | ResumeReading) -> None:
        """A connection may be gone without the machine's knowledge, but it must have been there."""
        number = command.connection
        late = any(isinstance(each, ConnectionLost) and each.connection == number for each in self._late)
        queued = any(
            isinstance(each, (ConnectionLost, ConnectFailed)) and each.connection == number for each in self._queue
        )
        if not late and not queued:
            raise self._violation(f"names a connection that never was: {describe(command)}")

    def _send(self, command: Send) -> None:
        end = self._end(command)
        if end is None:
            return
        if end.closing or end.eof_sent:
            raise self._violation(f"sends after its own end: {describe(command)}")
        data = command.data
        if data[:12] == b"HTTP/1.1 421":
            self._world.sometimes["stale route answered with 421"] += 1
        self.sent_bytes += len(data) if isinstance(data, bytes) else sum(map(len, data))
        end.send(data)

    def _send_eof(self, command: SendEof) -> None:
        end = self._end(command)
        if end is not None and not end.closing:
            end.send_eof()

    def _close(self, command: Close) -> None:
        end = self._end(command)
        if end is not None and not end.closing:
            end.close()

    def _abort(self, command: Abort) -> None:
        end = self._end(command)
        if end is not None:
            end.abort()
            return
        dial = self._dials.pop(command.connection, None)
        if dial is not None:
            dial.over = True
            self._late.append(ConnectFailed(command.connection, "aborted"))

    def _pause_reading(self, command: PauseReading) -> None:
        end = self._end(command)
        if end is not None:
            self._world.sometimes["reading paused"] += 1
            end.pause_reading()

    def _resume_reading(self, command: ResumeReading) -> None:
        end = self._end(command)
        if end is not None:
            end.resume_reading()

    def _send_datagram(self, command: SendDatagram) -> None:
        bound = self._listeners.get(command.listener)
        if bound is None:
            return
        if len(command.data) > MOST_DATAGRAM_BYTES:
            raise self._violation(f"I9: sends a datagram of {len(command.data)} bytes")
        self.sent_datagrams += 1
        self.sent_bytes += len(command.data)
        self._network.send_datagram(self.host.address, bound[1], command.host, command.port, command.data)

    def _resolve(self, command: Resolve) -> None:
        def answer(addresses: tuple[str, ...], error: str) -> None:
            self.enqueue(Resolved(command.query, addresses, error))

        self._network.names.look_up(command.name, self.host.address, command.timeout_s, answer)

    def _log(self, command: Log) -> None:
        if self._on_log is not None:
            self._on_log(command)

    def _leave(self, command: Exit) -> None:
        """The machine is through: close what is open, as a driver does that has no time left."""
        self.exit = command
        for end in self._ends_at_last():
            end.die()
        if self._on_exit is not None:
            self._on_exit(command)


def _ignore(command: Command) -> None:
    """Nobody reads access logs here."""


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
