"""A program that embeds an agent: it registers endpoints itself, and an application of it answers their requests.

The machine is the one behind ``pico_asyncio.connect``. What a program's event loop does there is done here by the
process: it takes the commands of ``pico_core.program``, and answers with the inputs of the same module.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from pico_core.agent.client import ClientMachine
from pico_core.agent.machine import AgentMachine
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.program import (
    APP,
    CallBegins,
    CallBody,
    CallCancelled,
    CallContinues,
    CallDropped,
    CallEnded,
    CallMessage,
    CallPaused,
    CallResponds,
    CallResumed,
    CallTook,
    ListenerClosed,
    ListenerLost,
    ListenerRefused,
    ListenerRegistered,
    ListenerUnreachable,
    OpenListener,
)
from tests.sim.origin import PIECE_BYTES, Ledger, pattern
from tests.sim.process import Process

PATIENCE_S = 30.0


def agent_of(
    config: AgentConfig, entropy: random.Random, ledger: Ledger, *, in_program: bool
) -> tuple[AgentMachine, Callable[..., Process]]:
    """Return the machine of an agent, and what makes its process: a program that embeds it, or one of its own."""
    if not in_program:
        return AgentMachine(config, entropy), Process
    machine = ClientMachine(replace(config, listeners=()), entropy)
    return machine, partial(Program, listeners=config.listeners, ledger=ledger)


class Call:
    """One call of the application, which answers as ``origin`` does."""

    def __init__(self, program: "Program", event: CallBegins) -> None:
        self.number = event.call
        self._program = program
        self._fields = dict(event.fields)
        self._is_head = event.method == b"HEAD"
        _, size, delay_ms = event.target.split(b"/")
        self._size, self._delay_s = int(size), int(delay_ms) / 1000
        self._received = 0
        self._rest = b""
        self._is_paused = self._has_begun = False
        program.ledger.begin(event.method.decode(), self._fields[b"x-attempt"].decode())
        self.receive(len(event.body), last=event.last)

    def receive(self, size: int, *, last: bool) -> None:
        """More of the body has come."""
        self._received += size
        if size:
            self._program.enqueue(CallTook(self.number, size))
        if last:
            self._program.world.after(self._delay_s, self._begin)

    def paused(self, *, is_paused: bool) -> None:
        """The client does not read, or reads again."""
        self._is_paused = is_paused
        if self._has_begun:
            self._send()

    def _begin(self) -> None:
        if self._program.calls.get(self.number) is not self:
            return  # nobody waits for the answer
        number = int(self._fields[b"x-number"])
        self._rest = b"" if self._is_head else pattern(number, self._size)
        self._has_begun = True
        fields = [(b"x-number", b"%d" % number), (b"x-received", b"%d" % self._received)]
        if number % 2 == 0:
            fields.append((b"content-length", b"%d" % self._size))
        is_all = not self._rest
        self._program.enqueue(CallResponds(self.number, 200, tuple(fields), b"", is_all))
        if is_all:
            self._program.end(self.number)
        else:
            self._send()

    def _send(self) -> None:
        while self._rest and not self._is_paused:
            piece, self._rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:]
            self._program.enqueue(CallContinues(self.number, piece, not self._rest))
            if not self._rest:
                self._program.end(self.number)


class Program(Process):
    """A ``Process`` whose machine is a ``ClientMachine``. ``listeners`` are the endpoints that it serves."""

    def __init__(self, *arguments: Any, listeners: Sequence[ListenerConfig], ledger: Ledger, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ledger = ledger
        self.calls: dict[int, Call] = {}
        self._listeners_wanted = listeners
        self._perform |= {
            CallBegins: self._call,
            CallBody: self._call_body,
            CallPaused: lambda command: self._call_paused(command.call, is_paused=True),
            CallResumed: lambda command: self._call_paused(command.call, is_paused=False),
            CallDropped: lambda command: self.end(command.call),
            CallCancelled: lambda command: self.end(command.call),
            CallMessage: lambda _: None,
            ListenerRegistered: lambda _: self._count("endpoint of a program registered"),
            ListenerLost: lambda _: self._count("endpoint of a program lost"),
            ListenerUnreachable: lambda _: self._count("endpoint of a program unreachable"),
            ListenerRefused: self._refused,
            ListenerClosed: lambda _: self._count("endpoint of a program closed"),
        }

    def start(self) -> None:
        """Start, and register the endpoints."""
        super().start()
        for number, config in enumerate(self._listeners_wanted, 1):
            self.enqueue(OpenListener(number, config, APP, PATIENCE_S))

    def end(self, call: int) -> None:
        """The application has returned."""
        if self.calls.pop(call, None) is not None:
            self.enqueue(CallEnded(call, ""))

    def _call(self, command: CallBegins) -> None:
        self._count("application of a program called")
        self.calls[command.call] = Call(self, command)

    def _call_body(self, command: CallBody) -> None:
        call = self.calls.get(command.call)
        if call is not None:
            call.receive(sum(map(len, command.pieces)), last=command.last)

    def _call_paused(self, number: int, *, is_paused: bool) -> None:
        call = self.calls.get(number)
        if call is not None:
            call.paused(is_paused=is_paused)

    def _refused(self, command: ListenerRefused) -> None:
        raise self.violation(f"was refused: {command.status} {command.reason}")

    def _count(self, what: str) -> None:
        self.world.sometimes[what] += 1
