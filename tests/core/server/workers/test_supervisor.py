"""The decisions of a supervisor: which process starts, is told, signalled or killed, and when."""

from collections import deque

import msgspec
import pytest

from pico_core.boundary import (
    Accepted,
    Command,
    ConfigReloaded,
    Connect,
    Connected,
    ConnectionLost,
    Exit,
    Input,
    Listen,
    ListenFailed,
    Listening,
    Received,
    Send,
    ShutdownRequested,
    Tick,
)
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.program import ClosePorts, SignalWorker, StartWorker, TellWorker, WorkerEnded, WorkerStarted
from pico_core.records import Log, MeasureProcess, ProcessMeasured
from pico_core.server.admin.agents import AgentRow, Agents
from pico_core.server.workers.slots import FIRST_RESTART_PAUSE_S, MAX_RESTART_PAUSE_S, WORKED_S
from pico_core.server.workers.supervisor import KILL_AFTER_S, READY_TIMEOUT_S, Supervisor

READY = (200, "text/plain", b"running\n")
NOT_READY = (503, "text/plain", b"starting\n")


def config(**flags: str) -> ServerConfig:
    return load(ServerConfig, None, {name.replace("__", "."): text for name, text in flags.items()}, "", read_nothing)


def read_nothing(path: str) -> str:
    raise AssertionError(path)


class Watched:
    """A supervisor, with what it has asked for. Processes start at once; they answer what ``says`` has, or nothing."""

    def __init__(self, workers: int = 2, **flags: str) -> None:
        self.now = 0.0
        self.machine = Supervisor(config(**flags), workers, "group-", "secret")
        self.orders: deque[Command] = deque()
        self.logs: list[Log] = []
        self.says: dict[int, tuple[int, str, bytes]] = {}
        self.siblings: dict[int, tuple[int, ...]] = {}
        self.asked: list[bytes] = []
        self._ports: dict[int, int] = {}
        self.tell(Tick(0.0))
        assert self.orders.popleft() == Listen("admin", "", 8002)
        self.tell(Listening("admin", "::", 8002))

    def tell(self, *events: Input) -> None:
        waiting = deque(events)
        while waiting:
            self.machine.handle(waiting.popleft(), self.now)
            while (command := self.machine.poll()) is not None:
                waiting += self._carry_out(command)

    def _carry_out(self, command: Command) -> list[Input]:
        """Do what is asked for, and return what comes of it; orders to processes are kept."""
        if isinstance(command, MeasureProcess):
            return [ProcessMeasured(command.query, cpu_s=0.5)]
        if isinstance(command, StartWorker):
            self.orders.append(command)
            self.siblings[command.process] = command.siblings
            return [WorkerStarted(command.process, 100 + command.process, 9000 + command.process, command.process)]
        if isinstance(command, Connect):
            self._ports[command.connection] = command.port
            return [Connected(command.connection, "127.0.0.1", command.port)]
        if isinstance(command, Send) and command.connection in self._ports:
            return self._answer(command)
        if isinstance(command, Log):
            self.logs.append(command)
        elif isinstance(command, Exit | SignalWorker | TellWorker | ClosePorts | Listen | Send):
            self.orders.append(command)
        return []

    def _answer(self, command: Send) -> list[Input]:
        number = command.connection
        process = self._ports.pop(number)
        self.asked.append(bytes(command.data) if isinstance(command.data, bytes) else b"".join(command.data))
        if process not in self.says:
            return []
        status, kind, body = self.says[process]
        head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return [Received(number, head + body), ConnectionLost(number, "")]

    def until(self, at: float) -> None:
        """Let time pass."""
        while (due := self.machine.deadline()) is not None and due <= at:
            self.now = max(self.now, due)
            self.tell(Tick(0.0))
        self.now = at
        self.tell(Tick(0.0))

    def ready(self, *processes: int) -> None:
        """Have processes be ready."""
        self.says |= dict.fromkeys(processes, READY)
        self.until(self.now + READY_TIMEOUT_S + 2.0)  # until it is asked again

    def taken(self) -> list[Command]:
        """Return the orders since the last call."""
        orders, self.orders = list(self.orders), deque()
        return orders

    def messages(self) -> list[str]:
        return [each.message for each in self.logs]


