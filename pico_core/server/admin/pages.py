"""The pages of the admin port: health, readiness, metrics and status, and status of other nodes by asking them.

``PATHS`` has the page of each path; the status documents share a pattern. ``?forward=<node id>`` on a
status path sends the same question, without that parameter, to the node's admin address. So a forwarded question cannot
be forwarded again, only members of the cluster are asked, and only these paths.
"""

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec

from pico_core.access.grant import Denied
from pico_core.config.server import ServerConfig
from pico_core.machine.parts import PagesHost
from pico_core.plain.client import PlainResponse
from pico_core.plain.exposition import CONTENT_TYPE
from pico_core.plain.hosts import unknown_host
from pico_core.plain.log_levels import LogLevels, is_log_levels
from pico_core.plain.process_metrics import process_text
from pico_core.plain.server import HTML, JSON, PLAIN_TEXT, PlainConnection, Question
from pico_core.records import ProcessMeasured
from pico_core.server.access import Access
from pico_core.server.admin.asking import ask_node
from pico_core.server.admin.live import STREAM_PATH, LiveView
from pico_core.server.admin.metrics_text import metrics_text
from pico_core.server.admin.status import FAILURES_PATH, INDEX, INDEX_PATH, STATUS_PATH, status_document
from pico_core.server.facts import Facts, NodePhase
from pico_core.server.web_pages import host_names
from pico_core.timers import NEVER

MAX_FORWARDS = 16
"""Questions on their way to other nodes at one time: no operator has more, and each answer may have 16 MiB."""


Page: TypeAlias = Callable[[PagesHost, Facts, PlainConnection, float], None]
"""Answers a request for one path at once, or once the machine has told what the page needs."""


class AdminPages:
    """A ``PlainHandler`` that answers from the facts of a server node."""

    def __init__(self, host: PagesHost, facts: Facts, access: Access) -> None:
        self._access = access
        self._host = host
        self._facts = facts
        self._forwards = 0
        self._live = LiveView(host, facts)
        self._hosts = host_names(facts.config)
        self.levels = LogLevels(facts.config.log, host.use_log, host)

    def configure(self, config: ServerConfig) -> None:
        """Go by a configuration that was read again."""
        self.levels.configure(config.log)

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Answer one request. Probes have no token: only they get an answer without one."""
        page = PATHS.get(question.path)
        credentials, until = b"", NEVER
        if question.path not in WITHOUT_TOKEN:
            try:
                credentials, until = self._access.admit_operator(question.fields, now)
            except Denied as denied:
                connection.refuse(denied.status, denied.reason, now)
                return
        if not credentials and question.path not in PROBES and not self._hosts.knows(question.host):
            # A page in a browser has no token: a client with one is not a page.
            connection.refuse(421, UNKNOWN_HOST, now)
            return
        if is_log_levels(question.path):
            self.levels.answer(connection, question, has_token=bool(credentials), now=now)
        elif page is not None:
            page(self._host, self._facts, connection, now)
        elif question.path == STREAM_PATH:
            self._live.begin(connection, credentials, until, now)
        elif STATUS_PATH.fullmatch(question.path):
            wanted = parse_qs(question.query).get("forward", [])
            self._status(connection, question.path, wanted, credentials, now)
        else:
            connection.refuse(404, "not found", now)

    def _status(
        self, connection: PlainConnection, path: str, wanted: list[str], credentials: bytes, now: float
    ) -> None:
        if len(wanted) > 1:
            connection.refuse(400, "more than one node to forward to", now)
        elif wanted and wanted[0] != self._facts.node_id:
            self._forward(connection, path, wanted[0], credentials, now)
        else:
            document = status_document(self._facts, path, now)
            if document is None:
                connection.refuse(404, f"unknown {_kind(path)} '{unquote(path.rpartition('/')[2])}'", now)
            else:
                connection.respond(200, JSON, document, now)

    def _forward(self, connection: PlainConnection, path: str, node_id: str, credentials: bytes, now: float) -> None:
        peer = self._facts.view.get(node_id)
        if peer is None:
            connection.refuse(404, f"unknown node '{node_id}'", now)
            return
        if self._forwards >= MAX_FORWARDS:
            connection.refuse(503, "too many questions are being forwarded", now)
            return
        asker = _Forward(self, connection, node_id)
        if ask_node(self._host, self._facts, peer, path, credentials, asker, now):
            self._forwards += 1
        else:
            connection.refuse(502, f"node '{node_id}' has no usable admin address", now)

    def forward_over(self) -> None:
        """Count a forwarded question that has its answer, or gets none."""
        self._forwards -= 1


PROBES = ("/health", "/ready")
"""Probes and balancers ask for these by any host name, and the answers are of no use to a page in a browser."""

WITHOUT_TOKEN = (*PROBES, "/")
"""The page has nothing in it: it asks for the token itself."""


def _health(_host: PagesHost, _facts: Facts, connection: PlainConnection, now: float) -> None:
    connection.respond(200, PLAIN_TEXT, b"ok\n", now)


def _ready(_host: PagesHost, facts: Facts, connection: PlainConnection, now: float) -> None:
    state = facts.state.value
    if facts.state is NodePhase.STARTING and facts.unanswered_names:
        state += ": waits" + "".join(f" for '{name}' ({why})" for name, why in facts.unanswered_names.items())
    connection.respond(200 if facts.ready else 503, PLAIN_TEXT, f"{state}\n".encode(), now)


def _dashboard(_host: PagesHost, _facts: Facts, connection: PlainConnection, now: float) -> None:
    from pico_core.server.admin.dashboard import page, policy  # 0.5 ms that a start does not need

    fields = (("content-security-policy", policy()), ("cache-control", "no-cache"))
    connection.respond(200, HTML, page(), now, fields)


def _metrics(host: PagesHost, facts: Facts, connection: PlainConnection, _now: float) -> None:
    def respond(measured: ProcessMeasured, now: float) -> None:
        connection.respond(200, CONTENT_TYPE, metrics_text(facts, now) + process_text(measured), now)

    host.measure_process(respond)


def _index(_host: PagesHost, _facts: Facts, connection: PlainConnection, now: float) -> None:
    connection.respond(200, JSON, msgspec.json.encode(INDEX), now)


PATHS: dict[str, Page] = {
    "/": _dashboard,
    "/health": _health,
    "/ready": _ready,
    "/metrics": _metrics,
    INDEX_PATH: _index,
    INDEX_PATH + "/": _index,
}


UNKNOWN_HOST = unknown_host("node")


def _kind(path: str) -> str:
    """Return the kind of thing that a status path names."""
    return "request" if path.startswith(FAILURES_PATH) else "node"


class _Forward:
    """One question to another node, for one client. The client may be gone when the answer comes."""

    __slots__ = ("_connection", "_node_id", "_pages")

    def __init__(self, pages: AdminPages, connection: PlainConnection, node_id: str) -> None:
        self._pages = pages
        self._connection = connection
        self._node_id = node_id

    def on_response(self, response: PlainResponse, now: float) -> None:
        """Pass on what is an answer of a status path."""
        self._pages.forward_over()
        if response.status in (200, 404) and response.content_type.startswith(JSON):
            self._connection.respond(response.status, JSON, response.body, now)
        else:
            reason = f"node '{self._node_id}' gave no status: {response.status} {response.content_type}"
            self._connection.refuse(502, reason, now)

    def on_no_response(self, reason: str, now: float) -> None:
        """Tell the client why the node gave no answer."""
        self._pages.forward_over()
        self._connection.refuse(502, f"node '{self._node_id}' does not answer: {reason}", now)
