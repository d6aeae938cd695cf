"""Sends a recorded request once more, as it was or edited: from a question to a head and a body."""

from base64 import b64decode
from binascii import Error as Base64Error

import msgspec

from pico_core.agent.inspector.captured_request import CapturedRequest, field_pairs
from pico_core.agent.inspector.redaction import HIDDEN
from pico_core.http.message import HeadLimits, MessageError, RequestHead
from pico_core.http.parsing import parse_request_head

MAX_EDIT_BYTES = 1_048_576
"""Of an edited request as JSON: people edit texts. A body that is sent again as it was does not count."""

_NOT_AGAIN = frozenset(
    b"connection content-length transfer-encoding expect keep-alive proxy-connection te trailer upgrade".split()
    + b"x-pico-replay x-pico-request-id".split()
)
"""Fields of a recorded or edited request that the new one gets anew, or not at all."""

_BODILESS = (b"GET", b"HEAD", b"DELETE", b"OPTIONS")
"""Methods whose requests say nothing of a body that they do not have (RFC 9110 section 8.6)."""


class CannotReplayError(Exception):
    """The request cannot be sent again. ``status`` is that of the answer, ``reason`` says what to do."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Edit(msgspec.Struct, forbid_unknown_fields=True):
    """The parts that differ in the new request; ``None`` for a part that stays as it was. ``body`` is sent as UTF-8."""

    method: str | None = None
    target: str | None = None
    fields: list[tuple[str, str]] | None = None
    body: str | None = None
    body_base64: str | None = None


def read_edit(body: bytes) -> Edit:
    """Read the body of a question; empty means that nothing is different. Raises ``CannotReplayError``."""
    try:
        return msgspec.json.decode(body, type=Edit) if body.strip() else Edit()
    except msgspec.DecodeError as error:
        raise CannotReplayError(400, f"the body is not an edit: {error}") from None


def why_not(record: CapturedRequest) -> str:
    """Return why a request cannot be sent again as it was; empty if it can."""
    try:
        _kept_body(record)
        _check(record.target)
    except CannotReplayError as error:
        return error.reason
    return ""


def new_request(record: CapturedRequest, edit: Edit) -> tuple[RequestHead, bytes]:
    """Return the head and the body of the request that repeats ``record``. Raises ``CannotReplayError``."""
    try:
        method = record.method if edit.method is None else edit.method.encode("ascii")
        target = record.target if edit.target is None else edit.target.encode("ascii")
        fields = _fields(record, edit)
        body = _edited_body(edit)
    except UnicodeEncodeError:
        raise CannotReplayError(400, "a method and a target have ASCII characters only, fields Latin-1") from None
    if body is None:
        body = _kept_body(record)
    _check(target)
    if min(method + target, default=0) <= ord(" "):
        raise CannotReplayError(400, "a method and a target have no blanks and no line ends")
    length = b"" if not body and method in _BODILESS else b"Content-Length: %d\r\n" % len(body)
    head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, fields, length)
    try:
        return parse_request_head(head, HeadLimits()), body
    except MessageError as error:
        raise CannotReplayError(400, error.reason) from None


def _kept_body(record: CapturedRequest) -> bytes:
    body = record.request
    if record.is_upgrade:
        raise CannotReplayError(409, "a request for an upgrade cannot be sent again: a raw stream would follow it")
    if not record.is_over:
        raise CannotReplayError(409, "the request is not over yet")
    if body.note:
        raise CannotReplayError(409, f"its body is not kept: {body.note}; edit it, and give one")
    if body.is_cut:
        kept = f"only the first {len(body.data)} of {body.size} bytes of its body are kept"
        raise CannotReplayError(409, f"{kept} (inspect.max_body_bytes); edit it, and give one")
    if body.is_redacted:
        raise CannotReplayError(409, "credentials were taken out of its body; edit it, and give them")
    return bytes(body.data)


def _check(target: bytes) -> None:
    if HIDDEN in target:
        raise CannotReplayError(409, "credentials were taken out of its target; edit it, and give them")


def _edited_body(edit: Edit) -> bytes | None:
    if edit.body is not None:
        return edit.body.encode()
    if edit.body_base64 is None:
        return None
    try:
        return b64decode(edit.body_base64, validate=True)
    except (Base64Error, ValueError):
        raise CannotReplayError(400, "body_base64 is not base64") from None


def _fields(record: CapturedRequest, edit: Edit) -> bytes:
    """Return the field lines; those with credentials taken out are left out, and so is what the body changes."""
    if edit.fields is None:
        pairs = field_pairs(record.fields)
    else:
        pairs = [(name.strip().encode("latin-1"), value.strip().encode("latin-1")) for name, value in edit.fields]
    coded = () if edit.body is None else (b"content-encoding",)
    names = {name.lower() for name, _ in pairs}
    lines = [
        b"%b: %b\r\n" % (name, value)
        for name, value in pairs
        if name.lower() not in _NOT_AGAIN and name.lower() not in coded and HIDDEN not in value
    ]
    if b"host" not in names:
        lines.insert(0, b"Host: %b\r\n" % (record.host or b"localhost"))
    if any(b"\r" in each[:-2] or b"\n" in each[:-2] for each in lines):
        raise CannotReplayError(400, "a line end does not belong into a field")
    return b"".join(lines)
