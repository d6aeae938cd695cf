"""A process that runs one of the test machines: ``python -m tests.adapters.node RUNTIME MACHINE [FILES]``.

Prints the port, then every log record, and leaves with the code of the machine's ``Exit``. ``FILES`` lowers the
number of files the process may have open once it listens.
"""

import resource
import sys

import pico_asyncio
import pico_trio
from pico_core.boundary import Exit, Machine
from pico_core.records import AccessLog, Log
from tests.adapters import machines


def run(runtime: str, machine: Machine, sink: pico_asyncio.Sink) -> Exit:
    if runtime == "trio":
        return pico_trio.run(machine, sink)
    return pico_asyncio.run(machine, sink, uvloop=runtime == "uvloop")


def main(runtime: str, machine: str, files: str = "") -> int:
    def sink(record: Log | AccessLog) -> None:
        assert isinstance(record, Log)
        if record.message == "listening":
            print(record.fields["port"], flush=True)
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
        else:
            print(record.message, record.fields, flush=True)

    return run(runtime, getattr(machines, machine)(), sink).code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
