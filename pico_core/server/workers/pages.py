"""The admin port of a supervisor: what its workers say, put together.

Each question goes to the workers over their control ports, with the operator's token and Host, which they look at.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from pico_core.config.values import LOCALHOST, Address
from pico_core.machine.parts import Connector, PagesHost
from pico_core.plain.client import PlainRequest, PlainResponse
from pico_core.plain.exposition import CONTENT_TYPE, Exposition, labels
from pico_core.plain.log_levels import LevelsAnswer, is_log_levels
from pico_core.plain.process_metrics import process_text
from pico_core.plain.server import HTML, JSON, PLAIN_TEXT, PlainConnection, Question
from pico_core.records import ProcessMeasured
from pico_core.server.admin.live import STREAM_PATH
from pico_core.server.admin.status import AGENTS_PATH, FAILURES_PATH, INDEX_PATH, OVERVIEW_PATH
from pico_core.server.facts import NodePhase
from pico_core.server.workers.asking import ASK_TIMEOUT_S, Workers, control_fields
from pico_core.server.workers.live import LiveRelay
from pico_core.server.workers.merging import merged_agents, merged_counts, merged_failures, merged_metrics
from pico_core.server.workers.slots import Slot

MAX_QUESTIONS = 16
"""Questions of operators that wait for the workers at one time; further ones get 503."""

SUPERVISOR = 0
"""The label ``worker`` of the process that starts the workers, whose numbers begin with 1."""

WORKERS_PATH = "/status/workers"
WORKERS_TOLD = "the workers of this server"
UPSTREAM_PATH = "/status/upstream/endpoints"

Responses: TypeAlias = dict[int, PlainResponse]
"""The answers by worker; those that gave none are missing."""


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker in ``/status/workers``. ``restarts`` counts the ends that were not asked for."""

    worker: int
    state: str
    node_id: str
    pid: int
    restarts: int


