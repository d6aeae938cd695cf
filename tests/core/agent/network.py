"""Node machines joined back to back in memory, under virtual time: what one sends, the other receives at once.

Everything has one address; a port leads to whoever listened there last. ``Script`` is an end that a test plays by hand:
a client that ``Network.dial`` made, or a service behind ``Network.serve``.
"""

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
    EofReceived,
    Exit,
    Input,
    Listen,
    ListenDatagram,
    Listening,
    Log,
    Machine,
    Received,
    Send,
    SendEof,
    StopListening,
    Tick,
)
from tests.play import joined

HOST = "127.0.0.1"


class Script:
    """One end of a connection in a test's hand: what came, and what to do."""

    def __init__(self, network: "Network") -> None:
        self.received = b""
        self.ended = False
        self.lost = False
        self._network = network

    def send(self, data: bytes) -> None:
        self._network.act(self, Send(0, data))

    def end(self) -> None:
        self._network.act(self, SendEof(0))

    def close(self) -> None:
        self._network.act(self, Close(0))

    def reset(self) -> None:
        self._network.act(self, Abort(0))

    def handle(self, event: Input, now: float) -> None:
        if isinstance(event, Received):
            self.received += event.data
        elif isinstance(event, EofReceived):
            self.ended = True
        else:
            self.lost = True


Owner = Machine | Script


class End:
    """One end of a connection: whose it is, by which number, and how far it has ended."""

    def __init__(self, owner: Owner, number: int) -> None:
        self.owner = owner
        self.number = number
        self.other: End = self
        self.sent_eof = False
        self.closed = False


class Network:
    """Add machines, dial, serve, then ``run``. Logs and exits gather by machine."""

    def __init__(self) -> None:
        self.now = 0.0
        self.exits: dict[Machine, Exit] = {}
        self.logs: dict[Machine, list[Log]] = {}
        self._machines: list[Machine] = []
        self._ports: dict[int, tuple[Machine, str] | list[Script]] = {}
        self._ends: dict[tuple[Owner, int], End] = {}
        self._accepted = 1

    def add(self, machine: Machine) -> None:
        """Start a machine."""
        self._machines.append(machine)
        self.logs[machine] = []
        machine.handle(Tick(), self.now)
        self._settle()

    def tell(self, machine: Machine, event: Input) -> None:
        """Give a machine an input of the operator's."""
        machine.handle(event, self.now)
        self._settle()

    def serve(self, port: int) -> list[Script]:
        """Listen; return the list in which the connections to ``port`` will appear."""
        scripts: list[Script] = []
        self._ports[port] = scripts
        return scripts

    def dial(self, port: int) -> Script:
        """Connect to a machine."""
        script = Script(self)
        assert self._join(End(script, 0), port)
        self._settle()
        return script

    def act(self, script: Script, command: Command) -> None:
        """Do something at a script's end."""
        self._carry_out(self._ends[script, 0], command)
        self._settle()

    def run(self, until: float) -> None:
        """Let time pass."""
        while due := [at for each in self._machines if (at := each.deadline()) is not None and at <= until]:
            self.now = max(self.now, min(due))
            for machine in self._machines:
                machine.handle(Tick(), self.now)
            self._settle()
        self.now = until

    def _settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for machine in list(self._machines):
                while (command := machine.poll()) is not None:
                    busy = True
                    self._command(machine, command)

    def _command(self, machine: Machine, command: Command) -> None:
        if isinstance(command, Log):
            self.logs[machine].append(command)
        elif isinstance(command, (Listen, ListenDatagram)):
            if isinstance(command, Listen):
                self._ports[command.port] = (machine, command.listener)
            machine.handle(Listening(command.listener, HOST, command.port), self.now)
        elif isinstance(command, Exit):
            self.exits[machine] = command
            self._machines.remove(machine)
        elif isinstance(command, Connect):
            end = End(machine, command.connection)
            if not self._join(end, command.port):
                machine.handle(ConnectFailed(command.connection, "connection refused"), self.now)
        elif isinstance(command, (Send, SendEof, Close, Abort)) and (machine, command.connection) in self._ends:
            self._carry_out(self._ends[machine, command.connection], command)
        else:
            assert not isinstance(command, AccessLog) or command.lines
            if isinstance(command, StopListening):
                self._ports = {port: who for port, who in self._ports.items() if who != (machine, command.listener)}

    def _join(self, end: End, port: int) -> bool:
        who = self._ports.get(port)
        if who is None or (isinstance(who, tuple) and who[0] not in self._machines):
            return False
        if isinstance(who, tuple):
            other = End(who[0], self._accepted)
            self._accepted += 2
        else:
            script = Script(self)
            who.append(script)
            other = End(script, 0)
        end.other, other.other = other, end
        for each in (end, other):
            self._ends[each.owner, each.number] = each
        if isinstance(who, tuple):
            who[0].handle(Accepted(other.number, who[1], HOST, 50_000), self.now)
        if not isinstance(end.owner, Script):
            end.owner.handle(Connected(end.number, HOST, port), self.now)
        return True

    def _carry_out(self, end: End, command: Command) -> None:
        other = end.other
        if isinstance(command, Abort) or (isinstance(command, Send) and other.closed):
            self._lose(end, "" if isinstance(command, Abort) else "reset")
            self._lose(other, "reset")
        elif isinstance(command, Send):
            other.owner.handle(Received(other.number, joined(command.data)), self.now)
        else:
            if not end.sent_eof and not other.closed:
                other.owner.handle(EofReceived(other.number), self.now)
            end.sent_eof = True
            if isinstance(command, Close):
                self._lose(end, "")

    def _lose(self, end: End, reason: str) -> None:
        if not end.closed:
            end.closed = True
            del self._ends[end.owner, end.number]
            end.owner.handle(ConnectionLost(end.number, reason), self.now)
