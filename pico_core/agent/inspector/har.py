"""Records as an HTTP Archive 1.2, which browsers and other tools read."""

from base64 import b64encode
from urllib.parse import parse_qsl

from pico_core import __version__
from pico_core.agent.inspector.bodies import text_of
from pico_core.agent.inspector.captured_request import Body, CapturedRequest
from pico_core.agent.inspector.redaction import FORM
from pico_core.agent.inspector.views import pairs, timing, url
from pico_core.http.date import iso_time
from pico_core.http.message import field_values
from pico_core.http.writing import PHRASES

MAX_ARCHIVED_BYTES = 1_048_576
"""Of one body in an archive, which is made in memory at once."""


def archive(records: list[CapturedRequest], now: float) -> dict[str, object]:
    """Return the archive of some records."""
    creator = {"name": "pico", "version": __version__}
    return {"log": {"version": "1.2", "creator": creator, "entries": [_entry(record, now) for record in records]}}


def _entry(record: CapturedRequest, now: float) -> dict[str, object]:
    times = timing(record, now)
    timings = {"send": times["request_ms"], "wait": times["wait_ms"], "receive": times["response_ms"]}
    entry: dict[str, object] = {
        "startedDateTime": iso_time(record.wall_s),
        "time": round(sum(timings.values()), 3),
        "request": _request(record),
        "response": _response(record),
        "cache": {},
        "timings": timings,
        "_endpoint": record.endpoint,
    }
    comments = [record.reason and f"reason: {record.reason}", record.replay_of and f"replay of {record.replay_of}"]
    if any(comments):
        entry["comment"] = ", ".join(str(each) for each in comments if each)
    return entry


def _request(record: CapturedRequest) -> dict[str, object]:
    query = record.target.partition(b"?")[2].decode("latin-1")
    request: dict[str, object] = {
        "method": record.method.decode("latin-1"),
        "url": url(record),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _headers(record.fields),
        "queryString": [{"name": name, "value": value} for name, value in parse_qsl(query, keep_blank_values=True)],
        "headersSize": -1,
        "bodySize": record.request.size,
    }
    if record.request.size:
        request["postData"] = _post_data(record)
    return request


def _post_data(record: CapturedRequest) -> dict[str, object]:
    body = record.request
    text, encoding, comment = _text(record, body)
    data: dict[str, object] = {"mimeType": body.media_type.decode("latin-1"), "text": text, "params": []}
    if body.media_type.startswith(FORM) and not encoding:
        data["params"] = [{"name": name, "value": value} for name, value in parse_qsl(text, keep_blank_values=True)]
    if encoding:
        data["_encoding"] = encoding
    return {**data, "comment": comment} if comment else data


def _response(record: CapturedRequest) -> dict[str, object]:
    body = record.response
    text, encoding, comment = _text(record, body)
    size = body.size if comment or not text else len(record.content(body))
    content: dict[str, object] = {"size": size, "mimeType": body.media_type.decode("latin-1"), "text": text}
    if encoding:
        content["encoding"] = encoding
    if comment:
        content["comment"] = comment
    location = b"".join(field_values(record.response_fields, b"location")[:1])
    return {
        "status": record.status,
        "statusText": PHRASES.get(record.status, b"").decode(),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _headers(record.response_fields),
        "content": content,
        "redirectURL": location.decode("latin-1"),
        "headersSize": -1,
        "bodySize": body.size,
    }


def _text(record: CapturedRequest, body: Body) -> tuple[str, str, str]:
    """Return a body as text, how that is encoded, and what is missing."""
    content = record.content(body)
    comment = body.note
    if body.is_cut or len(content) > MAX_ARCHIVED_BYTES:
        content = content[:MAX_ARCHIVED_BYTES]
        comment = f"the first {len(content)} bytes"
    text = text_of(content, is_all=not comment)
    return (b64encode(content).decode(), "base64", comment) if text is None else (text, "", comment)


def _headers(fields: bytes) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs(fields)]
