"""Heads as they are read: what a request and a response say, and which fields are passed on."""

import pytest

from pico_core.http.message import MessageError
from tests.core.http.heads import request, response

# --- requests ---


def test_a_plain_request() -> None:
    head = request(b"Accept: */*", b"X-Thing:\t one \t")
    assert (head.method, head.target, head.minor_version, head.host) == (b"GET", b"/a?b=c", 1, b"h.example")
    assert (head.content_length, head.chunked, head.keep_alive) == (-1, False, True)
    assert (head.expects_continue, head.upgrade, head.te_trailers) == (False, b"", False)
    assert (head.endpoint, head.forwarded, head.authorization, head.tenant) == (b"", False, b"", b"")
    assert (head.forwarded_for, head.forwarded_proto, head.forwarded_host) == (b"", b"", b"")
    assert head.fields == b"Host: h.example\r\nAccept: */*\r\nX-Thing:\t one \t\r\n"


def test_case_of_method_target_and_values_is_kept() -> None:
    head = request(b"X-Mixed: AbC", line=b"PoSt /Path?Q=Z HTTP/1.1", host=b"hOsT: App.Example:8080")
    assert (head.method, head.target, head.host) == (b"PoSt", b"/Path?Q=Z", b"App.Example:8080")
    assert head.fields == b"hOsT: App.Example:8080\r\nX-Mixed: AbC\r\n"


def test_target_is_byte_for_byte() -> None:
    assert (
        request(line=b"GET //a/../%2e%00?a=1;b&&\"'|<>{}\\^` HTTP/1.1").target == b"//a/../%2e%00?a=1;b&&\"'|<>{}\\^`"
    )


@pytest.mark.parametrize("digit", b"23456789")
def test_a_higher_minor_version_is_read_as_the_highest_that_we_know(digit: int) -> None:
    """RFC 9110 section 2.5."""
    for lines in (
        (b"Content-Length: 1",),
        (b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"TE: trailers"),
        (b"Connection: close",),
        (b"Connection: Upgrade", b"Upgrade: websocket"),
        (b"A: b", b"Unusual: 1", b"Content-Type: a/b", b"content-type: a/b"),  # read line by line
    ):
        assert request(*lines, line=b"GET /a HTTP/1.%c" % digit) == request(*lines, line=b"GET /a HTTP/1.1")
        switching = b"101" if b"Connection: Upgrade" in lines else b"200"
        newer = response(*lines, line=b"HTTP/1.%c %b OK" % (digit, switching))
        assert newer == response(*lines, line=b"HTTP/1.1 %b OK" % switching)
    with pytest.raises(MessageError, match="missing Host"):
        request(line=b"GET / HTTP/1.%c" % digit, host=b"")


@pytest.mark.parametrize("byte", range(0x80, 0x100))
def test_a_byte_above_ascii_in_a_target_is_kept(byte: int) -> None:
    raw = bytes([byte])
    for target in (b"/" + raw, b"/a" + raw + b"b?q=" + raw, b"/?" + raw * 3):
        assert request(line=b"GET " + target + b" HTTP/1.1").target == target
    absolute = b"GET http://h.example/" + raw + b" HTTP/1.1"
    assert request(line=absolute).target == b"/" + raw


@pytest.mark.parametrize(
    ("target", "host", "expected", "authority"),
    [
        (b"http://h.example/x?y", b"Host: h.example", b"/x?y", b"h.example"),
        (b"HTTPS://H.example", b"Host: h.EXAMPLE", b"/", b"h.EXAMPLE"),
        (b"http://h.example?q", b"Host: h.example:80", b"/?q", b"h.example:80"),
        (b"https://h.example:443/", b"Host: h.example", b"/", b"h.example"),
        (b"http://h.example:/", b"Host: h.example", b"/", b"h.example"),
        (b"http://[::1]:81/", b"Host: [::1]:81", b"/", b"[::1]:81"),
    ],
)
def test_absolute_form_becomes_origin_form(target: bytes, host: bytes, expected: bytes, authority: bytes) -> None:
    head = request(line=b"GET " + target + b" HTTP/1.1", host=host)
    assert (head.target, head.host) == (expected, authority)
    assert head.fields == host + b"\r\n"


def test_asterisk_is_for_options() -> None:
    assert request(line=b"OPTIONS * HTTP/1.1").target == b"*"
    assert request(line=b"OPTIONS http://h.example HTTP/1.1").target == b"*"


def test_absolute_form_in_http_10_gives_the_host() -> None:
    head = request(b"A: b", line=b"GET http://h.example:8/x HTTP/1.0", host=b"")
    assert (head.host, head.target, head.fields) == (b"h.example:8", b"/x", b"Host: h.example:8\r\nA: b\r\n")