def start(number: int, process: int, *siblings: int) -> StartWorker:
    return StartWorker(number, process, f"group-{number}-{process}", siblings)


def running(workers: int = 2, **flags: str) -> Watched:
    watched = Watched(workers, **flags)
    watched.says[1] = NOT_READY
    watched.until(0.2)
    watched.ready(*range(1, workers + 1))
    watched.taken()
    assert watched.messages()[-1] == "all workers are ready"
    return watched


def test_the_first_worker_answers_before_the_others_start() -> None:
    watched = Watched(3)
    assert watched.taken() == [start(1, 1)]
    watched.until(1.0)
    assert watched.taken() == [], "it has not answered yet"
    watched.until(6.0)
    watched.says[1] = NOT_READY
    watched.until(12.0)
    assert watched.taken() == [start(2, 2, 9001), start(3, 3, 9001)]
    watched.ready(1, 2)
    assert "all workers are ready" not in watched.messages()
    watched.until(20.0)
    watched.ready(3)
    assert watched.messages()[-1] == "all workers are ready"
    assert b"x-pico-worker: secret" in watched.asked[0]


def test_a_worker_that_cannot_start_ends_all_with_its_code() -> None:
    watched = Watched()
    watched.tell(WorkerEnded(1, 2, ""))
    assert watched.taken() == [start(1, 1), ClosePorts(1), ClosePorts(2), Exit(2, "")]
    watched = Watched()
    watched.says[1] = NOT_READY
    watched.until(6.0)
    watched.tell(WorkerEnded(2, 1, "cannot listen"))
    assert watched.taken()[-3:] == [ClosePorts(1), ClosePorts(2), SignalWorker(1, "SIGKILL")]
    watched.tell(WorkerEnded(1, -9, "it was ended by SIGKILL"))
    assert watched.taken() == [Exit(1, "cannot listen")]


def test_an_admin_port_in_use_ends_it() -> None:
    watched = Watched()
    watched.taken()
    watched.tell(ListenFailed("admin", "address already in use"))
    (end,) = watched.taken()
    assert isinstance(end, Exit)
    assert (end.code, end.message) == (
        1,
        "cannot listen on admin address ':8002': address already in use; choose another one with --admin.bind-addr",
    )


def test_a_worker_that_ends_again_and_again_rests_ever_longer_and_takes_no_connections_meanwhile() -> None:
    watched = running()
    process, pauses, closed = 2, [], []
    for _ in range(9):
        ended_at = watched.now
        watched.tell(WorkerEnded(process, -11, "it was ended by SIGSEGV"))
        closed.append(ClosePorts(2) in watched.taken())
        while not any(isinstance(each, StartWorker) for each in watched.orders):
            watched.until(watched.now + 0.05)
        pauses.append(watched.now - ended_at)
        process += 1
        assert watched.taken() == [start(2, process, 9001)]
        watched.ready(process)
    assert pauses[:3] == pytest.approx(
        [FIRST_RESTART_PAUSE_S, 2 * FIRST_RESTART_PAUSE_S, 4 * FIRST_RESTART_PAUSE_S], abs=0.06
    )
    assert pauses[-1] == pytest.approx(MAX_RESTART_PAUSE_S, abs=0.06)
    assert closed == [False] * 4 + [True] * 5
    watched.until(watched.now + WORKED_S)
    watched.tell(WorkerEnded(process, 1, ""))
    assert watched.logs[-1].fields["retry_in_s"] == FIRST_RESTART_PAUSE_S, "it had worked for long"
    assert watched.logs[-1].fields["reason"] == "it left with code 1"


def test_a_stop_asks_all_and_waits_for_the_last() -> None:
    watched = running(grace_period="10s")
    watched.tell(ShutdownRequested())
    assert watched.taken() == [ClosePorts(1), ClosePorts(2), SignalWorker(1, "SIGTERM"), SignalWorker(2, "SIGTERM")]
    watched.tell(WorkerEnded(1, 0, ""))
    assert watched.taken() == []
    watched.tell(WorkerEnded(2, 0, ""))
    assert watched.taken() == [Exit(0, "")]


