"""The processes of workers: starts them, hands them their sockets, signals and reaps them, as a ``Supervisor`` says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from pico_core.config.server import draw_node_id
from pico_core.config.values import LOCALHOST, Address
from pico_core.errors import LocalProtocolError
from pico_core.program import ClosePorts, SignalWorker, StartWorker, TellWorker, WorkerEnded, WorkerStarted
from pico_core.server.worker import Worker
from pico_driver.sockets import UNUSABLE, describe, endpoint, local_addresses, open_listener
from pico_driver.threads import start_thread
from pico_driver.tls_sections import server_sections
from pico_tunnel.shared_ports import PortError, SharedPorts, own_gossip_port
from pico_tunnel.start import ServerSource, run_process

if TYPE_CHECKING:
    import socket

    from pico_core.boundary import Exit, Machine
    from pico_core.config.server import ServerConfig
    from pico_driver.attached import HostDriver
    from pico_driver.early import EarlyListeners
    from pico_driver.inbox import Inbox
    from pico_tunnel.screen import Screen

BOOT = (
    "import json, sys; sys.path[:] = json.loads(open(0, 'rb', 0, closefd=False).readline() or sys.exit(1)); "
    "from pico_tunnel.worker import main; sys.exit(main())"
)
"""The program of a worker. The first line of its standard input says where its parent finds modules."""

SUCCESSOR = b"s"
"""The line on the standard input of a worker that says that its successor serves. At the end of it the worker stops."""

LENGTH_BYTES = 4
"""Before the ``Setup`` on a worker's standard input."""

SECRET_BYTES = 16
"""128 random bits cannot be guessed."""


class Setup(msgspec.Struct):
    """The message to a worker at its start. ``sockets`` are host, port and descriptor of the open listeners."""

    flags: dict[str, str]
    path: str | None
    expand_env: bool
    text: str | None
    runtime: str | None
    worker: Worker
    sockets: list[tuple[str, int, int]]


def run_workers(source: ServerSource, config: ServerConfig, count: int, runtime: str | None) -> Exit:
    """Run ``count`` worker processes and the supervisor of them to their end. ``source`` is read again at SIGHUP."""
    from pico_driver.entropy import secure_entropy

    entropy = secure_entropy()
    group = draw_node_id(config.cluster, entropy) + "-"
    secret = entropy.randbytes(SECRET_BYTES).hex()

    ports = SharedPorts(config, count)

    def make(descriptors: int) -> Machine:
        from pico_core.server.workers.supervisor import Supervisor

        return Supervisor(config, count, group, secret, descriptors)

    def prepare(inbox: Inbox, _early: EarlyListeners) -> WorkerProcesses:
        return WorkerProcesses(source, config, ports, count, runtime, group, secret, inbox)

    def show(name: str, colour: bool, width: int) -> Screen:
        from pico_tunnel.workers_screen import SupervisorScreen

        title = f"server, {name}, {count} workers"
        return SupervisorScreen(title, config, ports.addresses, colour=colour, width=width)

    def own_id() -> str:
        return group.removesuffix("-")  # it is not a node, but the IDs of its workers begin with this

    return run_process(
        make, config, runtime, (), source.read, server_sections, prepare=prepare, show=show, node_id=own_id
    )


