"""The machine of the process that starts workers: it has the admin port, and no connection of a client.

Life of a supervisor::

    STARTING --all workers ready--> RUNNING --ShutdownRequested--> DRAINING --all have ended--> exit
        |
        +--a worker ended before it was ready--> exit with its code

The first worker starts alone until it answers, since what stops one would stop all; then the others. A worker that
ends is started again, after a pause that grows. A changed configuration goes to the workers by SIGHUP. Where a key
needs a new process, one worker after the other is replaced: its successor accepts from the same ports before it stops.
"""

from msgspec.structs import replace

from pico_core.boundary import ConfigReloaded, Exit, Listen, ListenFailed, Listening, ShutdownRequested
from pico_core.config.changes import changed_keys, is_among, taken_over
from pico_core.config.logs import LogConfig
from pico_core.config.server import ServerConfig
from pico_core.config.values import LOCALHOST, Address
from pico_core.machine.admission import MAX_DESCRIPTORS
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import STOP_HINT
from pico_core.plain.client import PlainRequest, PlainResponse
from pico_core.plain.server import PlainConnection
from pico_core.program import (
    ClosePorts,
    SignalWorker,
    StartWorker,
    TellWorker,
    WorkerEnded,
    WorkerStarted,
)
from pico_core.records import UseLogConfig
from pico_core.server.facts import NodePhase
from pico_core.server.limits import connection_limits
from pico_core.server.reloading import APPLIED, switched_tls
from pico_core.server.workers.asking import control_fields
from pico_core.server.workers.pages import SupervisorPages
from pico_core.server.workers.slots import CLOSES_PORTS_S, Process, Slot

READY_CHECK_S = 0.05
"""How often a worker that starts is asked whether it is ready."""
READY_TIMEOUT_S = 5.0
"""The seconds that a worker may take for that answer: it may be importing its code."""

KILL_AFTER_S = 5.0
"""How long beyond the grace period a worker may take to end before it is killed."""

FIXED = (
    "workers",
    "proxy.bind_addr",
    "upstream.bind_addr",
    "admin.bind_addr",
    "cluster.gossip.bind_addr",
    "cluster.node_id",
    "cluster.node_id_prefix",
)
"""Keys that are fixed while the supervisor runs: it has the ports, and the names."""

TERMINATED = -15
"""The code of a process that SIGTERM ended before it could handle it: it had not served anybody yet."""


