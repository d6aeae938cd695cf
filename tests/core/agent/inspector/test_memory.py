"""What the records take stays within its bound, however many requests there are."""

import sys
from types import SimpleNamespace
from typing import cast

import pytest

from pico_core.agent.inspector.store import Store
from pico_core.config.inspect import MIB, InspectConfig
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.proxy.exchange import Exchange
from pico_core.timers import Timers
from tests.core.agent.inspector.scene import again, document, inspected, served
from tests.core.agent.inspector.test_recording import request
from tests.core.agent.inspector.test_secrets import memory_of, reached, store_of

MOST_BYTES = 50 * MIB
CANARY = "CANARY-OF-A-SECRET"


def size_of(root: object) -> int:
    """Return the memory of all objects that an object reaches."""
    return sum(sys.getsizeof(each) for each in reached(root))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "total"), [(200, 100_000), (60_000, 2_000)])
def test_a_hundred_thousand_requests(size: int, total: int) -> None:
    """``size`` is that of a body, so that one time the number of records bounds them, and one time their memory."""
    timers = Timers()
    store = Store(InspectConfig(), timers)
    body = b'{"text": "%b", "password": "%b"}' % (b"x" * size, CANARY.encode())
    fields = f"Authorization: Bearer {CANARY}\r\nCookie: s={CANARY}\r\nContent-Type: application/json\r\n"
    line = f"POST /x?token={CANARY} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    answer = f"HTTP/1.1 200 OK\r\nSet-Cookie: s={CANARY}\r\nContent-Type: application/json\r\n\r\n".encode()
    for number in range(total):
        head = parse_request_head(line, HeadLimits())
        told = SimpleNamespace(head=head, endpoint="e1", status=200, reason="", incomplete="", tries=1, acceptance=None)
        exchange = cast("Exchange", told)
        record = store.begin(exchange, b"", number, number)
        record.add_request((body[:100], body[100:]))
        record.respond(parse_response_head(answer, HeadLimits()), (body[:100],), number)
        record.add_response((body[100:],))
        record.finished(exchange)
        record.end(number)
        while not record.is_over:
            timers.fire(timers.deadline())
        if number % (total // 10) == total // 10 - 1:
            kept = size_of(store)
            assert kept < MOST_BYTES, f"{kept:,} bytes after {number:,} requests"
            assert kept <= 1.1 * store.memory_bytes + MIB, f"{kept:,} bytes, told {store.memory_bytes:,}"
    assert store.memory_bytes == sum(each.memory_bytes for each in store.records.values())
    assert len(store.records) + store.dropped == total
    assert CANARY.encode() not in memory_of(store)


def test_nothing_is_kept_of_what_has_left() -> None:
    play = inspected(max_requests=3)
    for number in range(20):
        (served if not number else again)(
            play, request(f"POST /{number}", b"text-%d" % number, media_type="text/plain")
        )
    assert [row["target"] for row in document(play, "/api/requests")["rows"]] == ["/17", "/18", "/19"]
    kept = memory_of(store_of(play))
    assert all((b"text-%d" % number in kept) == (number > 16) for number in range(10, 20))
