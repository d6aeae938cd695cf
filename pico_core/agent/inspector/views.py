"""The views of a record that the inspector tells: a row of the list, the whole of it, and a command for a shell."""

import shlex

from pico_core.agent.inspector.bodies import body_document, text_of
from pico_core.agent.inspector.captured_request import CapturedRequest, field_pairs
from pico_core.agent.inspector.redaction import HIDDEN
from pico_core.agent.inspector.replaying import why_not

MAX_INLINE_BYTES = 32_768
"""Of a body in a command; a longer one is a file beside it. Shells take arguments of 128 KiB."""

NOT_IN_COMMANDS = (b"host", b"x-pico-", b"x-forwarded-", b"x-real-ip", b"forwarded")
"""Beginnings of the names of fields that a node writes anew, and of Host, which the URL has."""


def row(record: CapturedRequest, now: float) -> dict[str, object]:
    """Return the row of a request in the list; ``now`` tells how long one that is not over has taken."""
    return {
        "id": record.id,
        "endpoint": record.endpoint,
        "method": _text(record.method),
        "target": _text(record.target),
        "host": _text(record.host),
        "status": record.status,
        "state": record.state,
        "reason": record.reason,
        "at_s": record.wall_s,
        "ms": _ms(record.started_at, min(record.ended_at, now)),
        "request_bytes": record.request.size,
        "response_bytes": record.response.size,
        "type": _text(record.response.media_type.partition(b";")[0]),
        "replay_of": record.replay_of,
    }


def detail(record: CapturedRequest, now: float) -> dict[str, object]:
    """Return all that is shown of a record."""
    return {
        **row(record, now),
        "request_id": _text(record.request_id),
        "incomplete": record.incomplete,
        "tries": record.tries,
        "timing": timing(record, now),
        "request": {"fields": pairs(record.fields), "body": body_document(record, record.request)},
        "response": {"fields": pairs(record.response_fields), "body": body_document(record, record.response)},
        "curl": curl(record),
        "cannot_replay": why_not(record),
        "left_out": [_text(each) for each in record.hidden_fields],
    }


def timing(record: CapturedRequest, now: float) -> dict[str, float]:
    """Return how long the request took to come, then the service to begin, then the response to end."""
    began, end = record.started_at, min(record.ended_at, now)
    whole = max(began, record.request_at)
    first = min(record.first_byte_at, end)
    return {"request_ms": _ms(began, min(whole, first)), "wait_ms": _ms(whole, first), "response_ms": _ms(first, end)}


def pairs(fields: bytes) -> list[tuple[str, str]]:
    """Return field lines as names and values."""
    return [(_text(name), _text(value)) for name, value in field_pairs(fields)]


def url(record: CapturedRequest) -> str:
    """Return the URL that the client asked for."""
    target = "" if record.target == b"*" else _text(record.target)
    return f"{_text(record.proto)}://{_text(record.host) or 'localhost'}{target}"


def curl(record: CapturedRequest) -> str:
    """Return a command that asks the same of the public address; credentials are to be filled in."""
    words = ["curl", "--globoff", "--path-as-is"]
    method = _text(record.method)
    if method == "HEAD":
        words.append("--head")
    elif method != "GET" or record.request.size:
        words += ["--request", method]
    typed = False
    for name, value in field_pairs(record.fields):
        if name.lower().startswith(NOT_IN_COMMANDS):
            continue
        typed = typed or name.lower() == b"content-type"
        words += ["--header", _text(name + (b": " + value if value else b";"))]
    if record.request.size:
        if not typed:
            words += ["--header", "Content-Type:"]
        words += _data(record)
    words.append(url(record))
    note = "# REDACTED stands for what was not recorded\n" if any(HIDDEN.decode() in each for each in words) else ""
    return note + " ".join(shlex.quote(each) for each in words)


def _data(record: CapturedRequest) -> list[str]:
    body = record.request
    if body.data and len(body.data) <= MAX_INLINE_BYTES and not body.codings and not body.is_cut:
        text = text_of(bytes(record.content(body)))
        if text is not None:
            return ["--data-raw", text]
    return ["--data-binary", f"@request-{record.id}.bin"]


def _ms(began: float, ended: float) -> float:
    return round(max(0.0, ended - began) * 1000, 3)


def _text(value: bytes) -> str:
    return value.decode("latin-1")
