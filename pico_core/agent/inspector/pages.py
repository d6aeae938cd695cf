"""The answers of the inspector's port. Start at ``InspectorPages``.

Programs of this machine, or those that have the token, may ask. A page in a browser that is not the inspector's own
may not. Four things tell it apart: the name of its host (DNS rebinding), its Origin, what the browser says of its site,
and that a POST is JSON, which a page of another origin may not send without being permitted.
"""

from collections.abc import Callable
from hmac import compare_digest
from typing import Protocol, TypeAlias
from urllib.parse import parse_qs

import msgspec

from pico_core.agent.inspector.captured_request import CapturedRequest
from pico_core.agent.inspector.filters import FilterError, parse
from pico_core.agent.inspector.har import archive
from pico_core.agent.inspector.replaying import CannotReplayError, new_request, read_edit
from pico_core.agent.inspector.store import Store
from pico_core.agent.inspector.streams import InspectedStreams
from pico_core.agent.inspector.views import detail, row
from pico_core.agent.listener import StreamHandler
from pico_core.config.inspect import InspectConfig
from pico_core.plain.hosts import HostNames
from pico_core.plain.server import HTML, JSON, PlainConnection, Question

MAX_REPLAYS = 16
"""Replays that are in flight at one time: a person sends one."""

MAX_ROWS = 500
"""Of the list, the last ones that match; a page with more is slow."""

UNKNOWN_HOST = "this Host is not known as a name of the agent: ask by IP address, or list it in inspect.allowed_hosts"
OTHER_PAGE = "a page of another origin may not ask"

RAW = "application/octet-stream"
SAFE: tuple[tuple[str, str], ...] = (
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
)

CapturedRequestPage: TypeAlias = Callable[[PlainConnection, CapturedRequest, Question, float], None]
"""Answers a request about one record."""


class InspectorHost(Protocol):
    """The part of the machine that the inspector needs."""

    def handler_of(self, endpoint: str) -> StreamHandler | None:
        """Return the part that serves the streams of an endpoint, while it is registered or about to be."""


