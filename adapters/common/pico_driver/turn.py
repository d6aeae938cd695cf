"""The conversation between a driver and its machine, turn by turn.

A driver gathers inputs with ``hand_over`` until it has looked at everything that is ready, then calls ``take_turn``.
That gives all of them to the machine, drains ``poll()`` through a table from command type to method, and looks at
``deadline()``. So the inputs of a turn are polled for once, however many they are. The kernel's code and ours alternate
once a turn and not for every input, which spares the caches that they share. No event makes a task, a future, a closure
or a timer of its own.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from pico_core.boundary import Exit, Input, LogLinesDropped, Machine, Tick
from pico_core.config.logs import LogConfig
from pico_core.errors import LocalProtocolError
from pico_core.records import AccessLog, Log, MeasureProcess, Sink, Spans, UseLogConfig
from pico_driver.inbox import Inbox
from pico_driver.options import TakeSpans, UseLog

SHORTEST_WAIT_S: Final = 0.001
"""A timer is never set shorter: uvloop counts milliseconds, and a deadline in the past must not spin the loop."""

LATE_S: Final = 0.2
"""A timer that goes off so late was held up with the whole process: it was stopped, or the loop was blocked. What came
meanwhile waits in the sockets. It is read first, so that an answer is not taken for one that did not come in time."""

NO_SPANS: Final = Spans(())


class Conversation(ABC):
    """Gives one machine its inputs until it says ``Exit``. ``clock`` is monotonic and finer than a millisecond.

    A subclass adds its commands to ``perform``.
    """

    def __init__(self, machine: Machine, sink: Sink, clock: Callable[[], float]) -> None:
        self.outcome: Exit | BaseException | None = None
        """The ``Exit`` or the error that ended the conversation; ``None`` while it lasts."""
        self.perform: dict[type, Callable[[Any], None]] = {
            Log: self.log,
            AccessLog: self.log,
            MeasureProcess: self._measure_process,
            UseLogConfig: self._use_log_config,
            Spans: self._pass_spans_on,
            Exit: self.end,
        }
        self._machine = machine
        self._sink = sink
        self._dropped_lines = 0
        self._clock = clock
        self._inputs: list[Input] = []
        self._over = False
        self._armed_at = math.inf
        self._looks_first = False
        self._inbox: Inbox | None = None
        self._use_log: UseLog | None = None
        self._take_spans: TakeSpans | None = None
        self._spans_dropped = -1

    # --- inputs ---

    def hand_over(self, event: Input) -> None:
        """Keep one input for the machine, which gets it at the end of the turn."""
        self._inputs.append(event)

    def announce(self, *events: Input) -> None:
        """Give the machine inputs that came outside of a turn, and take a turn for them."""
        self._inputs += events
        self.take_turn()

    def tick(self) -> None:
        """Tell the machine that time passed: the conversation begins, or the timer went off."""
        if self._clock() - self._armed_at > LATE_S and not self._looks_first:
            self._looks_first = True
            self._set_timer(self._clock() + SHORTEST_WAIT_S)
            return
        self._looks_first = False
        self._armed_at = math.inf
        self.announce(Tick(time.time()))

    def open_inbox(self, inbox: Inbox, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Take inputs from an inbox too. ``call_soon`` makes the loop call a function soon; any thread may call it."""
        try:
            inbox.open(lambda: call_soon(self._empty_inbox))
        except LocalProtocolError as error:
            self.end(error)  # the inbox belongs to another driver, which goes on
        else:
            self._inbox = inbox

    def _empty_inbox(self) -> None:
        if self._inbox is not None:
            self.announce(*map(self.taken, self._inbox.take()))

    def taken(self, event: Input) -> Input:
        """Return the input that the machine gets for an item of the inbox."""
        return event

    def log(self, record: Log | AccessLog) -> None:
        """Hand a record to the sink, and tell the machine when the sink has dropped lines."""
        dropped = self._sink(record)
        if dropped and dropped != self._dropped_lines:
            self._dropped_lines = dropped
            self._inputs.append(LogLinesDropped(dropped))

    def _use_log_config(self, command: UseLogConfig) -> None:
        config = command.config
        assert isinstance(config, LogConfig), "levels are told as they are configured"
        if self._use_log is not None:
            self._use_log(config)

    def _measure_process(self, command: MeasureProcess) -> None:
        from pico_driver.process import measure  # for scrapes only

        self._pass_spans_on(NO_SPANS)  # some may have been lost since
        self._inputs.append(measure(command.query, self._spans_dropped))

    def _pass_spans_on(self, command: Spans) -> None:
        if self._take_spans is not None:
            self._spans_dropped = self._take_spans(command)

    # --- the turn ---

    def take_turn(self) -> None:
        """Give the machine its inputs, carry out its commands and set the timer."""
        poll = self._machine.poll
        perform = self.perform
        try:
            while self._inputs and not self._over:
                inputs, self._inputs = self._inputs, []
                handle = self._machine.handle
                now = self._clock()
                for event in inputs:
                    handle(event, now)
                # Carrying out commands brings more, such as a full buffer: the machine hears of it before it sends on.
                while not self._inputs and (command := poll()) is not None:
                    perform[type(command)](command)
            if not self._over:
                self._arm()
        except Exception as error:  # noqa: BLE001 - a bug in the machine or the sink: kept, for ``drive`` to raise it
            self.end(error)

    def _arm(self) -> None:
        """Set the one timer, unless it goes off early enough as it is: a superfluous tick does no harm."""
        deadline = self._machine.deadline()
        if deadline is not None and deadline < self._armed_at:
            self._armed_at = deadline
            self._set_timer(max(deadline, self._clock() + SHORTEST_WAIT_S))

    @abstractmethod
    def _set_timer(self, at: float) -> None:
        """Have ``tick`` called at ``at`` and at no earlier time that was asked for before."""

    # --- the end ---

    def end(self, outcome: Exit | BaseException) -> None:
        """End the conversation, unless it has ended: the machine gets no further input. Next: ``result``."""
        self._over = True
        if self.outcome is None:
            self.outcome = outcome
            self._wake()

    @abstractmethod
    def _wake(self) -> None:
        """Wake ``drive``, which waits for ``outcome``."""

    def close(self) -> None:
        """End the conversation without an outcome if it has none, and refuse what an inbox brings."""
        self._over = True
        if self._inbox is not None:
            self._inbox.close()

    def result(self) -> Exit:
        """Return the ``Exit`` of the machine; raises the error that ended the conversation, such as a bug in it."""
        if isinstance(self.outcome, Exit):
            return self.outcome
        assert self.outcome is not None, "the conversation goes on"
        raise self.outcome
