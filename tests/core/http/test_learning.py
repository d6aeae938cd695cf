"""Which heads are read without a parser, that the result is the parser's, and when a connection stops learning."""

import pytest

from pico_core.http.learning import (
    MISSES_WITHOUT_LEARNING,
    LearntRequests,
    LearntResponses,
)
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.http.recent import RequestReader
from pico_core.http.writing import request_bytes, response_bytes
from tests.core.http.growth import grows_linearly
from tests.core.http.reading import Head, Read, outcome, plain

LIMITS = HeadLimits()
MISSES = 8
VALUES = 12


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: e1.example.com", *lines, b"", b""])


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, b"Server: s", *lines, b"", b""])


def learnt(*heads: bytes, limits: HeadLimits = LIMITS) -> LearntRequests:
    learner = LearntRequests(limits)
    for head in heads:
        learner.learn(head[head.index(b" HTTP/1.1") :], parse_request_head(head, limits))
    return learner


def learnt_responses(*heads: bytes) -> LearntResponses:
    learner = LearntResponses(LIMITS)
    for head in heads:
        learner.learn(head, parse_response_head(head, LIMITS))
    return learner


def always(head: Head, rest: bytes = b"") -> Read:
    """Return the ``read`` of a reader that has read ``head``."""
    return lambda _: (head, rest)


def is_read_as_parsed(learner: LearntRequests, head: bytes, rest: bytes = b"") -> bool:
    """Return whether a head was read without a parser, with the same result."""
    read = learner.recall(head + rest)
    if read is None:
        return False
    found = outcome(always(*read), head)
    assert found == outcome(plain(parse_request_head, LIMITS), head + rest)
    assert request_bytes(read[0], b"A: b\r\n") == request_bytes(parse_request_head(head, LIMITS), b"A: b\r\n")
    return True


@pytest.mark.parametrize(
    ("name", "values", "others"),
    [
        (b"Cookie", [b" a=1", b" a=2", b"", b"  ", b"\tx\t", b" \xc3\xa9", b" \xa0\x80", b" " + b"x" * 5_000], []),
        (b"cookie", [b" a=1", b" a=2"], [b" \x00", b" \x7f", b" a\rb", b" a\nb", b" \x1f"]),
        (b"Authorization", [b" Bearer a", b" Bearer b"], []),
        (b"Content-Type", [b" text/plain", b" multipart/form-data; boundary=7"], []),
        (
            b"Content-Length",
            [b" 5", b"6", b" 0\t", b" 007", b" " + b"9" * 18],
            [b"", b" 5, 5", b" +5", b" " + b"9" * 19],
        ),
        (b"X-Forwarded-For", [b" 192.0.2.7", b" ::1, 192.0.2.8", b""], []),
        (b"x-forwarded-host", [b" a", b" b\t"], []),
        (b"X-Pico-Request-ID", [b" 0123456789abcdef", b" 7"], [b"", b" a b", b" " + b"x" * 65]),
        (b"Connection", [], [b" keep-alive", b" close", b" Cookie", b" upgrade"]),
        (b"Transfer-Encoding", [], [b" chunked", b"chunked"]),
        (b"X-Pico-Endpoint", [], [b" e1", b" e2"]),
        (b"X-Pico-Tenant-Id", [], [b" a", b" b"]),
        (b"X-Pico-Authorization", [], [b" a", b" b"]),
        (b"X-Real-IP", [], [b" 192.0.2.7", b" 192.0.2.8"]),
        (b"Forwarded", [], [b" for=192.0.2.7", b" for=192.0.2.8"]),
        (b"X_Forwarded_For", [], [b" 192.0.2.7", b" 192.0.2.8"]),
    ],
)
def test_values_that_may_differ(name: bytes, values: list[bytes], others: list[bytes]) -> None:
    for place in (0, 1, 2):
        lines = [b"A: b", b"Accept: */*"]
        heads = [request(*lines[:place], name + b":" + each, *lines[place:]) for each in (*values, *others)]
        learner = learnt(*heads[:2])
        assert [is_read_as_parsed(learner, head) for head in heads] == [True] * len(values) + [False] * len(others)
        assert is_read_as_parsed(learner, heads[0], b"what comes behind") is bool(values)