class InspectorPages:
    """A ``PlainHandler``."""

    def __init__(self, config: InspectConfig, store: Store, host: InspectorHost) -> None:
        self._hosts = HostNames(config.allowed_hosts)
        self._token = b"" if config.token is None else b"Bearer " + config.token.reveal().encode()
        self._store = store
        self._host = host
        self._replays: list[CapturedRequest] = []

    def answer(self, connection: PlainConnection, question: Question, now: float) -> None:
        """Answer one request."""
        path = question.path
        if not self._hosts.knows(question.host):
            connection.refuse(421, UNKNOWN_HOST, now)
        elif path == "/" and question.method != "POST":
            from pico_core.agent.inspector.page import page, policy  # an agent without viewers does not need it

            connection.respond(200, HTML, page(), now, (("content-security-policy", policy()), *SAFE))
        elif not _is_own(question):
            connection.refuse(403, OTHER_PAGE, now)
        elif self._token and not compare_digest(question.field(b"authorization").encode(), self._token):
            connection.refuse(401, "a token is needed: inspect.token", now)
        elif question.method == "POST":
            self._post(connection, question, now)
        else:
            self._get(connection, question, now)

    def _get(self, connection: PlainConnection, question: Question, now: float) -> None:
        if question.path in ("/api/requests", "/api/har"):
            try:
                self._list(connection, question, now)
            except FilterError as error:
                connection.refuse(400, str(error), now)
        else:
            self._about_one(connection, question, READING, now)

    def _post(self, connection: PlainConnection, question: Question, now: float) -> None:
        if question.field(b"content-type").partition(";")[0].strip().lower() != JSON:
            connection.refuse(415, f"a POST has the content type {JSON}", now)
        elif question.path == "/api/clear":
            self._store.clear()
            _tell(connection, {"version": self._store.version}, now)
        else:
            self._about_one(connection, question, {"replay": self._replay}, now)

    # --- the list ---

    def _list(self, connection: PlainConnection, question: Question, now: float) -> None:
        values = parse_qs(question.query)
        test = parse(values.get("filter", [""])[0])
        store = self._store
        after = values.get("after", [""])[0]
        if question.path == "/api/har":
            chosen = [record for record in store.records.values() if test(record)]
            disposition = ("content-disposition", 'attachment; filename="pico.har"')
            body = msgspec.json.encode(archive(chosen, now))
            connection.respond(200, JSON, body, now, (disposition, *SAFE))
        elif after == str(store.version):
            _tell(connection, {"version": store.version}, now)
        else:
            chosen = [record for record in store.records.values() if test(record)]
            document = {
                "version": store.version,
                "kept": len(store.records),
                "matching": len(chosen),
                "dropped": store.dropped,
                "shows_secrets": store.redaction.shows_all,
                "rows": [row(record, now) for record in chosen[-MAX_ROWS:]],
            }
            _tell(connection, document, now)

    # --- one record ---

    def _about_one(
        self, connection: PlainConnection, question: Question, pages: dict[str, CapturedRequestPage], now: float
    ) -> None:
        parts = question.path.split("/")
        number = parts[3] if len(parts) in (4, 5) and parts[:3] == ["", "api", "requests"] else ""
        page = pages.get(parts[4] if len(parts) == 5 else "")
        if not (number.isascii() and number.isdigit() and len(number) < 16) or page is None:
            connection.refuse(404, "not found", now)
            return
        record = self._store.records.get(int(number))
        if record is None:
            connection.refuse(404, f"there is no request {number}, or it has left to make room", now)
        else:
            page(connection, record, question, now)

    def _replay(self, connection: PlainConnection, record: CapturedRequest, question: Question, now: float) -> None:
        streams = self._host.handler_of(record.endpoint)
        self._replays = [each for each in self._replays if not each.is_over]
        if not isinstance(streams, InspectedStreams) or streams.closing:
            connection.refuse(409, f"endpoint '{record.endpoint}' is not served any more", now)
        elif len(self._replays) >= MAX_REPLAYS:
            connection.refuse(503, "too many replays are in flight", now)
        else:
            try:
                head, body = new_request(record, read_edit(question.body))
            except CannotReplayError as error:
                connection.refuse(error.status, error.reason, now)
                return
            replay = streams.replay(head, body, record.id, now)
            self._replays.append(replay)
            _tell(connection, {"id": replay.id}, now)


def _tell(connection: PlainConnection, document: object, now: float) -> None:
    connection.respond(200, JSON, msgspec.json.encode(document), now, SAFE)


def _detail(connection: PlainConnection, record: CapturedRequest, _question: Question, now: float) -> None:
    _tell(connection, detail(record, now), now)


def _request_body(connection: PlainConnection, record: CapturedRequest, _question: Question, now: float) -> None:
    _save(connection, record.content(record.request), f"request-{record.id}.bin", now)


def _response_body(connection: PlainConnection, record: CapturedRequest, _question: Question, now: float) -> None:
    _save(connection, record.content(record.response), f"response-{record.id}.bin", now)


def _save(connection: PlainConnection, body: bytes, name: str, now: float) -> None:
    fields = (("content-disposition", f'attachment; filename="{name}"'), *SAFE)
    connection.respond(200, RAW, body, now, fields)


def _is_own(question: Question) -> bool:
    """Say whether the inspector's own page asks, or a program that is not a browser."""
    origin = question.field(b"origin")
    site = question.field(b"sec-fetch-site")
    is_same = not origin or origin.lower() in (f"http://{question.host.lower()}", f"https://{question.host.lower()}")
    return is_same and site in ("", "same-origin", "none")


READING: dict[str, CapturedRequestPage] = {"": _detail, "request-body": _request_body, "response-body": _response_body}
