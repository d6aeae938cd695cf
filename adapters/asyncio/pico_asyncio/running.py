"""Running a machine as a whole process: a loop of its own, signals, and the loop's complaints as log records."""

import asyncio
from typing import Any

from pico_asyncio.driver import Sink, drive
from pico_asyncio.sockets import describe
from pico_core.boundary import Exit, Log, NodeMachine


def run(machine: NodeMachine, sink: Sink, *, uvloop: bool = False) -> Exit:
    """Run a machine on a loop of its own until it says ``Exit``, and return that record.

    SIGTERM and SIGINT become ``ShutdownRequested``. What the loop itself complains of becomes a ``Log`` record.
    Raises what ``drive`` raises. Next: end the process with ``exit.code``.
    """
    with asyncio.Runner(loop_factory=_new_uvloop if uvloop else None) as runner:
        runner.get_loop().set_exception_handler(_Complaints(sink))
        return runner.run(drive(machine, sink, signals=True))


class _Complaints:
    """Turns what a loop of our own reports (out of file descriptors, say) into ``Log`` records, one a second each.

    asyncio reports a failing ``accept`` once for every connection it might have accepted in that turn.
    """

    _SILENCE_S = 1.0

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._silent_until: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = str(context["message"])
        if self._silent_until.get(message, 0.0) > loop.time():
            return
        self._silent_until = {message: loop.time() + self._SILENCE_S}
        error = context.get("exception")
        self._sink(Log("error", "driver", message, {"reason": describe(error)}))


def _new_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