class WorkerProcesses:
    """Carries out the commands of a supervisor, and tells it through ``inbox`` what becomes of the processes."""

    def __init__(
        self,
        source: ServerSource,
        config: ServerConfig,
        ports: SharedPorts,
        count: int,
        runtime: str | None,
        group: str,
        secret: str,
        inbox: Inbox,
    ) -> None:
        self._source = source
        self._runtime = runtime
        self._group = group
        self._count = count
        self._secret = secret
        self._inbox = inbox
        self._gossip_host = config.cluster.gossip.bind_addr.host
        self._ports = ports
        self._children = _Children(self._ended)

    # --- for the driver ---

    def attach(self, driver: HostDriver) -> None:
        """Take the commands of ``driver``."""
        driver.perform |= {
            StartWorker: partial(self._start, driver),
            SignalWorker: self._signal,
            TellWorker: self._tell,
            ClosePorts: self._close_ports,
        }

    def detach(self, outcome: Exit | BaseException | None) -> None:
        """Let go of everything: processes that still run stop, as their standard input ends."""
        self._ports.close_all()
        self._children.close()

    # --- commands ---

    def _start(self, driver: HostDriver, command: StartWorker) -> None:
        try:
            started = self._spawn(command)
        except PortError as error:
            driver.hand_over(WorkerEnded(command.process, 1, str(error)))
        except UNUSABLE as error:
            driver.hand_over(WorkerEnded(command.process, 1, f"cannot start a worker: {describe(error)}"))
        else:
            driver.hand_over(started)

    def _spawn(self, command: StartWorker) -> WorkerStarted:
        shared = self._ports.open(command.number)
        with contextlib.ExitStack() as stack:
            gossip = stack.enter_context(own_gossip_port(self._gossip_host))
            control = stack.enter_context(open_listener(local_addresses(LOCALHOST, 0)))
            own_gossip = Address(self._gossip_host, endpoint(gossip.getsockname())[1])
            worker = Worker(
                number=command.number,
                count=self._count,
                node_id=command.node_id,
                group=self._group,
                own_gossip=own_gossip,
                control=Address(LOCALHOST, endpoint(control.getsockname())[1]),
                secret=self._secret,
                siblings=command.siblings,
                shared=dict(self._ports.addresses),
            )
            sockets: list[tuple[Address, socket.socket]] = [
                *((self._ports.addresses[key], each) for key, each in shared.items()),
                (worker.own_gossip, gossip),
                (worker.control, control),
            ]
            setup = Setup(
                self._source.flags,
                self._source.path,
                self._source.expand_env,
                self._source.text,
                self._runtime,
                worker,
                [(address.host, address.port, each.fileno()) for address, each in sockets],
            )
            pid = self._children.start(command.process, worker.number, setup)
            return WorkerStarted(command.process, pid, own_gossip.port, worker.control.port)

    def _signal(self, command: SignalWorker) -> None:
        self._children.signal(command.process, signal.Signals[command.signal])

    def _tell(self, command: TellWorker) -> None:
        self._children.write(command.process, SUCCESSOR)

    def _close_ports(self, command: ClosePorts) -> None:
        self._ports.close(command.number)

    def _ended(self, process: int, code: int) -> None:
        reason = "" if code >= 0 else f"it was ended by {_signal_name(-code)}"
        with contextlib.suppress(LocalProtocolError):  # the driver has ended
            self._inbox.put(WorkerEnded(process, code, reason))


class _Children:
    """The processes, and the thread that reaps them; and orphans, where this process is the first of a container."""

    def __init__(self, ended: Callable[[int, int], None]) -> None:
        """``ended`` is called in the thread, with the number of the process and its exit code or negative signal."""
        self._ended = ended
        self._changed = threading.Condition()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it was ignored, the kernel would not keep exit codes
        self._thread: threading.Thread | None = None

    def start(self, process: int, number: int, setup: Setup) -> int:
        """Start a process and return its ID. Raises ``OSError``."""
        data = msgspec.json.encode(setup)
        if self._thread is None:
            self._thread = start_thread("pico-reaper", self._reap)
        with self._changed:
            child = subprocess.Popen(  # noqa: S603 - this program again
                [sys.executable, "-P", "-c", BOOT, f"worker-{number}"],
                stdin=subprocess.PIPE,
                pass_fds=[descriptor for _, _, descriptor in setup.sockets],
                process_group=0,  # an interrupt at the terminal is for this process, which passes it on once
            )
            self._processes[process] = child
            self._changed.notify()
        self.write(process, msgspec.json.encode(sys.path) + b"\n" + len(data).to_bytes(LENGTH_BYTES, "big") + data)
        return child.pid

    def signal(self, process: int, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with self._changed:
            child = self._processes.get(process)
            if child is not None:
                os.kill(child.pid, number)

    def write(self, process: int, data: bytes) -> None:
        """Write to the standard input of a process, unless it has ended."""
        with self._changed:
            child = self._processes.get(process)
            if child is not None and child.stdin is not None:
                with contextlib.suppress(OSError):  # it ends just now
                    child.stdin.write(data)
                    child.stdin.flush()

    def close(self) -> None:
        """End the standard input of all processes, which stop then."""
        with self._changed:
            for child in self._processes.values():
                _close_input(child)

    def _reap(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._processes)
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:  # only where something else in this process has waited for them
                with self._changed:
                    lost, self._processes = self._processes, {}
                for each in lost:
                    self._ended(each, 1)
                continue
            code = os.waitstatus_to_exitcode(status)
            with self._changed:
                process = next((each for each, child in self._processes.items() if child.pid == pid), None)
                if process is None:
                    continue  # an orphan
                child = self._processes.pop(process)
                child.returncode = code  # as it was not reaped by itself
                _close_input(child)
            self._ended(process, code)


def _close_input(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