def test_a_worker_that_does_not_end_is_killed_and_the_exit_says_so() -> None:
    watched = running(grace_period="10s")
    watched.tell(ShutdownRequested(), WorkerEnded(1, 0, ""))
    watched.taken()
    watched.until(watched.now + 10.0 + KILL_AFTER_S - 0.1)
    assert watched.taken() == []
    watched.until(watched.now + 0.2)
    assert watched.taken() == [SignalWorker(2, "SIGKILL")]
    watched.tell(WorkerEnded(2, -9, "it was ended by SIGKILL"))
    assert watched.taken() == [Exit(1, "")]


def test_a_second_signal_kills() -> None:
    watched = running()
    watched.tell(ShutdownRequested(), ShutdownRequested())
    assert watched.taken()[-2:] == [SignalWorker(1, "SIGKILL"), SignalWorker(2, "SIGKILL")]
    watched.tell(WorkerEnded(1, -9, "x"), WorkerEnded(2, -9, "x"))
    assert watched.taken() == [Exit(1, "stopped at once by a second signal")]


def test_a_stop_during_the_start_ends_what_runs() -> None:
    watched = Watched()
    watched.taken()
    watched.tell(ShutdownRequested())
    assert watched.taken() == [ClosePorts(1), ClosePorts(2), SignalWorker(1, "SIGTERM")]
    watched.tell(WorkerEnded(1, -15, "it was ended by SIGTERM"))
    assert watched.taken() == [Exit(0, "")]


def test_what_workers_take_over_goes_to_them_by_a_signal() -> None:
    watched = running()
    watched.tell(ConfigReloaded(config(grace_period="9s")))
    assert watched.taken() == [SignalWorker(1, "SIGHUP"), SignalWorker(2, "SIGHUP")]
    watched.tell(WorkerEnded(2, -9, "x"))
    watched.until(watched.now + 1.0)
    watched.taken()
    watched.tell(ConfigReloaded(config(grace_period="8s")))
    assert watched.taken() == [SignalWorker(1, "SIGHUP")], "the signal would end one that does not listen to it yet"
    watched.until(watched.now + 10.0)
    watched.ready(3)
    assert watched.taken() == [SignalWorker(3, "SIGHUP")]


def test_workers_are_replaced_one_after_the_other_where_a_key_wants_it() -> None:
    watched = running()
    watched.tell(ConfigReloaded(config(cluster__gossip__interval="1s", workers="9")))
    assert watched.taken() == [start(1, 3, 9001, 9002)]
    assert [each.fields for each in watched.logs if each.message == "some changes need a restart"] == [
        {"keys": "workers"}
    ]
    watched.ready(3)
    assert watched.taken() == [TellWorker(1)]
    watched.until(watched.now + 5.0)
    assert watched.taken() == [], "the first one still finishes"
    watched.tell(WorkerEnded(1, 0, ""))
    assert watched.taken() == [start(2, 4, 9003, 9002)]
    watched.ready(4)
    watched.tell(WorkerEnded(2, 0, ""))
    assert watched.taken() == [TellWorker(2)]
    assert watched.messages()[-1] == "all workers go by the changed configuration"


def test_one_that_does_not_end_when_it_is_replaced_is_killed() -> None:
    watched = running(grace_period="10s")
    watched.tell(ConfigReloaded(config(grace_period="10s", cluster__gossip__interval="1s")))
    watched.ready(3)
    watched.until(watched.now + 10.0 + KILL_AFTER_S + 0.1)
    assert watched.taken()[-1] == SignalWorker(1, "SIGKILL")


def test_a_successor_that_cannot_start_changes_nothing() -> None:
    watched = running()
    watched.tell(ConfigReloaded(config(cluster__gossip__interval="1s")))
    watched.tell(WorkerEnded(3, 1, ""))
    watched.until(watched.now + 60.0)
    assert watched.taken() == [start(1, 3, 9001, 9002)]
    assert watched.messages()[-1] == "the changed configuration is not used: its worker ended"


def test_a_stop_while_one_is_replaced_lets_both_finish() -> None:
    watched = running()
    watched.tell(ConfigReloaded(config(cluster__gossip__interval="1s")))
    watched.ready(3)
    watched.taken()
    watched.tell(ShutdownRequested())
    assert watched.taken()[2:] == [SignalWorker(3, "SIGTERM"), SignalWorker(2, "SIGTERM")], "the first leaves already"
    watched.tell(WorkerEnded(1, 0, ""), WorkerEnded(2, 0, ""))
    assert watched.taken() == []
    watched.tell(WorkerEnded(3, 0, ""))
    assert watched.taken() == [Exit(0, "")]


