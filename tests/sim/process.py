"""A process of the simulation: the driver of one machine on a host, under virtual time."""

import itertools
from collections.abc import Callable

from pico_core.boundary import (
    Accepted,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Data,
    DatagramReceived,
    EofReceived,
    Exit,
    FileRead,
    Input,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Machine,
    ReadFile,
    Received,
    Resolve,
    Resolved,
    SelectSource,
    SendDatagram,
    ShutdownRequested,
    SourceSelected,
    StopListening,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.records import Log, MeasureProcess, ProcessMeasured
from tests.sim.dial import Dial
from tests.sim.driver import Driver
from tests.sim.network import Host, Network
from tests.sim.tcp import End

SOCKET_BUFFER_DATAGRAMS = 256
"""How many datagrams wait in the socket of a paused process: 208 KiB with the kernel's overhead for each datagram."""

TURN_DELAY_S = 0.0002
"""The longest time from an event to the process's turn. All events until then belong to that turn."""

TIMER_LATENESS_S = 0.001
VAIN_TICKS = 5
"""A machine that has not moved a deadline in the past after so many ticks never will."""

EPOCH_S = 1_700_000_000.0
"""The wall time at which every history begins."""


class Process(Driver[End, Dial]):
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
        super().__init__(network.world, name, machine)
        self.host = host
        self.running = False
        self.paused_until = -1.0
        self._network = network
        self._rate = clock_rate
        self._offset_s = clock_offset_s
        self._on_log = on_log
        self._on_exit = on_exit
        self._numbers = itertools.count(1, 2)
        self._listeners: dict[str, tuple[bool, int]] = {}
        self._queue: list[Input | End] = []
        self._datagrams = 0
        self._turn_due = False
        self._timer_at = float("inf")
        self._vain_ticks = 0

    # --- its life ---

    def start(self) -> None:
        """Give the machine its first input."""
        self.running = True
        self.enqueue(self._tick())

    def shut_down(self) -> None:
        """Send it SIGTERM."""
        self.enqueue(ShutdownRequested())

    def kill(self) -> None:
        """Kill it as ``kill -9`` does; the kernel ends its connections."""
        for end in self._stop():
            end.die()

    def power_off(self) -> None:
        """Take the whole host away: its peers receive neither FIN nor RST from it, ever."""
        self.host.dark = True
        for end in self._stop():
            end.go_dark()

    def _stop(self) -> list[End]:
        """Stop running; return the connections that were open."""
        self.running = False
        for is_datagram, port in self._listeners.values():
            self._unbind(port, is_datagram=is_datagram)
        self._listeners.clear()
        ends, self.ends = self.ends, {}
        for dial in self.dialing.values():
            dial.over = True
        return list(ends.values())

    def pause(self, duration_s: float) -> None:
        """Give it no processor for a while; data for it waits in its sockets."""
        self.paused_until = max(self.paused_until, self.world.now + duration_s)
        self.world.after(self.paused_until - self.world.now + 1e-6, self._turn)

    @property
    def paused(self) -> bool:
        """Whether it does not run just now."""
        return self.world.now < self.paused_until

    def call(self, function: Callable[[float], None]) -> None:
        """Have the machine do something that no input asks for, and carry out the commands that follow from it."""
        function(self.machine_time())
        self._finish_turn()

    # --- events from the network ---

    def enqueue(self, item: Input | End) -> None:
        """Hand over an input, or the data of a connection, in the next turn."""
        if not self.running:
            return
        self._queue.append(item)
        if not self._turn_due:
            self._turn_due = True
            self.world.after(TURN_DELAY_S * self.world.random.random(), self._turn)

    def datagram_arrived(self, listener: str, data: bytes, source: str, port: int) -> None:
        """A datagram waits in the socket, if there is room."""
        if self._datagrams >= SOCKET_BUFFER_DATAGRAMS:
            self.world.sometimes["datagram dropped at a full socket"] += 1
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
        """A connection that the machine asked for is open."""
        del self.dialing[end.number]
        self.ends[end.number] = end
        self.enqueue(Connected(end.number, address, port))
        if end.error:
            self.enqueue(end)  # the peer reset it before this process learned that it was open

    def dial_failed(self, number: int, reason: str) -> None:
        """A connection that the machine asked for could not be opened."""
        if number in self.dialing:
            self.forget(number)
            self.enqueue(ConnectFailed(number, reason))

    def lost(self, end: End, reason: str) -> None:
        """A connection is gone."""
        number = end.number
        if self.ends.get(number) is end:
            self.forget(number)
            if any(isinstance(each, Connected) and each.connection == number for each in self._queue):
                self.enqueue(ConnectionLost(number, reason))  # after the input that says that it was open
            else:
                self._soon(ConnectionLost(number, reason))

    def writing_paused(self, end: End) -> None:
        """The driver's buffer is full."""
        self.world.sometimes["writing paused"] += 1
        self._soon(WritingPaused(end.number))

    def writing_resumed(self, end: End) -> None:
        """The driver's buffer has drained."""
        self._soon(WritingResumed(end.number))

    def _soon(self, event: Input) -> None:
        """Hand over an input, but not while the machine's commands are being carried out."""
        if self._performing:
            self.answer(event)
        else:
            self.enqueue(event)

    def _tick(self) -> Tick:
        return Tick(EPOCH_S + self.world.now)

    # --- turns ---

    def machine_time(self) -> float:
        return (self.world.now + self._offset_s) * self._rate

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
                self.handle(item)
        self._finish_turn()

    def _read(self, end: End) -> None:
        """Hand over everything that a connection has for the machine."""
        end.queued = False
        number = end.number
        if self.ends.get(number) is not end:
            return
        if end.reading:
            data = end.take()
            if data:
                self.handle(Received(number, data))
            if end.eof_arrived and not end.eof_given and not end.unread and not end.error:
                end.eof_given = True
                self.handle(EofReceived(number))
        if end.error and (end.closing or (not end.unread if end.reading else end.write_failed)):
            self.forget(number)
            self.handle(ConnectionLost(number, end.error))

    def _finish_turn(self) -> None:
        """Carry out the commands, then set the timer."""
        self.finish_turn()
        if self.running:
            self._arm()

    def _arm(self) -> None:
        deadline = self.machine.deadline()
        if deadline is None:
            return
        world = self.world
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
            raise self.violation(f"keeps its deadline at {at} in spite of ticks")
        self.enqueue(self._tick())

    # --- commands ---

    def listen(self, command: Listen | ListenDatagram) -> None:
        if isinstance(command, Listen) and command.tls:
            self.answer(ListenFailed(command.listener, f"no TLS profile named '{command.tls}'"))
            return
        if isinstance(command, Listen):
            taken = command.port in self.host.listeners
            self.host.listeners.setdefault(command.port, (self, command.listener))
        else:
            taken = command.port in self.host.datagrams
            self.host.datagrams.setdefault(command.port, (self, command.listener))
        if taken:
            self.answer(ListenFailed(command.listener, "address already in use"))
            return
        self._listeners[command.listener] = (isinstance(command, ListenDatagram), command.port)
        self.answer(Listening(command.listener, "0.0.0.0", command.port))

    def stop_listening(self, command: StopListening) -> None:
        bound = self._listeners.pop(command.listener, None)
        if bound is not None:
            self._unbind(bound[1], is_datagram=bound[0])

    def _unbind(self, port: int, *, is_datagram: bool) -> None:
        if is_datagram:
            self.host.datagrams.pop(port, None)
        else:
            self.host.listeners.pop(port, None)

    def dial(self, command: Connect) -> None:
        if command.tls:
            self.forget(command.connection)
            self.answer(ConnectFailed(command.connection, f"no TLS profile named '{command.tls}'"))
            return
        dial = Dial(self._network, self, command.connection, command.host, command.port)
        self.dialing[command.connection] = dial
        dial.begin(command.timeout_s)

    def cancel_dial(self, connection: int) -> None:
        self.dialing[connection].over = True
        self.forget(connection)
        self.answer(ConnectFailed(connection, "aborted"))

    def observe_sent(self, data: Data) -> None:
        if data[:12] == b"HTTP/1.1 421":
            self.world.sometimes["stale route answered with 421"] += 1
        super().observe_sent(data)

    def send_datagram(self, command: SendDatagram) -> None:
        bound = self._listeners.get(command.listener)
        if bound is None:
            return
        self.sent_bytes += len(command.data)
        self._network.send_datagram(self.host.address, bound[1], command.host, command.port, command.data)

    def resolve(self, command: Resolve) -> None:
        def answer(addresses: tuple[str, ...], error: str) -> None:
            self.enqueue(Resolved(command.query, addresses, error))

        self._network.names.look_up(command.name, self.host.address, command.timeout_s, answer)

    def select_source(self, command: SelectSource) -> None:
        """Every host has one address, and one route that leads everywhere; it may come up late."""
        has_route = not self.world.chance(self._network.faults.no_route)
        if not has_route:
            self.world.sometimes["no route yet"] += 1
        self.answer(SourceSelected(command.query, self.host.address if has_route else ""))

    def read_file(self, command: ReadFile) -> None:
        content = self.host.files.get(command.path)
        self.answer(FileRead(command.query, content or b"", "" if content else "No such file or directory"))

    def measure_process(self, command: MeasureProcess) -> None:
        self.answer(ProcessMeasured(command.query))

    def log(self, command: Log) -> None:
        if self._on_log is not None:
            self._on_log(command)

    def leave(self, command: Exit) -> None:
        """Close all connections, as a driver does that has no time left."""
        super().leave(command)
        for end in self._stop():
            end.die()
        if self._on_exit is not None:
            self._on_exit(command)
