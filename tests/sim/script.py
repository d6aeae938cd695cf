"""Machines that a test scripts, and a network without faults on which they talk to real ones."""

import itertools

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Command,
    Connect,
    ConnectionLost,
    EofReceived,
    Exit,
    Input,
    Listen,
    Machine,
    Received,
    Send,
    SendEof,
)
from pico_core.records import Log
from tests.sim.network import Faults, Network
from tests.sim.process import Process
from tests.sim.world import World

SETTLE_S = 0.1
"""Long enough for a message to go through all machines and back."""

CLIENT = "10.0.0.1"
"""The address from which a scene's client dials."""


class Script:
    """A machine that gives the commands in ``commands`` and keeps its inputs in ``told``."""

    def __init__(self) -> None:
        self.told: list[Input] = []
        self.commands: list[Command] = []

    def handle(self, event: Input, now: float) -> None:
        self.told.append(event)

    def poll(self) -> Command | None:
        return self.commands.pop(0) if self.commands else None

    def deadline(self) -> float | None:
        return None

    def heard(self, kind: type[Input]) -> list[Input]:
        """Return the inputs of a kind."""
        return [event for event in self.told if type(event) is kind]

    def received(self, connection: int) -> bytes:
        """Return all bytes that arrived on a connection."""
        return b"".join(
            event.data for event in self.told if isinstance(event, Received) and event.connection == connection
        )


class Scene:
    """A network without faults. ``add`` machines, ``serve`` and ``dial``, then ``run``; logs and exits are by name."""

    def __init__(self) -> None:
        self.world = World(1)
        self.network = Network(self.world, Faults())
        self.logs: dict[str, list[Log]] = {}
        self.exits: dict[str, Exit] = {}
        self.processes: dict[str, Process] = {}
        self._client = ScriptedService(self, "client")
        self._dialed = itertools.count(2, 2)

    def add(self, name: str, machine: Machine) -> Process:
        """Start a machine on a host of its own, to which ``name`` resolves."""
        logs = self.logs[name] = []
        process = Process(
            self.network,
            self.network.new_host(),
            name,
            machine,
            on_log=logs.append,
            on_exit=lambda record: self.exits.update({name: record}),
        )
        self.processes[name] = process
        self.resolve(name, name)
        process.start()
        self.world.run(SETTLE_S)
        return process

    def resolve(self, name: str, host: str) -> None:
        """Let ``name`` resolve to the host that was added as ``host`` from now on."""
        self.network.names.set(name, [self.processes[host].host.address])

    def shut_down(self, name: str) -> None:
        """Send a process SIGTERM."""
        self.processes[name].shut_down()
        self.world.run(SETTLE_S)

    def serve(self, name: str, port: int) -> "ScriptedService":
        """Start a scripted service on a host of its own, to which ``name`` resolves."""
        service = ScriptedService(self, name)
        service.act(Listen("port", "", port))
        return service

    def dial(self, name: str, port: int) -> "Line":
        """Connect to a host, from the host ``client``, which has the address ``CLIENT``."""
        number = next(self._dialed)
        self._client.act(Connect(number, name, port, 5.0))
        return Line(self._client, number)

    def run(self, until: float) -> None:
        """Let time pass."""
        self.world.run(until - self.world.now)


class ScriptedService:
    """A scripted process; ``lines`` are the connections that it accepted."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.script = Script()
        self._scene = scene
        self._process = scene.add(name, self.script)

    def act(self, command: Command) -> None:
        """Give a command, and let everything happen that follows from it."""
        self.script.commands.append(command)
        self._process.call(lambda now: None)
        self._scene.world.run(SETTLE_S)

    @property
    def lines(self) -> list["Line"]:
        """The connections that it accepted."""
        return [Line(self, event.connection) for event in self.script.told if isinstance(event, Accepted)]


class Line:
    """One connection of a scripted process."""

    def __init__(self, owner: ScriptedService, number: int) -> None:
        self._owner = owner
        self._number = number

    @property
    def received(self) -> bytes:
        """All bytes that arrived."""
        return self._owner.script.received(self._number)

    @property
    def ended(self) -> bool:
        """Whether the peer ended its side."""
        return EofReceived(self._number) in self._owner.script.told

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        lost = (event for event in self._owner.script.told if isinstance(event, ConnectionLost))
        return any(event.connection == self._number for event in lost)

    def send(self, data: bytes) -> None:
        self._owner.act(Send(self._number, data))

    def end(self) -> None:
        """End the own side; the other one stays open."""
        self._owner.act(SendEof(self._number))

    def close(self) -> None:
        self._owner.act(Close(self._number))

    def reset(self) -> None:
        self._owner.act(Abort(self._number))
