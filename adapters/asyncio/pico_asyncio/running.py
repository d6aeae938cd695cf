"""Running a machine as a whole process: a loop of its own, signals, and log records for what the loop reports."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from pico_asyncio.driver import drive
from pico_core.boundary import Exit, Machine
from pico_core.records import Log, Sink
from pico_driver.options import DriverOptions
from pico_driver.sockets import describe

if TYPE_CHECKING:
    from pico_driver.embedding.client import Program


def run(
    machine: Machine,
    sink: Sink,
    *,
    uvloop: bool = False,
    program: "Program | None" = None,
    **options: Unpack[DriverOptions],
) -> Exit:
    """Run a machine on a loop of its own until it says ``Exit``, and return that record.

    Signals and the other arguments are as in ``drive``. What the loop reports itself becomes a ``Log`` record. Raises
    what ``drive`` raises. ``program``, if it is given, runs with a ``Client`` of the machine, which ends with it. Next:
    end the process with ``exit.code``.
    """
    with _logged(sink), asyncio.Runner(loop_factory=_new_uvloop if uvloop else None) as runner:
        runner.get_loop().set_exception_handler(partial(_report, sink))
        if program is None:
            return runner.run(drive(machine, sink, signals=True, **options))
        from pico_asyncio.embedding import drive_program

        return runner.run(drive_program(machine, sink, program, signals=True, **options))


class _LoopLog(logging.Handler):
    """Takes what a loop writes to its logger; ``logging`` would write it to standard error, and might wait there."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(logging.WARNING)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one message to the sink."""
        self._sink(Log("warning", "driver", record.getMessage(), {}))


@contextmanager
def _logged(sink: Sink) -> Iterator[None]:
    """Have the loops' own logger speak to the sink alone."""
    logger = logging.getLogger("asyncio")
    handler = _LoopLog(sink)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _report(sink: Sink, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    sink(Log("error", "driver", str(context["message"]), {"reason": describe(context.get("exception"))}))


def _new_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