class Supervisor(BaseMachine):
    """A ``Machine``. The node IDs of the workers begin with ``group``; ``secret`` opens their control ports."""

    def __init__(
        self, config: ServerConfig, count: int, group: str, secret: str, descriptors: int = MAX_DESCRIPTORS
    ) -> None:
        """``count`` is the number of workers, ``descriptors`` how many the process may have open."""
        super().__init__(connection_limits(config, descriptors))
        self.config = config
        self.state = NodePhase.STARTING
        self.slots = [Slot(number) for number in range(1, count + 1)]
        self.secret = secret
        self._group = group
        self._next_process = 1
        self._waiting: list[Slot] = []
        """Those whose process is to be replaced, next one first."""
        self._worst = 0
        self._message = ""
        self._pages = SupervisorPages(self, self)
        self._handlers |= {WorkerStarted: self._worker_started, WorkerEnded: self._worker_ended}

    # --- start ---

    def on_start(self, now: float) -> None:
        """Open the admin port."""
        admin = self.config.admin
        self.emit(Listen("admin", admin.bind_addr.host, admin.bind_addr.port, "admin" if admin.tls.enabled else ""))

    def on_listening(self, event: Listening, now: float) -> None:
        """Start the first worker."""
        self.log("info", "admin", "listening", addr=str(Address(event.host, event.port)))
        self._start(self.slots[0])

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """Stop: what watches the workers would not see them."""
        address = self.config.admin.bind_addr
        self.emit(
            Exit(
                1,
                f"cannot listen on admin address '{address}': {event.reason}; "
                "choose another one with --admin.bind-addr",
            )
        )

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Answer an operator."""
        PlainConnection(channel, self._pages, self, now)

    def _start(self, slot: Slot) -> None:
        number = self._next_process
        self._next_process += 1
        slot.current = Process(number, f"{self._group}{slot.number}-{number}")
        siblings = tuple(each.gossip_port for each in self._processes() if each.gossip_port)
        self.emit(StartWorker(slot.number, number, slot.current.node_id, siblings))

    def _worker_started(self, event: WorkerStarted, now: float) -> None:
        slot, process = self._find(event.process)
        process.pid, process.gossip_port, process.control_port = event.pid, event.gossip_port, event.control_port
        self.log("info", "workers", "worker started", worker=slot.number, pid=event.pid, node_id=process.node_id)
        self._check_ready(process, now)

    def _check_ready(self, process: Process, now: float) -> None:
        if any(process is each for each in self._processes()) and process.ready_at is None:
            address = Address(LOCALHOST, process.control_port)
            asker = _Readiness(self, process)
            PlainRequest(self, address, "/ready", asker, READY_TIMEOUT_S, now, fields=control_fields(self))

    def answered(self) -> None:
        """A process answers: its ports are open, and the others may follow."""
        if self.state is NodePhase.STARTING:
            for slot in self.slots:
                if slot.current is None and not slot.was_ready:
                    self._start(slot)

    def not_ready(self, process: Process, now: float) -> None:
        """Ask a process again soon."""
        self.timers.schedule(now + READY_CHECK_S, lambda at: self._check_ready(process, at))

    def became_ready(self, process: Process, now: float) -> None:
        """A process serves: the one before it may leave now."""
        if process.ready_at is not None or not any(process is each for each in self._processes()):
            return
        process.ready_at = now
        slot, _ = self._find(process.id)
        slot.was_ready = True
        if process.stale:
            self._signal(process, "SIGHUP")
        if self.state is NodePhase.STARTING and all(each.was_ready for each in self.slots):
            self.state = NodePhase.RUNNING
            self.log("info", "workers", "all workers are ready", workers=len(self.slots))
        if slot.former is not None and slot.current is process:
            slot.former.is_told = True
            self.emit(TellWorker(slot.former.id))
            self._pages.live.leave(slot.former, now)
            self._kill_later([slot.former], now)

    # --- ends ---

    def _worker_ended(self, event: WorkerEnded, now: float) -> None:
        slot, process = self._find(event.process)
        reason = event.reason or (f"it left with code {event.code}" if event.code >= 0 else "")
        if self.state is NodePhase.DRAINING or self.state is NodePhase.STOPPED:
            self._drop(slot, process)
            self._worst = max(self._worst, int(event.code < 0 and event.code != TERMINATED), event.code)
            self._exit_if_over()
        elif process is slot.former:
            slot.former = None
            self.log("info", "workers", "worker replaced", worker=slot.number, pid=process.pid, code=event.code)
            self._replace_next(now)
        elif slot.former is not None:
            slot.current, slot.former = slot.former, None
            self._waiting.clear()
            self.log(
                "warning",
                "workers",
                "the changed configuration is not used: its worker ended",
                worker=slot.number,
                reason=reason,
            )
        elif not slot.was_ready:
            self._drop(slot, process)
            self._worst, self._message = max(event.code, 1), event.reason
            self._stop_all("SIGTERM" if any(each.was_ready for each in self.slots) else "SIGKILL", now)
            self._exit_if_over()
        else:
            pause_s = slot.pause_s(now)
            self._drop(slot, process)
            if pause_s >= CLOSES_PORTS_S:
                self.emit(ClosePorts(slot.number))
            self.log(
                "warning",
                "workers",
                "worker ended, another one follows",
                worker=slot.number,
                pid=process.pid,
                reason=reason,
                retry_in_s=round(pause_s, 2),
            )
            self.timers.schedule(now + pause_s, lambda at: self._restart(slot, at))

    def _drop(self, slot: Slot, process: Process) -> None:
        if slot.former is process:
            slot.former = None
        else:
            slot.current = None

    def _restart(self, slot: Slot, now: float) -> None:
        if slot.current is None and self.state is not NodePhase.DRAINING:
            slot.restarts += 1
            self._start(slot)

    def use_log(self, config: LogConfig) -> None:
        """Log as an operator asks."""
        self.config = replace(self.config, log=config)
        self.emit(UseLogConfig(config))

    # --- reload ---

    def on_config_reloaded(self, event: ConfigReloaded, now: float) -> None:
        """Pass it on: to processes that take it over, or to new ones."""
        config = event.config
        assert isinstance(config, ServerConfig), "a server's configuration is read again as it was read"
        if self.state is NodePhase.DRAINING:
            return
        changed = list(changed_keys(self.config, config))
        switched = switched_tls(self.config, config)
        own = [each for each in switched if each == "admin.tls"]  # the admin port is the supervisor's
        fixed = [key for key in changed if key in FIXED or is_among(key, own)]
        if fixed:
            self.log("warning", "config", "some changes need a restart", keys=", ".join(fixed))
        sealing = bool(config.cluster.gossip.secrets) != bool(self.config.cluster.gossip.secrets)
        applied = set(APPLIED).difference(switched)
        new = [key for key in changed if key not in fixed and (sealing or not is_among(key, applied))]
        self.config = taken_over(self.config, config, [key for key in changed if key not in fixed])
        self.admission.configure(connection_limits(self.config, self.admission.limits.most))
        if new:
            self.log("info", "config", "replacing the workers one after the other", changed=", ".join(new))
            self._waiting = list(self.slots)
            if not any(slot.former is not None for slot in self.slots):
                self._replace_next(now)
            return
        for process in self._processes():
            if process.ready_at is None:
                process.stale = True
            elif not process.is_told:
                self._signal(process, "SIGHUP")

    def _replace_next(self, now: float) -> None:
        while self._waiting:
            slot = self._waiting.pop(0)
            if slot.current is not None:
                slot.former = slot.current
                self._start(slot)
                return
        self.log("info", "workers", "all workers go by the changed configuration")

    # --- stop ---

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """The first request drains all workers, a second one ends them at once."""
        if self.state is NodePhase.DRAINING:
            self._worst, self._message = 1, "stopped at once by a second signal"
            self._stop_all("SIGKILL", now)
            return
        self.log(
            "info", "workers", "draining", workers=len(self.slots), at_most_s=self.config.grace_period_s, hint=STOP_HINT
        )
        self._stop_all("SIGTERM", now)
        self._exit_if_over()

    def _stop_all(self, name: str, now: float) -> None:
        """Ask all processes to end. Their ports are theirs alone now, so that they close when the workers do."""
        self.state = NodePhase.DRAINING
        self._waiting.clear()
        for slot in self.slots:
            self.emit(ClosePorts(slot.number))
        for process in self._processes():
            if name == "SIGKILL" or not process.is_told:
                process.is_told = True
                self._signal(process, name)
        self._kill_later(self._processes(), now)

    def _kill_later(self, processes: list[Process], now: float) -> None:
        def kill(_now: float) -> None:
            for process in processes:
                if any(process is each for each in self._processes()):
                    self.log("warning", "workers", "worker did not end in time and is killed", pid=process.pid)
                    self._signal(process, "SIGKILL")

        self.timers.schedule(now + self.config.grace_period_s + KILL_AFTER_S, kill)

    def _exit_if_over(self) -> None:
        if not self._processes():
            self.state = NodePhase.STOPPED
            self.log("info", "workers", "stopped")
            self.emit(Exit(self._worst, self._message))

    # --- inside ---

    def _signal(self, process: Process, name: str) -> None:
        self.emit(SignalWorker(process.id, name))

    def _processes(self) -> list[Process]:
        return [process for slot in self.slots for process in slot.processes]

    def _find(self, number: int) -> tuple[Slot, Process]:
        return next((slot, each) for slot in self.slots for each in slot.processes if each.id == number)


class _Readiness:
    """Asks a process once whether it is ready."""

    __slots__ = ("_process", "_supervisor")

    def __init__(self, supervisor: Supervisor, process: Process) -> None:
        self._supervisor = supervisor
        self._process = process

    def on_response(self, response: PlainResponse, now: float) -> None:
        """Note that it is, or ask again soon."""
        self._supervisor.answered()
        if response.status == 200:
            self._supervisor.became_ready(self._process, now)
        else:
            self._supervisor.not_ready(self._process, now)

    def on_no_response(self, reason: str, now: float) -> None:
        """Ask again soon."""
        self._supervisor.not_ready(self._process, now)
