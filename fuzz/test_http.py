"""HTTP heads and bodies: the pieces do not matter, garbage is refused cleanly, h11 understands what we write."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from pico_core.http.body import LAST_CHUNK, BodyReader, ChunkedBody, framed, request_body, response_body
from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits, MessageError, RequestHead, split_fields
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.http.recent import ResponseReader
from pico_core.http.writing import request_bytes, response_bytes

REFUSED = b"(refused)"
LIMITS = HeadLimits(max_head_bytes=600, max_target_bytes=100, max_field_bytes=100, max_fields=20)

TOKEN = st.text("!#$%&'*+-.^_`|~0189AZaz", min_size=1, max_size=12).map(str.encode)
TEXT = st.lists(st.sampled_from([b"a", b"Z", b"0", b",", b";", b":", b" ", b"\t", b'"', b"\xe4", b"\xff"]), max_size=12)
NOTABLE_LINES = st.sampled_from(
    [
        b"Host: h.example",
        b"Host: h.example",
        b"host: other.example:80",
        b"Content-Length: 5",
        b"content-length: 0",
        b"Content_Length: 5",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"Connection: close",
        b"Connection: Keep-Alive",
        b"connection: upgrade, te, x-a",
        b"Upgrade: websocket",
        b"Keep-Alive: 5",
        b"Proxy-Connection: x",
        b"TE: trailers",
        b"Expect: 100-continue",
        b"X-A: 1",
        b"X-Forwarded-For: 192.0.2.1",
        b"x_forwarded_proto: https",
        b"X-Forwarded-Host: o",
        b"x-pico-endpoint: e",
        b"X-Piko-Endpoint: e",
        b"X-Piko-Forward: true",
        b"x-pico-tenant-id: t",
        b"Content-Type: a/b",
        b"content-type: c/d",
        b"A : b",
        b" folded",
        b"no colon",
        b"A: \x00",
        b"A: b\nC: d",
    ]
)
OTHER_LINES = st.builds(lambda name, value: name + b":" + b"".join(value), TOKEN, TEXT)
FIELD_LINES = st.lists(NOTABLE_LINES | OTHER_LINES, max_size=8)
REQUEST_LINES = st.sampled_from(
    [
        b"GET /a?b HTTP/1.1",
        b"GET /a?b HTTP/1.1",
        b"POST / HTTP/1.1",
        b"POST / HTTP/1.0",
        b"HEAD /x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://h.example/ HTTP/1.1",
        b"GET /a HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET /\x00 HTTP/1.1",
        b"get / http/1.1",
        b"GET /" + b"a" * 99 + b" HTTP/1.1",
        b"GET /" + b"a" * 100 + b" HTTP/1.1",
    ]
)
STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.9 200 OK",
        b"HTTP/2 200",
    ]
)
CHUNKS = st.lists(
    st.sampled_from(
        [
            b"5\r\nhello\r\n",
            b"0005;a=b\r\nhello\r\n",
            b'1;a="\\";"; b\r\nx\r\n',
            b"1000\r\n" + b"x" * 4096 + b"\r\n",
            b"0\r\n\r\n",
            b"0\r\nA: b\r\nContent-Type: x\r\n\r\n",
            b"0\r\nHost: x\r\n\r\n",
            b"5 \r\nhello\r\n",
            b"5\r\nhello\n",
            b"x\r\n",
        ]
    )
    | st.binary(max_size=8),
    max_size=5,
).map(b"".join)


def heads(start_lines: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda line, lines: b"\r\n".join([line, *lines, b"", b""]), start_lines, FIELD_LINES)


def outcome(data: bytes, cuts: list[int], *, response: bool) -> list[object]:
    """Read one connection's bytes, cut at ``cuts``; return all that was understood, up to the first refusal."""
    out: list[object] = []
    reader = HeadReader(LIMITS, response=response)
    body: BodyReader | None = None
    payload = b""
    refusal: MessageError | None = None
    try:
        for start, end in pairwise([0, *sorted(cuts), len(data)]):
            rest = data[start:end]
            while rest:
                if body is None:
                    read = reader.receive(rest)
                    if read is None:
                        break
                    rest = read[1]
                    if response:
                        answer = parse_response_head(read[0], LIMITS)
                        out.append(answer)
                        body = response_body(answer, b"GET")
                    else:
                        head = parse_request_head(read[0], LIMITS)
                        out.append(head)
                        body = request_body(head)
                else:
                    pieces, rest = body.receive(rest)
                    payload += b"".join(pieces)
                    assert body.done or not rest
                    if body.done:
                        out.append((payload, body.trailers))
                        body, payload = None, b""
    except MessageError as error:
        payload, refusal = REFUSED, error
    if refusal is not None:
        assert refusal.status in (400, 414, 417, 431, 501, 505)
        assert refusal.reason.isascii()
    return [*out, payload]


