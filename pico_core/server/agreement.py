"""The start of a tunnel on the server's side: the result of its handshake. ``registering`` makes it."""

import msgspec

from pico_core.http.message import MAX_OWN_HEAD_BYTES, HeadLimits, MessageError
from pico_core.proxy.reasons import error_line
from pico_core.server.claims import Registration
from pico_core.server.tenants import Tenant
from pico_core.websocket.handshake import HandshakeError
from pico_core.websocket.refusal import mark

HANDSHAKE_LIMITS = HeadLimits(max_head_bytes=MAX_OWN_HEAD_BYTES)
"""Bounds of an agent's request head."""

RESERVED_PART = 8
"""One in so many streams of a tunnel is kept for clients that hold few (``crowding``); none of fewer than eight."""


class Term(msgspec.Struct, frozen=True, gc=False):
    """When a tunnel must end because its token expires, and when its agent is asked to come again, in wall time."""

    expires_at: float
    leave_at: float


class Agreement(msgspec.Struct, frozen=True):
    """The start of a tunnel, which keeps what it needs of it: the rest is freed.

    ``response`` is the 101 to send. ``is_pico`` says that the agent is one of ours. ``term`` is ``None`` for a tunnel
    that need not end.
    """

    registration: Registration
    endpoint: str
    tenant: Tenant | None
    instance: bytes
    is_pico: bool
    max_streams: int
    first_window_bytes: int
    term: Term | None
    response: bytes


def refusal_fields(error: MessageError | HandshakeError, code: str) -> bytes:
    """Return the field lines of an answer that refuses a tunnel for the reason ``code``."""
    fields = error_line(code)
    if isinstance(error, HandshakeError):
        fields += mark(error.refusal)
        if error.retry_after_s:
            fields += b"Retry-After: %d\r\n" % error.retry_after_s
    return fields