@pytest.mark.parametrize(
    "host", [b"a", b"a.b-c_d", b"0.0.0.0=5000", b"127.0.0.1:80", b"a:", b"[::1]", b"[::ffff:1.2.3.4]:65535", b"a" * 255]
)
def test_hosts(host: bytes) -> None:
    assert request(host=b"Host: \t" + host + b" ").host == host


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ((b"Content-Length: 0",), 0),
        ((b"content-length:\t007 ",), 7),
        ((b"CONTENT-LENGTH: 999999999999999999",), 10**18 - 1),
    ],
)
def test_content_length(lines: tuple[bytes, ...], length: int) -> None:
    head = request(*lines, b"A: b")
    assert (head.content_length, head.fields) == (length, b"Host: h.example\r\nA: b\r\n")


def test_chunked() -> None:
    head = request(b"A: b", b"Transfer-Encoding: \tChunked ", b"C: d")
    assert (head.chunked, head.content_length) == (True, -1)
    assert head.fields == b"Host: h.example\r\nA: b\r\nC: d\r\n"


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        (b"1", (), True),
        (b"1", (b"Connection: close",), False),
        (b"1", (b"Connection: Keep-Alive",), True),
        (b"1", (b"Connection:",), True),
        (b"1", (b"Connection: keep-alive, , CLOSE",), False),
        (b"1", (b"Connection: keep-alive", b"Connection: close"), False),
        (b"0", (), False),
        (b"0", (b"Connection: keep-alive",), True),
        (b"0", (b"Connection: x, keep-alive",), True),
        (b"0", (b"Connection: close, keep-alive",), False),
        (b"0", (b"Connection: x",), False),
    ],
)
def test_keep_alive(version: bytes, lines: tuple[bytes, ...], keep_alive: bool) -> None:
    assert request(*lines, line=b"GET / HTTP/1." + version).keep_alive is keep_alive


def test_hop_by_hop_fields_go() -> None:
    head = request(
        b"Keep-Alive: 5",
        b"A: b",
        b"Proxy-Connection: close",
        b"Proxy-Authorization: Basic x",
        b"Proxy-Authenticate: x",
        b"proxy_connection: x",
        b"TE: gzip",
        b"Upgrade: websocket",
        b"Connection: te, Drop-Me",
        b"drop-me: 1",
        b"DROP-ME: 2",
        b"Drop-Me-Not: 3",
    )
    assert head.fields == b"Host: h.example\r\nA: b\r\nDrop-Me-Not: 3\r\n"
    assert (head.upgrade, head.te_trailers) == (b"", False)


def test_connection_cannot_remove_end_to_end_fields() -> None:
    named = (
        b"host, content-length, content-type, authorization, cookie, set-cookie, cache-control, date, forwarded, via, "
        b"x-real-ip, x-forwarded-for, expect, origin, sec-fetch-site"
    )
    kept = (b"Content-Type: a/b", b"Authorization: t", b"Cookie: c=1", b"Origin: null", b"Sec-Fetch-Site: none")
    about_client = (b"X-Forwarded-For: 192.0.2.2", b"Forwarded: for=x", b"X-Real-Ip: 192.0.2.1")
    head = request(b"Connection: " + named, b"Content-Length: 3", *kept, *about_client, b"Expect: 100-continue")
    assert head.fields == b"Host: h.example\r\n" + b"".join(line + b"\r\n" for line in kept)
    assert (head.forwarded_elements, head.about_client) == (b"for=x", b"X-Real-Ip: 192.0.2.1\r\n")
    assert (head.content_length, head.forwarded_for, head.expects_continue) == (3, b"192.0.2.2", True)


@pytest.mark.parametrize(
    ("version", "lines", "upgrade"),
    [
        (b"1", (b"Connection: Upgrade", b"Upgrade: websocket"), b"websocket"),
        (b"1", (b"Upgrade: a/1", b"Connection: keep-alive, upgrade", b"Upgrade: b"), b"a/1, b"),
        (b"1", (b"Upgrade: websocket",), b""),
        (b"1", (b"Connection: keep-alive", b"Upgrade: websocket"), b""),
        (b"1", (b"Connection: upgrade",), b""),
        (b"1", (b"Connection: upgrade, http2-settings", b"Upgrade: H2C", b"HTTP2-Settings: A"), b""),
        (b"0", (b"Connection: upgrade", b"Upgrade: websocket"), b""),
    ],
)
def test_upgrade(version: bytes, lines: tuple[bytes, ...], upgrade: bytes) -> None:
    head = request(*lines, line=b"GET / HTTP/1." + version)
    assert (head.upgrade, head.fields) == (upgrade, b"Host: h.example\r\n")


