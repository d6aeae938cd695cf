"""Heads that are refused: with which status, and for which reason."""

import pytest

from pico_core.errors import RemoteProtocolError
from pico_core.http.message import MessageError
from tests.core.http.heads import request, response, status_of


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / ",
        b"GET HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"\r\nGET / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\t HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"G[T / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / Http/1.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1.11",
        b"GET / HTTP/1.1\r",
        b"GET / FTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET /\n HTTP/1.1",
    ],
)
def test_malformed_request_lines(line: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line=line)
    assert status_of(error) == 400


@pytest.mark.parametrize(
    "target",
    [b"*", b"h.example:80", b"a/b", b"http://", b"http:///x", b"http://u@h.example/", b"ftp://h.example/", b"?q"],
)
def test_malformed_targets(target: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line=b"GET " + target + b" HTTP/1.1")
    assert status_of(error) == 400


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/2.0", b"HTTP/2.1", b"HTTP/9.9"])
def test_other_versions(version: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line=b"GET / " + version)
    assert status_of(error) == 505


@pytest.mark.parametrize("version", [b"HTTP/1.10", b"HTTP/1.", b"HTTP/1.x", b"HTTP/1", b"http/1.2", b"HTTP/01.1"])
def test_versions_that_are_not_one(version: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line=b"GET / " + version)
    assert status_of(error) == 400


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"M" * 33])
def test_methods_we_do_not_serve(method: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line=method + b" / HTTP/1.1")
    assert status_of(error) == 501


@pytest.mark.parametrize(
    "line",
    [
        b"no colon",
        b": empty name",
        b"A : b",
        b"A\t: b",
        b"Transfer-Encoding : chunked",
        b" A: b",
        b"\tA: b",
        b"A: b\r\n folded",
        b"A: b\r\n\tfolded",
        b"A[: b",
        b"\xc3\xa4: b",
        b"A\x00: b",
        b"A: \x00",
        b"A: \x01",
        b"A: \x0b",
        b"A: \x7f",
        b"A: b\rc",
        b"A: b\nc",
        b"A: b\nC: d",
        b"A: b\r\rC: d",
        b"A: b\n",
        b"A: b\r",
        b"A: b\r\n\r",
    ],
)
def test_malformed_fields(line: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line)
    assert status_of(error) == 400
    with pytest.raises(MessageError):
        response(line)


