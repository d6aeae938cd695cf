"""The side at fault for each reason, and its statuses: no client's fault is a 5xx, and no server's a 4xx."""

import re

CLIENTS = {
    "no-endpoint",
    "tcp-endpoint",
    "http-endpoint",
    "bad-request",
    "not-found",
    "too-large",
    "request-timeout",
    "unauthorized",
    "forbidden",
    "rate-limited",
    "taken",
    "client-left",
}
SERVERS = {
    "no-tunnel",
    "tunnel-lost",
    "node-lost",
    "node-unreachable",
    "node-full",
    "misdirected",
    "busy",
    "loop",
    "overloaded",
    "draining",
    "upstream-timeout",
    "agent-silent",
    "agent-not-asked",
    "service-refused",
    "service-lost",
    "service-invalid",
    "service-timeout",
    "stream-refused",
    "agent-full",
    "keys-unknown",
    "app-failed",
}
"""The server's, its agent's or the service's."""

NOT_SERVED = {501, 505}
"""A method, a transfer coding or a version that no server has to know: RFC 9110 has no 4xx for them."""

TO_A_NODE = ("misdirected", 421)
"""The answer of a node to another one that forwarded a request by a stale route. No client gets it."""

_ANSWER = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r]*\r\n(?:[^\r]+\r\n)*?X-Pico-Error: ([a-z-]+); by=")


def is_right(status: int, reason: str) -> bool:
    """Return whether an answer with ``status`` may name ``reason``."""
    if reason in CLIENTS:
        return 400 <= status < 500 or status in NOT_SERVED
    return (status >= 500 and status not in NOT_SERVED and reason in SERVERS) or (reason, status) == TO_A_NODE


def check_answers(data: bytes) -> None:
    """Check the answers of Pico's own among the bytes that a machine sends."""
    for status, reason in _ANSWER.findall(data):
        assert is_right(int(status), reason.decode()), f"the wrong side is blamed: {status!r} {reason!r}"
