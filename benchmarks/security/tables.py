"""What strangers can make one process spend: on tokens, hostile heads, gossip under a key, and series."""

import re
import socket
import string
import time
import urllib.request
from collections.abc import Iterable
from contextlib import suppress

from benchmarks import gossip_seal, machines_access
from benchmarks.security.site import ENDPOINT, Figure, at_most
from benchmarks.site import Stack
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head
from tests.core.http.test_limits import ADVERSARIES

METHODS = 1_000
HEAD_BYTES = 65_536


def access(seconds: float) -> list[Figure]:
    """Measure what a remembered token adds to a request of the server machine."""
    without, checked = machines_access.compare(seconds, new_heads=False)
    detail = f"{without:.1f} -> {checked:.1f} us"
    found = [at_most("a remembered token, adds to a request", checked - without, 1.5, " us", detail)]
    without, checked = machines_access.compare(seconds, new_heads=True)
    found.append(Figure("  the same when every head is new", f"{checked - without:.2f} us"))
    return found


def hostile_heads(rounds: int) -> list[Figure]:
    """Measure the slowest of the hostile heads of 64 KiB, by the limits that a node has if it is not told otherwise."""
    found = {name: min(_parsing_ms(make(HEAD_BYTES)) for _ in range(rounds)) for name, make in ADVERSARIES.items()}
    slowest = max(found, key=lambda name: found[name])
    return [at_most("a hostile head of 64 KiB", found[slowest], 5.0, " ms", f"the slowest: {slowest}")]


def _parsing_ms(fields: bytes) -> float:
    """Parse a head as long as the limits permit, once with all its lines, once with as many as they permit."""
    limits = HeadLimits()
    head = b"GET / HTTP/1.1\r\n" + fields[: limits.max_field_bytes - 64]
    most = 0.0
    for data in (head, b"\r\n".join(head.split(b"\r\n")[: limits.max_fields - 1])):
        began = time.thread_time()
        with suppress(MessageError):
            parse_request_head(data + b"\r\n\r\n", limits)
        most = max(most, time.thread_time() - began)
    return most * 1e3


def gossip() -> list[Figure]:
    """Measure what a gossip packet takes under a key: sealed, opened and read."""
    packets = gossip_seal.packets()
    found = []
    for name in (each.removesuffix(": seal") for each in packets if each.endswith(": seal")):
        parts = [packets[f"{name}: {part}"] for part in ("seal", "open", "read")]
        detail = "seal {:.1f}, open {:.1f}, read {:.1f}".format(*parts)
        found.append(at_most(f"gossip, {name}", sum(parts), 60.0, " us", detail))
    return found


def series(runtime: str) -> list[Figure]:
    """Count the series that random methods, hosts and endpoints add to ``/metrics``."""
    with Stack(runtime) as stack:
        port = stack.ports["proxy"]
        _ask(port, [b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % ENDPOINT[0].encode()])
        before = _series(stack.ports["admin"])
        names = [_name(number) for number in range(METHODS)]
        _ask(port, (b"%b / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (name, ENDPOINT[0].encode()) for name in names))
        methods = _series(stack.ports["admin"]) - before
        _ask(port, (b"GET / HTTP/1.1\r\nHost: %b.example.com\r\n\r\n" % name.lower() for name in names))
        both = _series(stack.ports["admin"]) - before
    return [
        at_most(f"series after {METHODS:,} random methods", methods, 20),
        at_most(f"series after {METHODS:,} random hosts as well", both, 20),
    ]


def _name(number: int) -> bytes:
    """Return a token that no other number has and that is not a known method."""
    letters = string.ascii_uppercase
    return b"X" + bytes(ord(letters[number // 26**place % 26]) for place in range(4))


def _series(admin_port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(bool(line) and not line.startswith("#") for line in text.splitlines())


def _ask(port: int, requests: Iterable[bytes]) -> None:
    """Send requests one after the other, each on a connection that is kept while the server keeps it."""
    connection: socket.socket | None = None
    for request in requests:
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65_536)
            if not piece:
                break
            answer += piece
        length = re.search(rb"(?i)content-length: (\d+)", answer)
        left = int(length[1]) - len(answer.partition(b"\r\n\r\n")[2]) if length else 0
        while left > 0 and (piece := connection.recv(left)):
            left -= len(piece)
        if length is None or b"onnection: close" in answer:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
