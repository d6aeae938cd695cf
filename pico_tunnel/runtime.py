"""The runtimes by name. Each has a driver, which is imported only when its runtime was chosen.

uvloop is the default where it is installed (it has no Windows build), because it serves a request in about a third
less time than asyncio's own loop.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.util import find_spec
from typing import TYPE_CHECKING, Unpack

from pico_core.errors import ConfigError
from pico_tunnel.collecting import resume

if TYPE_CHECKING:
    from pico_core.boundary import Exit, Machine
    from pico_core.records import AccessLog, Log, Sink
    from pico_driver.attached import Attached
    from pico_driver.embedding.client import Program
    from pico_driver.options import DriverOptions

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

RUNTIMES = ("uvloop", "asyncio", "trio")


def installed() -> tuple[str, ...]:
    """Return the runtimes that can be imported here, the preferred one first."""
    return tuple(name for name in RUNTIMES if name == "asyncio" or find_spec(name) is not None)


def choose(wanted: str | None, available: Collection[str]) -> str:
    """Return the runtime to use, the first available one if none is wanted. Raises ``ConfigError``. Next: ``run``."""
    if wanted is None:
        return next(name for name in RUNTIMES if name in available)
    if wanted not in available:
        raise ConfigError(f"--runtime: {wanted} is not installed here; install it, or take --runtime asyncio")
    return wanted


def drop_record(record: Log | AccessLog) -> None:
    """Drop a log record: the sink of a command whose answer, or its absence, says how it went."""


def keep_memory() -> None:
    """Have glibc keep freed memory for the next read instead of returning it to the kernel at once.

    Bodies pass in pieces of up to 256 KiB. With glibc's defaults each of them is mapped, cleared page by page and
    unmapped again, which takes as much CPU as all the rest (1.7 s a GiB against 0.9). Other C libraries have no such
    call and are left alone.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        mallopt(_M_TRIM_THRESHOLD, 16 << 20)


def run(
    machine: Machine,
    sink: Sink,
    runtime: str,
    *,
    program: Program | None = None,
    hub: Attached | None = None,
    **options: Unpack[DriverOptions],
) -> Exit:
    """Run a node machine to its end on a runtime that ``choose`` returned; ``Exit`` says how it ended.

    ``program`` runs with a ``Client`` of the machine, if there is one; else ``hub`` takes what the machine says to this
    process. ``options`` are for the driver.
    """
    keep_memory()
    if runtime == "trio":
        import pico_trio

        resume()
        if program is not None:
            return pico_trio.run_program(machine, sink, program, **options)
        return pico_trio.run(machine, sink, hub=hub, **options)
    import pico_asyncio

    resume()
    uvloop = runtime == "uvloop"
    return pico_asyncio.run(machine, sink, uvloop=uvloop, program=program, hub=hub, **options)