# --- pages -----------------------------------------------------------------------------------------------------------


def ask(watched: Watched, path: str) -> bytes:
    """Return the whole answer to an operator's question."""
    watched.taken()
    watched.tell(
        Accepted(1, "admin", "192.0.2.9", 5000),
        Received(1, f"GET {path} HTTP/1.1\r\nHost: pico\r\nAuthorization: Bearer t\r\n\r\n".encode()),
    )
    watched.until(watched.now + 6.0)
    sent = [each for each in watched.taken() if isinstance(each, Send)]
    watched.tell(ConnectionLost(1, ""))
    return b"".join(each.data for each in sent if isinstance(each.data, bytes))


def test_health_names_a_worker_that_does_not_answer() -> None:
    watched = running()
    assert ask(watched, "/health").endswith(b"\r\n\r\nok\n")
    del watched.says[2]
    answer = ask(watched, "/health")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"no answer from worker 2\n")


def test_a_question_passes_with_its_token_and_host() -> None:
    watched = running()
    watched.says |= {1: (401, "application/json", b'{"error": "who"}'), 2: (401, "application/json", b"{}")}
    for path in ("/metrics", "/status/workers", "/status/requests", "/status/cluster/nodes"):
        answer = ask(watched, path)
        assert answer.startswith(b"HTTP/1.1 401 "), path
        assert answer.endswith(b'{"error": "who"}')
        assert b"authorization: Bearer t\r\n" in watched.asked[-1]
        assert b"x-pico-host: pico\r\n" in watched.asked[-1]


def test_the_agents_of_all_workers_are_one_list() -> None:
    watched = running()
    for number, endpoint in ((1, "b"), (2, "a")):
        told = Agents(1, [AgentRow(endpoint, f"n{number}", "192.0.2.1", "", "http", 1.0, 0)])
        watched.says[number] = (200, "application/json", msgspec.json.encode(told))
    found = msgspec.json.decode(ask(watched, "/status/upstream/agents").partition(b"\r\n\r\n")[2], type=Agents)
    assert (found.count, [row.endpoint for row in found.rows]) == (2, ["a", "b"])


def test_the_index_of_a_supervisor_has_the_workers_too() -> None:
    watched = running()
    watched.says |= dict.fromkeys((1, 2), (200, "application/json", b'{"/status/limits":"the limits"}'))
    answer = ask(watched, "/status").partition(b"\r\n\r\n")[2]
    assert answer == b'{"/status/limits":"the limits","/status/workers":"the workers of this server"}'


def test_metrics_say_which_worker_and_each_family_once() -> None:
    watched = running()
    text = b'# HELP pico_a Some.\n# TYPE pico_a counter\npico_a 3\npico_a{b="x y{"} 4\n'
    watched.says |= dict.fromkeys((1, 2), (200, "text/plain", text))
    body = ask(watched, "/metrics").partition(b"\r\n\r\n")[2]
    assert body == (
        b"# HELP pico_a Some.\n# TYPE pico_a counter\n"
        b'pico_a{worker="1"} 3\npico_a{worker="1",b="x y{"} 4\npico_a{worker="2"} 3\npico_a{worker="2",b="x y{"} 4\n'
        b"# HELP process_cpu_seconds_total User and system time of this process.\n"
        b'# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total{worker="0"} 0.5\n'
        b"# HELP pico_worker_restarts_total Processes that ended unasked and were started again.\n"
        b"# TYPE pico_worker_restarts_total counter\n"
        b'pico_worker_restarts_total{worker="1"} 0\npico_worker_restarts_total{worker="2"} 0\n'
    )


def test_it_is_ready_while_a_worker_is() -> None:
    watched = running()
    watched.tell(WorkerEnded(1, 1, ""))
    assert b"running: 1 of 2 workers are ready\n" in ask(watched, "/ready")
    watched.tell(ShutdownRequested())
    assert ask(watched, "/ready").startswith(b"HTTP/1.1 503 ")


def test_without_a_worker_that_answers_a_question_gets_503() -> None:
    watched = Watched()
    assert ask(watched, "/status/cluster/nodes").startswith(b"HTTP/1.1 503 ")
