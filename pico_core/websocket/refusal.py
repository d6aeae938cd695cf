"""Where a refusal of a handshake comes from, and whether to ask again: a proxy's answer is not the server's.

A Pico server marks the two refusals on which an agent acts at once with the field ``x-pico-refused``. Piko's server has
no such field, so its refusals of a token are known by their texts. ``docs/decisions/refusals.md`` gives the reasons.
"""

import json
import re
from collections.abc import Iterable
from enum import Enum

FIELD = b"x-pico-refused"

REASON_FIELD = b"x-pico-error"
"""Names the reason of an answer that a Pico node made itself (``proxy.reasons``)."""

PIKO_REFUSALS = frozenset(
    (
        "missing authorization",
        "invalid authorization",
        "unsupported auth type",
        "invalid token",
        "expired token",
        "unknown tenant",
        "endpoint not permitted",
    )
)
"""The texts of Piko's server in the body of a 401; the next attempt would be told the same."""


_CODE = re.compile(rb"([a-z-]{1,32})(?:;|$)")

MAX_RETRY_AFTER_DIGITS = 9
"""Of the seconds in a Retry-After field: thirty years."""


class Refusal(Enum):
    """The meaning of a refusal for the next attempt. The values of the first two are those of ``FIELD``."""

    FINAL = "final"
    """The server refuses this endpoint or these credentials."""
    LEAVING = "leaving"
    """This node is about to stop; another one, or its successor, will accept."""
    PASSING = "passing"
    """The server's own words; it may accept later."""
    FOREIGN = "foreign"
    """The words of something else: a balancer, a proxy, another program at this address."""


MARKS = {kind.value.encode(): kind for kind in (Refusal.FINAL, Refusal.LEAVING)}


def mark(kind: Refusal) -> bytes:
    """Return the field line, with its CRLF, that marks the server's answer; empty for a refusal without a mark."""
    value = kind.value.encode()
    return b"%b: %b\r\n" % (FIELD, value) if value in MARKS else b""


def read_refusal(status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> tuple[Refusal, str]:
    """Return which side refused, and the server's ``{"error": ...}`` text where there is one, by an answer's parts.

    ``fields`` are pairs of a name in lower case and a value. Never raises.
    """
    own = {name: value.strip() for name, value in fields if name in (FIELD, REASON_FIELD)}
    text = _error_text(body, is_ours=REASON_FIELD in own)
    marked = MARKS.get(own.get(FIELD, b""))
    if marked is not None:
        return marked, text
    if status == 401 and text in PIKO_REFUSALS:
        return Refusal.FINAL, text
    return (Refusal.PASSING if text else Refusal.FOREIGN), text


def read_retry_after(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the seconds of a Retry-After field; 0 where there is none, or where it has a date. Never raises."""
    value = next((value.strip() for name, value in fields if name == b"retry-after"), b"")
    return int(value) if len(value) <= MAX_RETRY_AFTER_DIGITS and value.isdigit() else 0


def read_code(fields: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the name of the reason that a Pico server gives; empty where there is none. Never raises."""
    value = next((value for name, value in fields if name == REASON_FIELD), b"")
    match = _CODE.match(value)
    return match[1].decode("ascii") if match else ""


def _error_text(body: bytes, *, is_ours: bool) -> str:
    """Return the text of ``{"error": text}``, the form in which both servers refuse; empty for any other body.

    A Pico server that names its reason in ``REASON_FIELD`` says more than the text in the body.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(content, dict) and (is_ours or list(content) == ["error"]):
        text = content.get("error")
        return text if isinstance(text, str) else ""
    return ""
