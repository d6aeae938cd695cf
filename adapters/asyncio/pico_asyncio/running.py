"""Running a machine as a whole process: a loop of its own, signals, and log records for what the loop reports."""

import asyncio
from functools import partial
from typing import Any

from pico_asyncio.driver import drive
from pico_core.boundary import Exit, Log, Machine, Sink
from pico_driver.inbox import Inbox
from pico_driver.sockets import describe


def run(machine: Machine, sink: Sink, *, uvloop: bool = False, inbox: Inbox | None = None) -> Exit:
    """Run a machine on a loop of its own until it says ``Exit``, and return that record.

    SIGTERM and SIGINT become ``ShutdownRequested``. What the loop itself complains of becomes a ``Log`` record.
    Raises what ``drive`` raises. Next: end the process with ``exit.code``.
    """
    with asyncio.Runner(loop_factory=_new_uvloop if uvloop else None) as runner:
        runner.get_loop().set_exception_handler(partial(_report, sink))
        return runner.run(drive(machine, sink, signals=True, inbox=inbox))


def _report(sink: Sink, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    sink(Log("error", "driver", str(context["message"]), {"reason": describe(context.get("exception"))}))


def _new_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
