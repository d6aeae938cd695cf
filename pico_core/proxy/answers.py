"""Answers that Pico makes itself: what they say, to programs and to people.

The body is ``{"error": ...}`` as Piko's is, with the reason, what decided, and the request's ID beside the text. Where
the client wants a page, it gets one that says the same in words, without scripts and without anything from elsewhere.
"""

from collections.abc import Mapping

from pico_core.http.message import ResponseHead, field_values
from pico_core.http.writing import NO_DETAILS, error_head, error_message
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.reasons import REASONS, error_line

NONE = "none"
FULL = "full"
"""Values of ``proxy.error_detail`` that tell the text only, and the endpoint, the node and advice too."""

_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{status} {title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
dt {{ opacity: .7 }} dd {{ margin: 0 0 .5rem; font-family: ui-monospace, monospace; overflow-wrap: anywhere }}</style>
<h1>{status} {title}</h1>
<p>{meaning}</p>
<dl>{items}</dl>
</html>
"""
_POLICY = b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nCache-Control: no-store\r\n"


class Answers:
    """Makes the answers of a node. ``detail`` is the value of ``proxy.error_detail``."""

    __slots__ = ("_detail", "_node_id")

    def __init__(self, detail: str, node_id: str) -> None:
        self._detail = detail
        self._node_id = node_id

    def make(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        """Return the answer to ``exchange`` that says ``message`` and its reason: as a page if the client wants one."""
        told, details = self.say(exchange.reason, exchange.request_id)
        if details and self._detail == FULL:
            reason = REASONS[exchange.reason]
            details = {**details, "endpoint": exchange.endpoint, "node": self._node_id, "hint": reason.advice}
        if wants_page(exchange):
            page = _page(status, message, exchange.reason, details)
            return error_head(status, page, b"text/html; charset=utf-8", _POLICY + told + fields)
        return error_message(status, message, told + fields, details)

    def say(self, reason: str, request_id: bytes) -> tuple[bytes, Mapping[str, str]]:
        """Return the field lines and the details of the body that name ``reason``."""
        if self._detail == NONE:
            return b"", NO_DETAILS
        by = REASONS[reason].by
        details = {"reason": reason, "by": by}
        if request_id:
            details["request_id"] = request_id.decode("ascii")
        return error_line(reason, by), details


def wants_page(exchange: Exchange) -> bool:
    """Return whether a client prefers a page to data, as browsers do: it names HTML first (RFC 9110 section 12.5.1)."""
    fields = exchange.head.fields
    if not exchange.is_entry or b"text/html" not in fields:
        return False
    accepted = b",".join(field_values(fields, b"accept")).lower()
    return accepted.lstrip().startswith((b"text/html", b"application/xhtml+xml"))


def _page(status: int, message: str, reason: str, details: Mapping[str, str]) -> bytes:
    title = message[:1].upper() + message[1:]
    meaning = REASONS[reason].meaning if details else ""
    items = "".join(f"<dt>{_escaped(name)}<dd>{_escaped(text)}" for name, text in details.items() if text)
    return _PAGE.format(status=status, title=_escaped(title), meaning=_escaped(meaning), items=items).encode()


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