@pytest.mark.parametrize("name", [b"Content-Type", b"X-Forwarded-For", b"x-pico-request-id"])
def test_a_field_that_is_repeated_may_not_differ(name: bytes) -> None:
    same = name + b": a/b"
    learner = learnt(request(same, same, b"A: 1"), request(same, same, b"A: 2"))
    assert is_read_as_parsed(learner, request(same, same, b"A: 3"))
    assert not is_read_as_parsed(learner, request(same, name + b": a/c", b"A: 3"))


def test_content_types_that_contradict_each_other_are_refused() -> None:
    def twice(one: bytes, other: bytes) -> bytes:
        return request(b"Content-Type: " + one, b"Content-Type: " + other)

    learner = learnt(twice(b"a/1", b"a/1"), twice(b"a/2", b"a/2"))
    assert learner.recall(twice(b"a/1", b"a/2")) is None


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        (b" e3.example.com", True),
        (b"e3:80 ", True),
        (b" [::1]:8", True),
        (b" a b", False),
        (b" a,b", False),
        (b"", False),
    ],
)
def test_hosts(host: bytes, fits: bool) -> None:
    def head(value: bytes) -> bytes:
        return request(b"A: b").replace(b" e1.example.com", value)

    assert is_read_as_parsed(learnt(head(b" e1"), head(b" e2")), head(host)) is fits


def test_changes_of_the_fields_that_are_not_understood_are_not_followed() -> None:
    """Only a token is taken out of the next heads as it was out of the first one."""
    token = b"Authorization: Bearer a"
    for fields, is_followed in ((b"Host: e1.example.com\r\nA: 1\r\n", True), (b"A: 1\r\n", False)):
        heads = [request(token, b"A: %d" % number) for number in range(4)]
        learner = LearntRequests(LIMITS)
        for head in heads[:2]:
            parsed = parse_request_head(head, LIMITS)
            learner.learn(head[head.index(b" HTTP/1.1") :], parsed)
        parsed.fields, parsed.authorization = fields, b"Bearer a"
        for head in heads[2:]:
            read = learner.recall(head)
            assert read is not None
            assert (token in read[0].fields) is not is_followed
            assert (token in read[0].onward) is not is_followed
            assert bool(read[0].authorization) is is_followed


@pytest.mark.parametrize(
    ("start", "fits"),
    [
        (b"POST /a?b HTTP/1.1", True),
        (b"GET / HTTP/1.0", False),
        (b"get / HTTP/1.1", False),
        (b"CONNECT / HTTP/1.1", False),
        (b"GET http://e1.example.com/ HTTP/1.1", False),
        (b"OPTIONS * HTTP/1.1", False),
        (b"GET /\x01 HTTP/1.1", False),
        (b"GET /#a HTTP/1.1", False),
        (b"GET /a b HTTP/1.1", False),
    ],
)
def test_request_lines(start: bytes, fits: bool) -> None:
    learner = learnt(request(b"A: 1"), request(b"A: 2"))
    assert is_read_as_parsed(learner, request(b"A: 3", start=start)) is fits


def test_heads_with_other_lines_are_parsed() -> None:
    learner = learnt(request(b"A: 1", b"B: c"), request(b"A: 2", b"B: c"))
    for lines in ([b"A: 1"], [b"a: 1", b"B: c"], [b"A: 1", b"B: d"], [b"A: 1", b"B: c", b"C: d"], [b"B: c", b"A: 1"]):
        assert learner.recall(request(*lines)) is None
    assert learner.recall(request(b"A: 1", b"B: c")[:-2]) is None


def test_connection_options_that_name_a_field() -> None:
    """The field is removed, so its value does not matter; the heads are parsed where that cannot be told apart."""
    heads = [request(b"Connection: a", b"A: %d" % number, b"B: %d" % number) for number in range(3)]
    assert learnt(*heads[:2]).recall(heads[2]) is None


def test_limits_hold() -> None:
    limits = HeadLimits(max_head_bytes=300, max_target_bytes=50, max_field_bytes=200)
    for size in (10, 45, 49, 50, 51, 100):
        for value in (b"x", b"y" * 100, b"z" * 190, b"z" * 196, b"z" * 197, b"z" * 198, b"z" * 250, b"z" * 300):
            reader = RequestReader(limits)
            for number in range(3):
                outcome(reader.read, request(b"A: %d" % number))
            head = request(b"A: " + value, start=b"GET /%b HTTP/1.1" % (b"p" * (size - 1)))
            assert outcome(reader.read, head) == outcome(plain(parse_request_head, limits), head)