@pytest.mark.parametrize(
    ("value", "expected"), [(b"trailers", True), (b"gzip;q=1, Trailers", True), (b"trailersx", False), (b"", False)]
)
def test_te(value: bytes, expected: bool) -> None:
    assert request(b"TE: " + value).te_trailers is expected


def test_expect() -> None:
    head = request(b"Expect: 100-Continue")
    assert (head.expects_continue, head.fields) == (True, b"Host: h.example\r\n")
    assert request(b"Expect: 100-continue", line=b"GET / HTTP/1.0").expects_continue is False


def test_picos_own_fields_are_read_and_go() -> None:
    head = request(
        b"x-pico-endpoint: one",
        b"X-Piko-Endpoint: one",
        b"X-Pico-Authorization: Bearer t",
        b"x-piko-tenant-id: acme",
        b"X-Pico-Forward: true",
        b"x-piko-anything-else: 1",
        b"X-Forwarded-For: 192.0.2.1",
        b"x-forwarded-for: 192.0.2.2",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: o.example",
        b"X-Forwarded-Port: 443",
        b"X-Pika-Endpoint: stays",
    )
    assert (head.endpoint, head.authorization, head.tenant, head.forwarded) == (b"one", b"Bearer t", b"acme", True)
    assert (head.forwarded_for, head.forwarded_proto) == (b"192.0.2.1, 192.0.2.2", b"https")
    assert head.forwarded_host == b"o.example"
    assert head.about_client == b"X-Forwarded-Port: 443\r\n"
    assert head.fields == b"Host: h.example\r\nX-Pika-Endpoint: stays\r\n"


def test_other_fields_about_the_client_are_kept_apart_in_the_order_of_their_names() -> None:
    usual = (b"X-Forwarded-Port: 443", b"A: b", b"X-Real-IP:  192.0.2.1 ")
    assert request(*usual).about_client == b"X-Forwarded-Port: 443\r\nX-Real-Ip: 192.0.2.1\r\n"
    more = (b"X-Forwarded-Ssl: on", b"X-Forwarded-Server: s", b"x-forwarded-prefix: /a", b"X-FORWARDED-PREFIX: /b")
    head = request(*usual, *more, b"Forwarded: for=192.0.2.1", b"forwarded: for=192.0.2.2")
    assert head.fields == b"Host: h.example\r\nA: b\r\n"
    assert head.forwarded_elements == b"for=192.0.2.1, for=192.0.2.2"
    assert head.about_client == (
        b"X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /a, /b\r\nX-Forwarded-Server: s\r\nX-Forwarded-Ssl: on\r\n"
        b"X-Real-Ip: 192.0.2.1\r\n"
    )


def test_an_empty_one_of_picos_own_fields_does_not_hide_another() -> None:
    assert request(b"x-pico-endpoint:", b"x-pico-endpoint: one").endpoint == b"one"
    assert request(b"x-pico-endpoint: one", b"x-pico-endpoint:").endpoint == b"one"


def test_usual_fields_in_any_order() -> None:
    head = request(
        b"X-Piko-Forward: true",
        b"A: 1",
        b"Connection: close",
        b"x-piko-endpoint: e",
        b"Content-Length: 4",
        b"B: 2",
        b"X-Forwarded-Host: o",
    )
    assert (head.forwarded, head.keep_alive, head.endpoint, head.content_length) == (True, False, b"e", 4)
    assert head.fields == b"Host: h.example\r\nA: 1\r\nB: 2\r\n"


@pytest.mark.parametrize(
    ("line", "forwarded"),
    [
        (b"x-piko-forward: true", True),
        (b"x-pico-forward: true", True),
        (b"x-piko-forward: TRUE", False),
        (b"A: b", False),
    ],
)
def test_forward_marker(line: bytes, forwarded: bool) -> None:
    assert request(line).forwarded is forwarded


@pytest.mark.parametrize(
    "line",
    [
        b"X_Piko_Endpoint: e",
        b"x-piko_forward: true",
        b"X-Pico_Authorization: t",
        b"x_pico-: 1",
        b"X_Forwarded_For: 192.0.2.1",
        b"x-forwarded_proto: https",
        b"X_Real_IP: 192.0.2.1",
        b"X-Real_IP: 192.0.2.1",
        b"X-Forwarded_Port: 443",
        b"x_forwarded_anything: 1",
        b"Proxy: http://192.0.2.1",
        b"PROXY: http://192.0.2.1",
        b"Keep_Alive: 1",
    ],
)
def test_look_alikes_of_our_fields_go_unread(line: bytes) -> None:
    assert request(line, b"A: b") == request(b"A: b")