def test_the_reason_names_the_kind_of_mistake() -> None:
    reasons = []
    for line in (b"A: b\r\n c", b"A: b\r\n\tc", b"A : b", b"A b"):
        with pytest.raises(MessageError) as error:
            request(line)
        reasons.append(error.value.reason)
    folded, blank = "folded header field", "blank before the colon of a header field"
    assert reasons == [folded, folded, blank, "malformed header field"]
    assert str(error.value) == "malformed header field"
    assert isinstance(error.value, RemoteProtocolError)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Host:",),
        (b"Host: ",),
        (b"Host: a", b"Host: a"),
        (b"Host: a", b"Host: b"),
        (b"Host: a, b",),
        (b"Host: u@a",),
        (b"Host: a/b",),
        (b"Host: a b",),
        (b"Host: a:b",),
        (b"Host: a:123456",),
        (b"Host: a%2eb",),
        (b"Host: \xc3\xa4",),
        (b"Host: [::1",),
        (b"Host: [g]",),
        (b"Host: " + b"a" * 256,),
    ],
)
def test_bad_hosts(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(MessageError) as error:
        request(*lines, host=b"")
    assert status_of(error) == 400


def test_an_empty_host_is_refused_in_http_10_too() -> None:
    assert request(line=b"GET / HTTP/1.0", host=b"").host == b""
    with pytest.raises(MessageError):
        request(line=b"GET / HTTP/1.0", host=b"Host:")


@pytest.mark.parametrize("host", [b"Host: b.example", b"Host: a.example:80"])
def test_absolute_form_that_disagrees_with_host(host: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line=b"GET https://a.example/ HTTP/1.1", host=host)
    assert status_of(error) == 400


BAD_FRAMING: list[tuple[int, tuple[bytes, ...]]] = [
    *(
        (400, (b"Content-Length: " + value,))
        for value in (
            b"",
            b"+1",
            b"-1",
            b"-0",
            b"0x1",
            b"1_0",
            b"1 0",
            b"1, 2",
            b"1.0",
            b"1e3",
            b"a",
            b"\xb2",
            b"18446744073709551621",
            b"1000000000000000000",
        )
    ),
    (400, (b"Content-Length: 1", b"content-length: 2")),
    (400, (b"Content-Length: 1", b"Transfer-Encoding: chunked")),
    (400, (b"Transfer-Encoding: chunked", b"Content-Length: 1")),
    (400, (b"Transfer-Encoding:",)),
    (400, (b"Transfer-Encoding: gzip",)),
    (400, (b"Transfer-Encoding: identity",)),
    (400, (b"Transfer-Encoding: xchunked",)),
    (400, (b"Transfer-Encoding: chunked;a=b",)),
    (400, (b"Transfer-Encoding: , chunked",)),
    (400, (b"Transfer-Encoding: chunked,",)),
    (400, (b"Transfer-Encoding: chunked, gzip",)),
    (400, (b"Transfer-Encoding: chunked, chunked",)),
    (400, (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    (400, (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity")),
    (400, (b"Transfer-Encoding: \xa0chunked",)),
    (501, (b"Transfer-Encoding: gzip, chunked",)),
    (501, (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")),
    (400, (b"Content_Length: 1",)),
    (400, (b"Content--Length: 1",)),
    (400, (b"transfer_encoding: chunked",)),
    (400, (b"Transfer___Encoding: chunked",)),
    (400, (b"Transfer_Encoding: x", b"Transfer-Encoding: chunked")),
]


@pytest.mark.parametrize("lines", [(b"Content-Length: 1,1",), (b"Content-Length: 1", b"Content-Length: 1")])
def test_a_request_with_a_repeated_length(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(MessageError) as error:
        request(*lines, line=b"POST / HTTP/1.1")
    assert status_of(error) == 400


def test_a_refused_target_names_the_place_of_the_byte() -> None:
    for line, reason in (
        (b"GET /a b HTTP/1.1", "malformed request line: byte 0x20 at place 3 of the target"),
        (b"GET /\x7f HTTP/1.1", "malformed request line: byte 0x7f at place 2 of the target"),
        (b"GET /x#y HTTP/1.1", "malformed request line: byte 0x23 at place 3 of the target"),
    ):
        with pytest.raises(MessageError, match=reason):
            request(line=line)


@pytest.mark.parametrize(("status", "lines"), BAD_FRAMING)
def test_bad_framing(status: int, lines: tuple[bytes, ...]) -> None:
    with pytest.raises(MessageError) as error:
        request(*lines, line=b"POST / HTTP/1.1")
    assert status_of(error) == status
    with pytest.raises(MessageError):
        response(*lines)


def test_transfer_encoding_in_http_10() -> None:
    with pytest.raises(MessageError):
        request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")
    with pytest.raises(MessageError):
        response(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    "lines",
    [
        (b"x-pico-endpoint: a", b"x-piko-endpoint: b"),
        (b"x-pico-endpoint: a", b"x-pico-endpoint: b"),
        (b"x-piko-endpoint: a", b"X-Piko-Endpoint: A"),
        (b"x-pico-authorization: a", b"x-piko-authorization: b"),
        (b"x-pico-tenant-id: a", b"x-piko-tenant-id: b"),
        (b"x-pico-endpoint:", b"x-pico-endpoint: a", b"x-pico-endpoint: b"),
        (b"Content-Type: text/plain", b"content-type: text/html"),
    ],
)
def test_contradictions(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(MessageError) as error:
        request(*lines)
    assert status_of(error) == 400


@pytest.mark.parametrize("line", [b"Expect: 200-ok", b"Expect:", b"Expect: 100-continue, x"])
def test_unknown_expectations(line: bytes) -> None:
    with pytest.raises(MessageError) as error:
        request(line)
    assert status_of(error) == 417


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 99 x",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 1000 x",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 2x0 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.10 200 OK",
        b"HTTP/1. 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/2 200",
        b"ICY 200 OK",
        b"HTTP/1.1 200 \x01",
        b" HTTP/1.1 200 OK",
        b"\r\nHTTP/1.1 200 OK",
    ],
)
def test_malformed_status_lines(line: bytes) -> None:
    with pytest.raises(MessageError) as error:
        response(line=line)
    assert status_of(error) == 400