def some_cuts(data: st.DataObject, length: int) -> list[int]:
    return data.draw(st.lists(st.integers(0, length), max_size=8))


@given(st.lists(heads(REQUEST_LINES) | CHUNKS, max_size=4).map(b"".join), st.data())
def test_requests_do_not_depend_on_the_pieces(stream: bytes, data: st.DataObject) -> None:
    whole = outcome(stream, [], response=False)
    pieces = outcome(stream, some_cuts(data, len(stream)), response=False)
    compare(whole, pieces)
    compare(whole, outcome(stream, list(range(len(stream))), response=False))


@given(st.lists(heads(STATUS_LINES) | CHUNKS, max_size=4).map(b"".join), st.data())
def test_responses_do_not_depend_on_the_pieces(stream: bytes, data: st.DataObject) -> None:
    whole = outcome(stream, [], response=True)
    pieces = outcome(stream, some_cuts(data, len(stream)), response=True)
    compare(whole, pieces)
    compare(whole, outcome(stream, list(range(len(stream))), response=True))


def compare(whole: list[object], pieces: list[object]) -> None:
    """The same messages; but a refusal may come earlier in small pieces than in one, never the other way round."""
    if whole[-1] == b"" and pieces[-1] == REFUSED:
        assert whole[:-1] == pieces[:-1]
    else:
        assert whole == pieces


@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"* ")
def test_garbage_is_refused_cleanly(data: bytes) -> None:
    for response in (False, True):
        compare(outcome(data, [], response=response), outcome(data, list(range(len(data))), response=response))
    for parse in (parse_request_head, parse_response_head):
        assert is_refused(partial(parse, data, LIMITS)) or data.endswith(b"\r\n\r\n")
    body = ChunkedBody()
    assert is_refused(partial(body.receive, data)) or body.done or not data.endswith(b"0\r\n\r\n")


def is_refused(read: Callable[[], object]) -> bool:
    """Read; return whether that was refused with a status that says whose mistake it is."""
    try:
        read()
    except MessageError as error:
        return 400 <= error.status <= 505
    return False


