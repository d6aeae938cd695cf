"""A driver in the hand of a test: it hands over any input that the contract permits, in any order, and at once."""

from pico_core.boundary import (
    Accepted,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Data,
    EofReceived,
    Input,
    Listen,
    ListenDatagram,
    Listening,
    Machine,
    Received,
    Tick,
    WritingPaused,
    WritingResumed,
)
from tests.play import joined
from tests.sim.driver import Driver
from tests.sim.world import World


class Line:
    """One open connection: ``output`` holds the bytes that the machine has sent on it."""

    def __init__(self, kind: str) -> None:
        """``kind`` is the listener that accepted it, or the port to which the machine opened it."""
        self.kind = kind
        self.output = b""
        self.reading = True
        self.closing = False
        self.aborted = False
        self.eof_sent = False
        self.eof_received = False
        self.writing_paused = False
        self.overran = False
        """Whether data was handed over while reading was paused: one read may have been on its way."""

    def take_output(self) -> bytes:
        """Return the bytes that the machine has sent since the last call."""
        output, self.output = self.output, b""
        return output

    def send(self, data: Data) -> None:
        self.output += joined(data)

    def send_eof(self) -> None:
        self.eof_sent = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        """The connection stays until ``Hand.lose``: inputs of it may be on their way."""
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False
        self.overran = False

    def resume_reading(self) -> None:
        self.reading = True


class Hand(Driver[Line, Connect]):
    """Each method is one input, or none where the contract does not permit it now. Ports open at once."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(World(0), "machine", machine)
        self._next_accepted = 1
        self.tell(Tick())

    def tell(self, event: Input) -> None:
        """Hand over any input."""
        self.handle(event)
        self.finish_turn()

    def pass_time(self, duration_s: float) -> None:
        """Let time pass, with one tick at its end."""
        self.world.run(duration_s)
        self.tell(Tick())

    def accept(self, listener: str) -> int:
        """A peer connects; return the number of the connection."""
        connection = self._next_accepted
        self._next_accepted += 2
        self.ends[connection] = Line(listener)
        self.tell(Accepted(connection, listener, "192.0.2.7", 5000))
        return connection

    def answer_dial(self, connection: int, *, succeeds: bool) -> None:
        """A connection that the machine asked for opens, or fails."""
        if succeeds:
            port = self.dialing.pop(connection).port
            self.ends[connection] = Line(str(port))
            self.tell(Connected(connection, "192.0.2.9", port))
        else:
            self.forget(connection)
            self.tell(ConnectFailed(connection, "refused"))

    def receive(self, connection: int, data: bytes) -> None:
        """Data arrives."""
        line = self.ends[connection]
        if not line.eof_received and (line.reading or not line.overran):
            line.overran = not line.reading
            self.tell(Received(connection, data))

    def receive_eof(self, connection: int) -> None:
        """The peer ends its side."""
        line = self.ends[connection]
        if not line.eof_received:
            line.eof_received = True
            self.tell(EofReceived(connection))

    def lose(self, connection: int) -> None:
        """The connection is gone."""
        self.forget(connection)
        self.tell(ConnectionLost(connection, "reset"))

    def turn_writing(self, connection: int) -> None:
        """The driver's send buffer fills, or drains if it was full."""
        line = self.ends[connection]
        line.writing_paused = not line.writing_paused
        self.tell(WritingPaused(connection) if line.writing_paused else WritingResumed(connection))

    # --- commands ---

    def listen(self, command: Listen | ListenDatagram) -> None:
        self.answer(Listening(command.listener, "127.0.0.1", command.port))

    def dial(self, command: Connect) -> None:
        """Next: ``answer_dial``."""
        self.dialing[command.connection] = command