def test_repeated_equal_values_are_one() -> None:
    head = request(b"x-pico-endpoint: e", b"x-pico-endpoint: e", b"Content-Type: a/b", b"content-type: a/b")
    assert head.endpoint == b"e"
    assert head.fields == b"Host: h.example\r\nContent-Type: a/b\r\ncontent-type: a/b\r\n"


# --- responses ---


def test_a_plain_response() -> None:
    head = response(b"Server: x", b"Content-Length: 5", b"Connection: keep-alive", b"Set-Cookie: A=b")
    assert (head.status, head.minor_version, head.reason) == (200, 1, b"OK")
    assert (head.content_length, head.chunked, head.keep_alive, head.upgrade) == (5, False, True, b"")
    assert head.fields == b"Server: x\r\nSet-Cookie: A=b\r\n"


def test_hop_by_hop_fields_of_a_response_go() -> None:
    head = response(
        b"Keep-Alive: timeout=5", b"Connection: close, X-Hop, Set-Cookie", b"X-Hop: 1", b"Set-Cookie: a", b"Upgrade: h2"
    )
    assert (head.fields, head.keep_alive, head.upgrade) == (b"Set-Cookie: a\r\n", False, b"")
    head = response(b"Proxy-Authenticate: x", b"Proxy_Connection: x", b"Transfer-Encoding: chunked")
    assert (head.fields, head.chunked) == (b"", True)


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"HTTP/1.1 200", b""), (b"HTTP/1.1 200 ", b""), (b"HTTP/1.1 200 Not \xfc bad", b"Not \xfc bad")],
)
def test_reason_phrases(line: bytes, reason: bytes) -> None:
    assert response(line=line).reason == reason
    assert response(b"Proxy-Connection: unusual", line=line).reason == reason


def test_http_10_responses() -> None:
    head = response(line=b"HTTP/1.0 404 Not Found")
    assert (head.minor_version, head.keep_alive, head.status) == (0, False, 404)
    assert response(b"Connection: keep-alive", line=b"HTTP/1.0 200 OK").keep_alive is True


def test_switching_protocols() -> None:
    head = response(b"Connection: upgrade", b"Upgrade: websocket", line=b"HTTP/1.1 101 Switching Protocols")
    assert (head.upgrade, head.fields) == (b"websocket", b"")
    assert response(b"Connection: upgrade", b"Upgrade: x", line=b"HTTP/1.1 426 Upgrade Required").upgrade == b"x"
    assert response(b"Connection: upgrade", b"Upgrade: h2c", line=b"HTTP/1.1 200 OK").upgrade == b""
    for lines in ((), (b"Upgrade: x",), (b"Connection: upgrade",)):
        with pytest.raises(MessageError):
            response(*lines, line=b"HTTP/1.1 101 Switching Protocols")


@pytest.mark.parametrize("line", [b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 204 No Content"])
def test_responses_without_body_announce_none(line: bytes) -> None:
    assert response(b"Link: x", line=line).fields == b"Link: x\r\n"
    assert response(b"Content-Length: 0", line=line).content_length == 0
    for announced in (b"Content-Length: 1", b"Transfer-Encoding: chunked"):
        repaired = response(announced, line=line)
        assert (repaired.content_length, repaired.chunked, repaired.fields) == (-1, False, b"")
        assert not repaired.keep_alive, "the body may come all the same, and must not become the next response"


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"]
)
@pytest.mark.parametrize(
    "announced",
    [
        (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Content-Length: 1", b"Content-Length: 2"),
        (b"Content-Length: nonsense",),
    ],
)
def test_no_framing_is_needed_where_there_is_no_body(line: bytes, announced: tuple[bytes, ...]) -> None:
    """RFC 9112 section 6.3, rule 1: these end with their head, whatever its fields say."""
    read = response(b"Link: x", *announced, line=line)
    assert (read.content_length, read.chunked, read.fields) == (-1, False, b"Link: x\r\n")
    assert not read.keep_alive


def test_a_length_that_a_service_repeats_is_one_length() -> None:
    for lines in ((b"Content-Length: 7", b"content-length: 7"), (b"Content-Length: 7, 7",)):
        assert response(*lines).content_length == 7
    for lines in ((b"Content-Length: 7", b"content-length: 8"), (b"Content-Length: 7,",)):
        with pytest.raises(MessageError):
            response(*lines)


def test_a_target_may_have_bytes_above_ascii() -> None:
    assert request(line="GET /café?q=ü HTTP/1.1".encode()).target == "/café?q=ü".encode()
    assert request(line=b"GET /\x80\xff HTTP/1.1").target == b"/\x80\xff"


def test_a_304_may_say_how_long_the_body_would_be() -> None:
    assert response(b"Content-Length: 7", line=b"HTTP/1.1 304 Not Modified").content_length == 7