def h11_messages(data: bytes) -> list[object] | None:
    """Return what h11 understands of one request, ``None`` if it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    connection.receive_data(b"")
    events: list[object] = []
    try:
        while not events or type(events[-1]) is not h11.EndOfMessage:
            events.append(connection.next_event())
            assert events[-1] is not h11.NEED_DATA
    except h11.RemoteProtocolError:
        return None
    return events


@given(heads(REQUEST_LINES), CHUNKS)
def test_h11_accepts_whatever_we_accept_and_reads_the_same(head_data: bytes, body_data: bytes) -> None:
    understood = outcome(head_data + body_data, [], response=False)
    head = understood[0]
    if not isinstance(head, RequestHead):
        return
    complete = request_body(head) is None or (len(understood) > 1 and isinstance(understood[1], tuple))
    if not complete:
        return
    events = h11_messages(head_data + body_data)
    assert events is not None
    assert isinstance(events[0], h11.Request)
    assert (events[0].method, events[0].target) == (head.method, head.target) or b"://" in events[0].target
    payload = b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))
    assert payload == (understood[1][0] if isinstance(understood[1], tuple) else b"")


@given(heads(REQUEST_LINES))
def test_what_we_write_is_read_the_same_by_h11_and_by_us(data: bytes) -> None:
    try:
        head = parse_request_head(data, LIMITS)
    except MessageError:
        return
    written = request_bytes(head, b"X-Forwarded-For: 192.0.2.9\r\n")
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(written)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target, request.http_version) == (head.method, head.target, b"1.1")
    names = [name for name, _ in request.headers]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert names.count(b"x-forwarded-for") == 1
    assert not [name for name in names if name.replace(b"_", b"-").startswith((b"x-pico-", b"x-piko-"))]
    expected = [pair for pair in split_fields(head.fields) if pair[0] != b"host"]
    assert [pair for pair in request.headers if pair in expected] == expected
    again = parse_request_head(written, HeadLimits())
    assert (again.content_length, again.chunked, again.upgrade) == (head.content_length, head.chunked, head.upgrade)
    assert (again.te_trailers, again.expects_continue) == (head.te_trailers, head.expects_continue)
    assert again.forwarded_for == b"192.0.2.9"
    assert request_bytes(again, b"X-Forwarded-For: 192.0.2.9\r\n") == written


@given(heads(STATUS_LINES))
def test_what_we_write_of_responses_is_read_the_same_again(data: bytes) -> None:
    try:
        head = parse_response_head(data, LIMITS)
    except MessageError:
        return
    written = response_bytes(head, b"")
    connection = h11.Connection(h11.CLIENT)
    upgrade = [("host", "a"), ("connection", "upgrade"), ("upgrade", "x")]
    connection.send(h11.Request(method="GET", target="/", headers=upgrade))
    connection.send(h11.EndOfMessage())
    connection.receive_data(written)
    response = connection.next_event()
    assert isinstance(response, h11.Response | h11.InformationalResponse)
    assert (response.status_code, response.reason) == (head.status, head.reason)
    assert response_bytes(parse_response_head(written, HeadLimits()), b"") == written


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=5), st.integers(0, 40_000))
def test_chunks_we_write_are_read_back(pieces: list[bytes], cut: int) -> None:
    data = b"".join(b"".join(framed([piece], last=False, trailers=b"")) for piece in pieces) + LAST_CHUNK
    body = ChunkedBody()
    first, _ = body.receive(data[:cut])
    second, rest = body.receive(data[cut:] + b"next") if not body.done else ([], b"next")
    assert b"".join([*first, *second]) == b"".join(pieces)
    assert (body.done, rest) == (True, b"next")


@given(heads(REQUEST_LINES))
def test_both_ways_to_take_a_head_apart_agree(data: bytes) -> None:
    """A field that makes a head unusual, and has no meaning, changes nothing."""
    unusual = data.replace(b"\r\n", b"\r\nProxy-Connection: x\r\n", 1)
    assert parsed(unusual) == parsed(data)


def parsed(data: bytes) -> RequestHead | tuple[int, str]:
    try:
        return parse_request_head(data, HeadLimits())
    except MessageError as error:
        return error.status, error.reason


LINE_ENDS = st.sampled_from([b"\r\n", b"\n", b"\r\n ", b"\n\t", b" :x\n", b"\r"])


def response_outcome(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool] | str | None:
    """Read one head, cut at ``cuts``; return it as written for the next hop with what is behind it."""
    reader = ResponseReader(HeadLimits())
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        try:
            read = reader.read(data[start:end]) if start < end else None
        except MessageError as error:
            return error.reason
        if read is not None:
            return response_bytes(read[0], b""), read[1] + data[end:], read[0].keep_alive
    return None


@given(st.lists(st.tuples(NOTABLE_LINES | TEXT.map(b"".join), LINE_ENDS), max_size=6), LINE_ENDS, st.data())
def test_a_repaired_response_is_read_the_same_again(
    lines: list[tuple[bytes, bytes]], first_end: bytes, data: st.DataObject
) -> None:
    head = b"HTTP/1.1 200 OK" + first_end + b"".join(line + end for line, end in lines) + b"\n"
    stream = head + b"body\r\n\r\n"
    read = response_outcome(stream, [])
    pieces = response_outcome(stream, some_cuts(data, len(stream)))
    if isinstance(read, tuple):
        assert pieces == read
        written, rest, _ = read
        again = response_outcome(written + rest, [])
        assert isinstance(again, tuple)
        assert again[:2] == (written, rest)
    else:
        assert not isinstance(pieces, tuple)
