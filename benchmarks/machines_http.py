"""How long one message head takes, in microseconds: cut, parsed, and written for the next hop; beside h11's parsing.

Each figure is the best of several rounds, so that other load on the machine counts as little as possible.
"""

import timeit
from collections.abc import Callable
from functools import partial

import h11

from pico_core.http.body import request_body
from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.http.writing import request_bytes, response_bytes

LIMITS = HeadLimits()
FORWARDED = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.example.com\r\n"

REQUEST_6 = (
    b"GET /api/items?id=42 HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nX-Request-Id: 8e4b1c62-7f0a-4a55\r\n\r\n"
)
REQUEST_14 = (
    b"POST /api/items?id=42&lang=en HTTP/1.1\r\nHost: app.example.com\r\nConnection: keep-alive\r\n"
    b'Content-Length: 348\r\nsec-ch-ua: "Chromium";v="124", "Not-A.Brand";v="99"\r\n'
    b"Content-Type: application/json\r\nsec-ch-ua-mobile: ?0\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
    b"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n"
    b"Accept: application/json, text/plain, */*\r\nOrigin: https://app.example.com\r\nSec-Fetch-Site: same-origin\r\n"
    b"Referer: https://app.example.com/start\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
)
RESPONSE_6 = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b'Content-Length: 13\r\nConnection: keep-alive\r\nETag: "5f1a"\r\n\r\n'
)
RESPONSE_14 = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\n"
    b"Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n"
    b'Vary: Accept-Encoding\r\nCache-Control: no-store\r\nETag: W/"1c4-0123456789abcdef"\r\n'
    b"Set-Cookie: session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly\r\nX-Frame-Options: SAMEORIGIN\r\n"
    b"X-Content-Type-Options: nosniff\r\nStrict-Transport-Security: max-age=31536000\r\n"
    b"Referrer-Policy: same-origin\r\nX-Request-Id: 8e4b1c62-7f0a-4a55\r\n\r\n"
)


def microseconds(work: Callable[[], object], seconds: float) -> float:
    """Return the best of nine rounds that last so long together, about."""
    timer = timeit.Timer(work)
    number = max(1, int(seconds / 9 / (timer.timeit(100) / 100)))
    return min(timer.repeat(number=number, repeat=9)) / number * 1e6


def h11_request(head: bytes) -> object:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    return connection.next_event()


def h11_response(head: bytes) -> object:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head)
    return connection.next_event()


def cut(reader: HeadReader, data: bytes) -> bytes:
    read = reader.receive(data)
    return read[0] if read else b""


def forward_request(reader: HeadReader, data: bytes) -> bytes:
    head = parse_request_head(cut(reader, data), LIMITS)
    request_body(head)
    return request_bytes(head, FORWARDED)


def forward_response(reader: HeadReader, data: bytes) -> bytes:
    return response_bytes(parse_response_head(cut(reader, data), LIMITS), b"")


def figures(seconds: float) -> dict[str, float]:
    """Return microseconds by the head and what is done with it. ``seconds`` go to each kind of head."""
    reader, response_reader = HeadReader(LIMITS), HeadReader(LIMITS, response=True)
    works: dict[str, Callable[[], object]] = {}
    for fields, data in ((6, REQUEST_6), (14, REQUEST_14)):
        name, request = f"request of {fields} fields", parse_request_head(data, LIMITS)
        works |= {
            f"{name}: cut": partial(reader.receive, data),
            f"{name}: parse": partial(parse_request_head, data, LIMITS),
            f"{name}: write": partial(request_bytes, request, FORWARDED),
            f"{name}: all": partial(forward_request, reader, data),
            f"{name}: parse by h11": partial(h11_request, data),
        }
    for fields, data in ((6, RESPONSE_6), (14, RESPONSE_14)):
        name, response = f"response of {fields} fields", parse_response_head(data, LIMITS)
        works |= {
            f"{name}: cut": partial(response_reader.receive, data),
            f"{name}: parse": partial(parse_response_head, data, LIMITS),
            f"{name}: write": partial(response_bytes, response, b""),
            f"{name}: all": partial(forward_response, response_reader, data),
            f"{name}: parse by h11": partial(h11_response, data),
        }
    return {name: microseconds(work, seconds / 5) for name, work in works.items()}
