"""Runs a ``Recorder`` under one runtime on a thread of its own, so that a test can play its peers with sockets."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import trio
import uvloop

import pico_asyncio
import pico_trio
from pico_core.boundary import (
    Abort,
    Accepted,
    Command,
    Connect,
    Connected,
    Exit,
    Input,
    Listen,
    Listening,
    Machine,
    Received,
)
from pico_core.records import AccessLog, Log
from pico_driver.early import EarlyListeners
from pico_driver.inbox import Inbox
from pico_driver.tls_profiles import Profiles
from tests.adapters.machines import Recorder
from tests.waiting import PATIENCE_S

Kind = TypeVar("Kind", bound=Input)


def drive(
    runtime: str,
    machine: Machine,
    sink: pico_asyncio.Sink,
    inbox: Inbox | None = None,
    early: EarlyListeners | None = None,
    profiles: Profiles | None = None,
) -> Exit:
    """Run ``drive`` in a loop of the runtime's own, without signals (they belong to the main thread)."""
    if runtime == "trio":
        return trio.run(partial(pico_trio.drive, machine, sink, inbox=inbox, early=early, profiles=profiles))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if runtime == "uvloop" else None) as runner:
        return runner.run(pico_asyncio.drive(machine, sink, inbox=inbox, early=early, profiles=profiles))


def package(runtime: str) -> ModuleType:
    return pico_trio if runtime == "trio" else pico_asyncio


class Stage:
    """One machine at work, and what a test needs to direct it."""

    def __init__(self, runtime: str, machine: Recorder, inbox: Inbox, profiles: Profiles | None) -> None:
        self.profiles = profiles
        self.runtime = runtime
        self.machine = machine
        self.inbox = inbox
        self.records: list[Log | AccessLog] = []
        self.outcome: Exit | BaseException | None = None
        self._seen = 0
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._peers: list[socket.socket] = []
        self._thread.start()
        self._await(lambda: machine.control_port != 0, "the control port")

    def _run(self) -> None:
        try:
            self.outcome = drive(self.runtime, self.machine, self.records.append, self.inbox, None, self.profiles)
        except BaseException as error:  # noqa: BLE001 - the test asks for it, see ``ended``
            self.outcome = error
        with self.machine.changed:
            self.machine.changed.notify_all()

    def _await(self, condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        with self.machine.changed:
            met = self.machine.changed.wait_for(lambda: condition() or self.outcome is not None, timeout_s)
        if not condition():
            reason = f"nothing came in {timeout_s} s" if not met else f"the driver ended: {self.outcome!r}"
            raise AssertionError(f"{what}: {reason}; events: {self.machine.events[-10:]}")

    # --- the machine ---

    def do(self, *orders: Command | Callable[[], None]) -> None:
        """Let the machine give these commands, all in one turn."""
        self.machine.orders.extend(orders)
        self._control.sendto(b"go", ("127.0.0.1", self.machine.control_port))

    def carry_out(self, *orders: Command | Callable[[], None]) -> None:
        """Let the machine give these commands, and wait until the driver has carried them out."""
        given_at: list[int] = []
        self.do(*orders, lambda: given_at.append(len(self.machine.events)))
        self._await(lambda: bool(given_at) and self.machine.drains[-1] >= given_at[0], "the end of the turn")

    def wait(self, kind: type[Kind], **fields: Any) -> Kind:
        """Return the next event of this kind with these fields, after the one returned last."""

        def found() -> Kind | None:
            for index in range(self._seen, len(self.machine.events)):
                event = self.machine.events[index]
                if isinstance(event, kind) and all(getattr(event, name) == fields[name] for name in fields):
                    self._position = index + 1
                    return event
            return None

        self._await(lambda: found() is not None, f"{kind.__name__} {fields}")
        event = found()
        assert event is not None
        self._seen = self._position
        return event

    def count(self, kind: type[Input], **fields: Any) -> int:
        return sum(
            isinstance(event, kind) and all(getattr(event, name) == fields[name] for name in fields)
            for event in list(self.machine.events)
        )

    def received(self, number: int) -> bytes:
        return b"".join(e.data for e in list(self.machine.events) if isinstance(e, Received) and e.connection == number)

    def wait_until(self, condition: Callable[[], bool], what: str = "condition") -> None:
        """Wait for a condition that an event makes true."""
        self._await(condition, what)

    # --- its peers ---

    def listen(self, host: str = "127.0.0.1", name: str = "tcp", port: int = 0) -> int:
        self.do(Listen(name, host, port))
        return self.wait(Listening, listener=name).port

    def peer(self, port: int, host: str = "127.0.0.1") -> tuple[socket.socket, int]:
        """Connect to the machine; return the peer's socket and the machine's number of the connection."""
        connected = self.keep(socket.create_connection((host, port), PATIENCE_S))
        return connected, self.wait(Accepted, port=connected.getsockname()[1]).connection

    def pair(self) -> tuple[socket.socket, int]:
        """Return a peer connected to a listener that is there just for it."""
        return self.peer(self.listen(name=f"tcp-{len(self._peers)}"))

    def origin(self) -> tuple[socket.socket, int]:
        """Let the machine connect to the test; return the test's socket and the machine's number."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE_S)
            number = 2 * len(self._peers) + 2
            self.do(Connect(number, "127.0.0.1", listener.getsockname()[1], PATIENCE_S))
            accepted, _ = listener.accept()
        accepted.settimeout(PATIENCE_S)
        self.wait(Connected, connection=number)
        return self.keep(accepted), number

    def keep(self, peer: socket.socket) -> socket.socket:
        self._peers.append(peer)
        return peer

    # --- the end ---

    def ended(self) -> Exit | BaseException:
        """Wait until the driver is through and return its result."""
        self._thread.join(PATIENCE_S)
        assert self.outcome is not None, "the driver goes on"
        return self.outcome

    def finish(self) -> None:
        """End every connection, check that the machine heard of every end once, and leave."""
        contract = self.machine.contract
        if self.outcome is None:
            self.do(lambda: self.machine.commands.extend(Abort(number) for number in contract.open))
            self._await(lambda: not (contract.open or contract.connecting or contract.resolving), "every end")
            assert not contract.opening
            self.do(Exit(0, "done"))
            assert self.ended() == Exit(0, "done")
        assert len(set(contract.ended)) == len(contract.ended)

    def close(self) -> None:
        if self._thread.is_alive():
            self.do(Exit(1, "the test failed"))
            self._thread.join(PATIENCE_S)
        for peer in self._peers:
            peer.close()
        self._control.close()


@contextlib.contextmanager
def staged(
    runtime: str, machine: Recorder | None = None, inbox: Inbox | None = None, profiles: Profiles | None = None
) -> Iterator[Stage]:
    stage = Stage(runtime, machine or Recorder(), inbox or Inbox(), profiles)
    try:
        yield stage
        stage.finish()
    finally:
        stage.close()


def delivered(peer: socket.socket) -> bool:
    """Return whether the kernel of the other end has acknowledged all that was sent."""
    return struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4))) == (0,)


def read_all(peer: socket.socket) -> bytes:
    """Read to the end of the stream."""
    pieces = []
    while piece := peer.recv(262_144):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(peer: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        assert piece, f"the stream ended after {len(data)} bytes"
        data += piece
    return data