@pytest.mark.parametrize(
    ("start", "fits"),
    [(b"HTTP/1.1 200 OK", True), (b"HTTP/1.0 404 Not Found", True), (b"HTTP/1.1 204 No Content", False)],
)
def test_responses(start: bytes, fits: bool) -> None:
    heads = [
        response(b"Date: %d" % each, b"Content-Length: %d" % each, b'ETag: "%d"' % each, start=start)
        for each in range(4)
    ]
    learner = learnt_responses(*heads[:2])
    for head in heads:
        read = learner.recall(head + b"body")
        assert (read is not None) is fits
        if read is not None:
            assert read[1] == len(head)
            assert outcome(always(read[0]), head) == outcome(plain(parse_response_head, LIMITS), head)
            assert response_bytes(read[0], b"A: b\r\n") == response_bytes(
                parse_response_head(head, LIMITS), b"A: b\r\n"
            )


def test_responses_that_are_parsed() -> None:
    bodiless = [response(b"Content-Length: " + each, start=b"HTTP/1.1 204 No Content") for each in (b"0", b"00", b"5")]
    assert learnt_responses(*bodiless[:2]).recall(bodiless[2]) is None
    learner = learnt_responses(
        response(b"A: 1", b"Connection: keep-alive"), response(b"A: 2", b"Connection: keep-alive")
    )
    assert learner.recall(response(b"A: 3", b"Connection: keep-alive")) is not None
    assert learner.recall(response(b"A: 3", b"Connection: close")) is None
    assert learner.recall(response(b"A: 3", b"Connection: keep-alive", start=b"HTTP/1.1 201 Created")) is None
    own = [response(b"X-Pico-Failure: %d" % each) for each in range(3)]
    assert learnt_responses(*own[:2]).recall(own[2]) is None


def test_a_connection_that_learns_nothing_stops_for_a_while() -> None:
    def unlike(number: int) -> bytes:
        return request(b"A%d: b" % number)

    alike = request(b"A: 1"), request(b"A: 2")
    assert learnt(*map(unlike, range(MISSES - 2)), *alike).recall(alike[0]) is not None
    assert learnt(*map(unlike, range(MISSES)), *alike).recall(alike[0]) is None
    waited = MISSES + MISSES_WITHOUT_LEARNING + 1
    assert learnt(*map(unlike, range(waited)), *alike).recall(alike[0]) is not None


def test_one_head_of_another_kind_is_not_a_reason_to_forget() -> None:
    alike, other = (request(b"A: 1"), request(b"A: 2")), request(b"B: c")
    learner = learnt(*alike)
    for _ in range(20):
        assert learner.recall(alike[0]) is not None
        learner.learn(other[other.index(b" HTTP/1.1") :], parse_request_head(other, LIMITS))
    assert learner.recall(alike[0]) is not None


def test_bounds_of_what_is_learnt() -> None:
    def many(number: int, values: int) -> bytes:
        return request(*[b"A%d: %d" % (place, number) for place in range(values)])

    def long(number: int, size: int) -> bytes:
        """Return a head with ``size`` bytes behind the target."""
        return request(b"A: %d" % number, b"B: " + b"x" * (size - 46))

    for heads, most in ((many, VALUES), (long, 4_096)):
        for bound in (most, most + 1):
            recalled = learnt(heads(1, bound), heads(2, bound)).recall(heads(3, bound))
            assert (recalled is not None) is (bound == most)
    assert len(long(1, 4_096)) - len(b"GET /") == 4_096


def test_hostile_values_cost_linear_time() -> None:
    learner = learnt(*[request(*[b"A%d: %d" % (place, number) for place in range(VALUES)]) for number in range(2)])

    heads = {
        size: request(b"A0: " + b"x" * size, *[b"A%d: 1" % place for place in range(1, VALUES)])
        for size in (15_000, 60_000)
    }
    assert all(learner.recall(head) is not None for head in heads.values())
    assert grows_linearly(lambda size: [learner.recall(heads[size]) for _ in range(200)], 15_000)