class SupervisorPages:
    """A ``PlainHandler`` that answers for all workers."""

    def __init__(self, host: PagesHost, workers: Workers) -> None:
        self._host = host
        self._workers = workers
        self._questions = 0
        self.live = LiveRelay(host, workers)

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Answer one request."""
        path = question.path
        if path == "/health":
            self._gather(connection, question, self._health, now)
        elif path == "/ready":
            self._ready(connection, now)
        elif path == "/":
            from pico_core.server.admin.dashboard import page, policy  # 0.5 ms that a start does not need

            fields = (("content-security-policy", policy()), ("cache-control", "no-cache"))
            connection.respond(200, HTML, page(), now, fields)
        elif path == "/metrics":
            self._gather(connection, question, self._metrics, now)
        elif path == WORKERS_PATH:  # asked for as a page that exists there, so that it is refused as that one would be
            self._gather(
                connection, Question(UPSTREAM_PATH, "", question.fields, client=question.client), self._rows, now
            )
        elif is_log_levels(path):
            self._gather(connection, question, self._levels_changed, now)
        elif path == STREAM_PATH:
            self.live.begin(connection, question, now)
        elif path == OVERVIEW_PATH and not question.query:
            self._gather(connection, question, _first, now)  # of all, so that one that does not answer is passed over
        elif question.query or path not in MERGED:
            self._gather(connection, question, _first, now, most=1)
        else:
            self._gather(connection, question, MERGED[path], now)

    def _ready(self, connection: PlainConnection, now: float) -> None:
        workers = self._workers
        serving = sum(slot.serving is not None for slot in workers.slots)
        ready = workers.state is NodePhase.RUNNING and serving > 0
        text = f"{workers.state.value}: {serving} of {len(workers.slots)} workers are ready\n"
        connection.respond(200 if ready else 503, PLAIN_TEXT, text.encode(), now)

    def _health(self, connection: PlainConnection, answers: Responses, asked: Sequence[int], now: float) -> None:
        silent = [str(number) for number in asked if number not in answers]
        if silent:
            connection.respond(503, PLAIN_TEXT, f"no answer from worker {', '.join(silent)}\n".encode(), now)
        else:
            connection.respond(200, PLAIN_TEXT, b"ok\n", now)

    def _metrics(self, connection: PlainConnection, answers: Responses, asked: Sequence[int], now: float) -> None:
        good = _good(answers)
        if asked and not good:
            _first(connection, answers, asked, now)
            return

        def respond(measured: ProcessMeasured, now: float) -> None:
            text = merged_metrics({**good, SUPERVISOR: process_text(measured)}) + self._own_metrics()
            connection.respond(200, CONTENT_TYPE, text, now)

        self._host.measure_process(respond)

    def _levels_changed(
        self, connection: PlainConnection, answers: Responses, asked: Sequence[int], now: float
    ) -> None:
        """Log here as the workers do."""
        good = _good(answers)
        if good:
            told = msgspec.json.decode(next(iter(good.values())), type=LevelsAnswer)
            self._host.use_log(told.log_config)
        _first(connection, answers, asked, now)

    def _own_metrics(self) -> bytes:
        own = Exposition()
        restarts = {labels(worker=str(slot.number)): slot.restarts for slot in self._workers.slots}
        own.counter("worker_restarts_total", "Processes that ended unasked and were started again.", restarts)
        return own.text()

    def _rows(self, connection: PlainConnection, answers: Responses, asked: Sequence[int], now: float) -> None:
        if asked and not _good(answers):
            _first(connection, answers, asked, now)
            return
        rows = [_row(slot) for slot in self._workers.slots]
        connection.respond(200, JSON, msgspec.json.encode(rows), now)

    def _gather(
        self,
        connection: PlainConnection,
        question: Question,
        respond: Callable[[PlainConnection, Responses, Sequence[int], float], None],
        now: float,
        most: int | None = None,
    ) -> None:
        """Ask the workers that serve, at ``most`` so many, and have ``respond`` answer."""
        serving = [(slot.number, slot.serving) for slot in self._workers.slots if slot.serving is not None][:most]
        ports = {number: process.control_port for number, process in serving if process is not None}
        if self._questions >= MAX_QUESTIONS:
            connection.refuse(503, "too many questions wait for the workers", now)
            return
        if not ports:
            respond(connection, {}, (), now)
            return
        self._questions += 1

        def over(answers: Responses, at: float) -> None:
            self._questions -= 1
            respond(connection, answers, tuple(ports), at)

        target = f"{question.path}?{question.query}" if question.query else question.path
        fields = control_fields(self._workers, question)
        _Gathering(self._host, ports, target, fields, over, now, question.method)


class _Gathering:
    """One question to several workers."""

    def __init__(
        self,
        connector: Connector,
        ports: dict[int, int],
        target: str,
        fields: Sequence[tuple[str, str]],
        over: Callable[[Responses, float], None],
        now: float,
        method: str,
    ) -> None:
        self.answers: Responses = {}
        self._left = len(ports)
        self._over = over
        for number, port in ports.items():
            asker = _Asker(self, number)
            PlainRequest(
                connector, Address(LOCALHOST, port), target, asker, ASK_TIMEOUT_S, now, fields=fields, method=method
            )

    def take(self, number: int, response: PlainResponse | None, now: float) -> None:
        """Take the answer of a worker, or that there is none."""
        if response is not None:
            self.answers[number] = response
        self._left -= 1
        if not self._left:
            self._over(dict(sorted(self.answers.items())), now)


class _Asker:
    __slots__ = ("_gathering", "_number")

    def __init__(self, gathering: _Gathering, number: int) -> None:
        self._gathering = gathering
        self._number = number

    def on_response(self, response: PlainResponse, now: float) -> None:
        self._gathering.take(self._number, response, now)

    def on_no_response(self, reason: str, now: float) -> None:
        self._gathering.take(self._number, None, now)


def _row(slot: Slot) -> WorkerRow:
    process = slot.current or slot.former
    if process is None:
        return WorkerRow(slot.number, "waits for a restart", "", 0, slot.restarts)
    if slot.former is not None:
        state = "being replaced"
    elif process.is_told:
        state = "draining"
    else:
        state = "starting" if process.ready_at is None else "ready"
    return WorkerRow(slot.number, state, process.node_id, process.pid, slot.restarts)


def _good(answers: Responses) -> dict[int, bytes]:
    return {number: each.body for number, each in answers.items() if each.status == 200}


def _first(connection: PlainConnection, answers: Responses, _asked: Sequence[int], now: float) -> None:
    """Answer as the first worker that answered well, or else as the first."""
    found = sorted(answers.values(), key=lambda each: each.status != 200)
    if found:
        connection.respond(found[0].status, found[0].content_type, found[0].body, now)
    else:
        connection.refuse(503, "no worker answers", now)


def _merged(
    merge: Callable[[Sequence[bytes]], bytes],
) -> Callable[[PlainConnection, Responses, Sequence[int], float], None]:
    def respond(connection: PlainConnection, answers: Responses, asked: Sequence[int], now: float) -> None:
        good = _good(answers)
        if good:
            connection.respond(200, JSON, merge(list(good.values())), now)
        else:
            _first(connection, answers, asked, now)

    return respond


def _index(documents: Sequence[bytes]) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(documents[0], type=dict[str, str]) | {WORKERS_PATH: WORKERS_TOLD})


MERGED = {
    INDEX_PATH: _merged(_index),
    INDEX_PATH + "/": _merged(_index),
    UPSTREAM_PATH: _merged(merged_counts),
    AGENTS_PATH: _merged(merged_agents),
    FAILURES_PATH: _merged(merged_failures),
}
"""Pages that tell of a node what it does itself: those of all workers are put together. The others are about the
cluster, and any worker knows it; or about one node, which ``?forward=`` names. An overview is about both: it is that of
one worker, as the events of the stream are, and has the other workers among its nodes."""
