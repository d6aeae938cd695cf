"""Every answer that Pico makes itself, on every port, and what RFC 9110, 9112 and 6455 ask of it.

``own_answers.TABLE`` lists the answers; the last test finds those in the source that are missing in it.
"""

import ast
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from pico_core.boundary import (
    Accepted,
    Received,
    Send,
    Tick,
)
from pico_core.http.body import BODY_TOO_LONG
from pico_core.plain.exposition import CONTENT_TYPE
from pico_core.proxy.failures import CLOSED_EARLY, UNREACHABLE
from pico_core.server.admin.pages import UNKNOWN_HOST
from pico_core.websocket.handshake import NOT_GET
from tests.core.proxy.scene import CLIENT
from tests.core.server.own_answers import NOT_ANSWERED, SUNDAY_S, TABLE, Said, answered, get, name_of
from tests.play import Play, joined, server_play

DATE = "Sun, 06 Nov 1994 08:[45][0-9]:[0-9]{2} GMT"
"""The example of RFC 9110 section 5.6.7, and some minutes more."""

BEFORE_THE_METHOD = (
    "endpoint: ",
    "invalid endpoint id",
    "pages of this Origin are not allowed here: see upstream.allowed_origins",
    "this node is about to stop; connect again",
    "too many registrations from this address",
)
"""Refusals of a registration that come before its method is looked at."""


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_an_answer_has_all_that_it_must_have(row: Said) -> None:
    head, body, closed = answered(row, row.request)
    line, *lines = head.decode("ascii").split("\r\n")
    assert line == f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}"
    fields = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines if "Upgrade" not in each)}
    assert fields["content-length"] == str(len(body))
    kinds = ("application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8", CONTENT_TYPE)
    assert fields["content-type"] in kinds
    assert fields["x-content-type-options"] == "nosniff"
    assert re.fullmatch(DATE, fields["date"])
    assert len([each for each in lines if each.lower().startswith("date:")]) == 1
    assert fields.get("connection") == ("close" if closed else None)
    text = json.loads(body)["error"] if row.status >= 400 and b"application/json" in head else body.decode()
    assert text.startswith(row.text)
    assert ("retry-after" in fields) == (row.status in (409, 503))
    assert fields.get("allow") == {405: "GET, HEAD" if row.port == "admin" else "GET"}.get(row.status)
    assert fields.get("sec-websocket-version") == {426: "13"}.get(row.status)
    upgrades = int(row.status == 426)
    assert (lines.count("Connection: Upgrade"), lines.count("Upgrade: websocket")) == (upgrades, upgrades)
    assert closed or row.status not in (408, 414, 431)


ASKED_BY_HEAD = [row for row in TABLE if row.request.startswith(b"GET ") and b"/status/stream" not in row.request]
"""HEAD gets no stream, so it finds no crowd."""


@pytest.mark.parametrize("row", ASKED_BY_HEAD, ids=name_of)
def test_an_answer_to_head_has_the_same_head_and_no_body(row: Said) -> None:
    head, body, closed = answered(row, row.request)
    request = row.request.replace(b"GET", b"HEAD", 1)
    head_of_head, no_body, closed_after_head = answered(row, request)
    asks_for_websocket = b"/pico/v1/" in request or b"/_pico/v1/tcp" in request
    is_refused_as_head = asks_for_websocket and not row.text.startswith(BEFORE_THE_METHOD)
    assert head_of_head.startswith(b"HTTP/1.1 405 ") is is_refused_as_head
    if not is_refused_as_head:
        assert re.sub(rb"[0-9]+ GMT|place [0-9]+", b"", head_of_head) == re.sub(rb"[0-9]+ GMT", b"", head)
        assert closed_after_head == closed
    assert body
    assert no_body == b""


def test_the_date_is_that_of_the_wall_clock() -> None:
    play = server_play() >> Tick(SUNDAY_S) >> Accepted(CLIENT, "proxy", "192.0.2.7", 5000)
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in sent_by(play >> Received(CLIENT, get(b"/")))
    assert b"\r\nDate: Sun, 06 Nov 1994 08:50:07 GMT\r\n" in sent_by(play >> 30.0 >> Received(CLIENT, get(b"/")))


def test_a_server_without_a_clock_sends_no_date() -> None:
    play = server_play() >> Accepted(CLIENT, "proxy", "192.0.2.7", 5000)
    assert b"Date" not in sent_by(play >> Received(CLIENT, get(b"/")))


def sent_by(play: Play) -> bytes:
    return b"".join(joined(each.data) for each in play.take() if isinstance(each, Send))


# --- nothing is missing ---

CALLS = {"MessageError": 0, "HandshakeError": 0, "Failure": 1, "fail": 0, "_refuse": 0, "refuse": 0, "respond": 0}
"""The calls that make an answer, and the place of the status in their arguments."""


def answers_in(path: Path) -> Iterator[tuple[int, str]]:
    """The status and the fixed beginning of the text of every answer that a module makes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        arguments = node.args
        if name in ("_refuse", "respond") and arguments and isinstance(arguments[0], ast.Name):
            arguments = arguments[1:]  # the connection
        place = CALLS.get(name)
        if place is None or len(arguments) < place + 2:
            continue
        status, text = arguments[place : place + 2]
        for number in ast.walk(status):
            if isinstance(number, ast.Constant) and isinstance(number.value, int) and number.value >= 100:
                yield number.value, beginning(text)


def beginning(text: ast.expr) -> str:
    first = text.values[0] if isinstance(text, ast.JoinedStr) else text
    if isinstance(first, ast.Constant):
        return str(first.value)
    return str(CONSTANTS.get(first.id, "")) if isinstance(first, ast.Name) else ""


CONSTANTS = {
    "NOT_GET": NOT_GET,
    "UNREACHABLE": UNREACHABLE,
    "CLOSED_EARLY": CLOSED_EARLY,
    "BODY_TOO_LONG": BODY_TOO_LONG,
    "UNKNOWN_HOST": UNKNOWN_HOST,
}


def test_every_answer_in_the_source_is_in_the_table() -> None:
    core = Path(__file__).parents[3] / "pico_core"
    inspector = core / "agent" / "inspector"  # its answers go to its viewers: tests/core/agent/inspector
    found = {each for path in core.rglob("*.py") if inspector not in path.parents for each in answers_in(path)}
    assert len(found) > 50
    listed = {(row.status, row.text) for row in TABLE}
    missing = {
        (status, text)
        for status, text in found
        if text not in NOT_ANSWERED and not any(status == s and t.startswith(text.rstrip()) for s, t in listed)
    }
    assert not missing
    assert not {text for text in NOT_ANSWERED if text not in {each for _, each in found}}
