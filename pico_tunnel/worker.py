"""The process of one worker: a server node that shares its ports with others, and stops with its parent."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

import msgspec

from pico_core.errors import EXIT_INTERRUPTED, ConfigError, LocalProtocolError
from pico_driver.signals import SHUTDOWN
from pico_driver.tls_sections import server_sections
from pico_tunnel.complaints import EXIT_FAILURE, EXIT_USAGE, complain
from pico_tunnel.start import ServerSource, run_process
from pico_tunnel.workers import LENGTH_BYTES, SUCCESSOR, Setup

if TYPE_CHECKING:
    from pico_core.boundary import Exit, Machine
    from pico_driver.early import EarlyListeners
    from pico_driver.inbox import Inbox
    from pico_tunnel.screen import Screen

STDIN = 0


def main() -> int:
    """Run a worker as standard input says, and return the exit code; never raises."""
    try:
        setup = msgspec.json.decode(_read_exactly(int.from_bytes(_read_exactly(LENGTH_BYTES), "big")), type=Setup)
        end = _run(setup)
    except EOFError:  # the parent has ended, and there is no process left to tell
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ConfigError as error:
        complain(str(error))
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 - a bug of ours: an operator gets one line, not a traceback
        complain(f"internal error in a worker, please report it: {error!r}")
        return EXIT_FAILURE
    if end.message:
        complain(end.message)
    return end.code


def _read_exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(STDIN, count - len(data))
        if not more:
            raise EOFError("the process that starts workers has ended")
        data += more
    return data


def _run(setup: Setup) -> Exit:
    source = ServerSource(setup.flags, setup.path, expand_env=setup.expand_env, text=setup.text)
    config = source.read_kept()

    def make(descriptors: int) -> Machine:
        from pico_core.server.node import ServerNode
        from pico_driver.entropy import secure_entropy

        return ServerNode(config, setup.worker.node_id, secure_entropy(), descriptors, setup.worker)

    def prepare(inbox: Inbox, early: EarlyListeners) -> None:
        for host, port, descriptor in setup.sockets:
            early.adopt(host, port, socket.socket(fileno=descriptor))
        threading.Thread(target=_watch_parent, args=(inbox,), name="pico-parent", daemon=True).start()

    def show(_name: str, colour: bool, width: int) -> Screen:
        from pico_tunnel.workers_screen import WorkerScreen

        return WorkerScreen(config, setup.worker.group, colour=colour, width=width)

    me = setup.worker
    return run_process(
        make,
        config,
        setup.runtime,
        (),
        source.read,
        server_sections,
        prepare=prepare,
        worker=me.number,
        show=show,
        node_id=lambda: me.node_id,
    )


def _watch_parent(inbox: Inbox) -> None:
    """Tell the machine what the parent says: that a successor serves; by its end, that there is no parent any more."""
    from pico_core.program import SuccessorServes

    with contextlib.suppress(LocalProtocolError):  # the driver has ended
        while os.read(STDIN, 1) == SUCCESSOR:
            inbox.put(SuccessorServes())
        inbox.put(SHUTDOWN)
