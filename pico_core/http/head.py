"""HTTP/1.1 message heads: cut them out of a stream, check them strictly, say what a proxy must know, write them again.

This is the hot path and the border. One regular expression accepts a whole head or nothing (RFC 9112, RFC 9110 section
5). A second one finds the few fields that matter to a proxy; every other field line is passed on as the bytes it came
in. What is refused is refused with a status, never repaired: two readers of a repaired message can differ.

Order of use: ``HeadReader`` cuts, ``parse_request_head`` or ``parse_response_head`` reads, ``body.request_body`` or
``body.response_body`` frames what follows, ``request_bytes`` or ``response_bytes`` writes the head for the next hop.
"""

import re
from http import HTTPStatus

import msgspec

from pico_core.errors import RemoteProtocolError
from pico_core.http import grammar


class MessageError(RemoteProtocolError):
    """A message that must not be passed on. Next: answer with ``status`` (an upstream's fault is a 502) and close.

    ``reason`` is one short clause for people; it never repeats bytes of the peer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class HeadLimits(msgspec.Struct, frozen=True, gc=False):
    """Bounds of one head, all inclusive.

    ``max_head_bytes`` is what the operator sets as ``max_header_bytes``. A target or a single field line over 64 KiB is
    eight times what common servers take, so nobody who works today is cut off; a thousand fields are ten times their
    customary hundred, and keep every pass over the fields short.
    """

    max_head_bytes: int = 1_048_576
    max_target_bytes: int = 65_536
    max_field_bytes: int = 65_536
    max_fields: int = 1_000


class RequestHead(msgspec.Struct, gc=False):
    """A request's head as the next hop must see it, and what routing needs to know. Not changed once it is parsed.

    ``target`` is in origin-form or ``*``. ``host`` is Host (or the authority of an absolute-form target) as sent, empty
    only in HTTP/1.0. ``fields`` are the end-to-end field lines, each with its CRLF: no framing, no hop-by-hop field, no
    Expect, nothing of Pico's own and nothing of the X-Forwarded family (for, proto, host).
    """

    method: bytes
    target: bytes
    minor_version: int
    host: bytes
    fields: bytes
    keep_alive: bool
    content_length: int = -1
    """Length of the body in bytes, -1 where the field is absent."""
    chunked: bool = False
    expects_continue: bool = False
    upgrade: bytes = b""
    """The Upgrade field's value where it is in force (HTTP/1.1, listed in Connection, not h2c), else empty."""
    te_trailers: bool = False
    endpoint: bytes = b""
    forwarded: bool = False
    """The message says that another node forwarded it; whether to believe it is the proxy's decision."""
    forwarded_by_pico: bool = False
    """That node is a Pico node, which understands 421."""
    forwarded_for: bytes = b""
    forwarded_proto: bytes = b""
    forwarded_host: bytes = b""
    authorization: bytes = b""
    """X-Pico-Authorization or X-Piko-Authorization. The usual Authorization stays in ``fields``."""
    tenant: bytes = b""
    """X-Pico-Tenant-Id or X-Piko-Tenant-Id."""
    endpoint_id: str = ""
    """The endpoint the request is for, once ``proxy.endpoint`` has decided it."""
    onward: bytes = b""
    """What ``request_bytes`` writes between the target and its ``extra``, once it was written."""


class ResponseHead(msgspec.Struct, gc=False):
    """A response's head as the next hop must see it. ``fields`` are the end-to-end field lines, each with its CRLF.

    Not changed once it is parsed, since several responses may share it; ``with_chunks`` returns another one.
    """

    status: int
    minor_version: int
    reason: bytes
    fields: bytes
    keep_alive: bool
    content_length: int = -1
    chunked: bool = False
    upgrade: bytes = b""
    """The Upgrade field's value in a 101 or 426, else empty."""
    onward: bytes = b""
    """What ``response_bytes`` writes without ``extra``, once it was written."""

    def with_chunks(self, *, chunked: bool) -> "ResponseHead":
        """Return this head for a body whose framing is changed on its way: to chunks, or from them to the end."""
        if chunked is self.chunked:
            return self
        return msgspec.structs.replace(self, chunked=chunked, onward=b"")


_USUAL_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b""))

_MAX_LENGTH_DIGITS = 18  # fits 64 bits everywhere
_SHORTEST_FIELD_BYTES = 4  # "a:" and CRLF
_START_LINE_BYTES_WITHOUT_TARGET = 32 + len(" ") + len(" HTTP/1.1\r")


# --- cutting ---------------------------------------------------------------------------------------------------------


class HeadReader:
    """Cuts heads out of a byte stream that arrives in pieces; one reader serves all messages of a connection.

    It refuses as soon as a refusal is certain, so nobody waits for an end that will not come; it checks only as much as
    that takes. A head it returns must still be parsed. A reader for responses is made with ``response=True``.
    An empty line before a request is refused, as h11 does: RFC 9112 section 2.2 asks for it only for the sake of
    clients that are gone.
    """

    __slots__ = ("_buffer", "_limits", "_line_at", "_response", "_searched_bytes")

    def __init__(self, limits: HeadLimits, *, response: bool = False) -> None:
        self._limits = limits
        self._response = response
        self._buffer = bytearray()
        self._searched_bytes = 0
        self._line_at = 0  # where the last, unfinished line begins; 0 is the start line

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished head is buffered; after end of stream, more than 0 means it was truncated."""
        return len(self._buffer)

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; return the head (with its empty line) and the bytes after it, or ``None`` while it is unfinished.

        Raises ``MessageError``, after which the reader is of no more use. Next: parse the head.
        """
        if not self._buffer:
            end = data.find(b"\r\n\r\n") + 4
            if end > 3:
                if end > self._limits.max_head_bytes:
                    raise _too_large()
                return (data, b"") if end == len(data) else (data[:end], data[end:])
        return self._receive_piece(data)

    def _receive_piece(self, data: bytes) -> tuple[bytes, bytes] | None:
        buffer = self._buffer
        buffer += data
        end = buffer.find(b"\r\n\r\n", max(self._searched_bytes - 3, 0)) + 4
        if end > 3:
            if end > self._limits.max_head_bytes:
                raise _too_large()
            head, rest = bytes(buffer[:end]), bytes(buffer[end:])
            self._buffer = bytearray()
            self._searched_bytes = self._line_at = 0
            return head, rest
        self._refuse_hopeless()
        self._searched_bytes = len(buffer)
        return None

    def _refuse_hopeless(self) -> None:
        """Raise if no continuation can make the buffered bytes a head. Costs one pass over the new bytes."""
        buffer, limits, searched = self._buffer, self._limits, self._searched_bytes
        if len(buffer) > limits.max_head_bytes:
            raise _too_large()
        if grammar.never_in_head.search(buffer, max(searched - 1, 0)):
            raise MessageError(400, "control character or bare line end in the head")
        line_at = buffer.rfind(b"\n", searched) + 1
        if line_at and not self._line_at:
            self._refuse_start_line()
        self._line_at = line_at or self._line_at
        if self._line_at:
            if len(buffer) - self._line_at > limits.max_field_bytes + len("\r"):
                raise _field_too_long()
            return
        if searched <= _START_LINE_BYTES_WITHOUT_TARGET:
            self._refuse_beginning()
        if len(buffer) > limits.max_target_bytes + _START_LINE_BYTES_WITHOUT_TARGET:
            raise _start_line_too_long()

    def _refuse_start_line(self) -> None:
        if not (grammar.status_line if self._response else grammar.request_line).match(self._buffer):
            raise _response_error(self._buffer) if self._response else _request_error(self._buffer)

    def _refuse_beginning(self) -> None:
        if self._response:
            if self._buffer[:7] != b"HTTP/1."[: len(self._buffer)]:
                raise _response_error(self._buffer)
        elif not grammar.method_begins.match(self._buffer):
            raise _request_error(self._buffer)


def _request_error(head: bytes | bytearray) -> MessageError:
    """Say why a request's head (or its beginning) is refused."""
    line = grammar.request_line.match(head)
    if line:
        return _field_error(head[line.end() :])
    if grammar.other_version.match(head):
        return MessageError(505, "HTTP version not supported")
    if grammar.long_method.match(head):
        return MessageError(501, "method not supported")
    return MessageError(400, "malformed request line")


def _response_error(head: bytes | bytearray) -> MessageError:
    """Say why a response's head (or its beginning) is refused."""
    line = grammar.status_line.match(head)
    return _field_error(head[line.end() :]) if line else MessageError(400, "malformed status line")


def _field_error(lines: bytes | bytearray) -> MessageError:
    """Say what is wrong with the first bad one of some field lines."""
    line = next(line for line in lines.split(b"\r\n") if not grammar.field_lines.fullmatch(line + b"\r\n"))
    if line[:1] == b" " or line[:1] == b"\t":
        return MessageError(400, "folded header field")
    if grammar.blank_before_colon.match(line):
        return MessageError(400, "blank before the colon of a header field")
    return MessageError(400, "malformed header field")


def _too_large() -> MessageError:
    return MessageError(431, "message head too large")


def _start_line_too_long() -> MessageError:
    return MessageError(414, "start line too long")


def _field_too_long() -> MessageError:
    return MessageError(431, "header field too long")


def _check_sizes(head: bytes, limits: HeadLimits) -> None:
    """Raise if a head breaks a limit; before the patterns see it, because their memory grows with the lines."""
    size = len(head)
    if size > limits.max_head_bytes:
        raise _too_large()
    if size > limits.max_fields * _SHORTEST_FIELD_BYTES and head.count(b"\r\n") - 2 > limits.max_fields:
        raise MessageError(431, "too many header fields")
    if size > limits.max_field_bytes and max(map(len, head.split(b"\r\n")[1:]), default=0) > limits.max_field_bytes:
        raise _field_too_long()


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_request_head(head: bytes, limits: HeadLimits) -> RequestHead:
    """Read a request's head, as ``HeadReader`` cut it. Raises ``MessageError``. Next: ``body.request_body``."""
    _check_sizes(head, limits)
    match = grammar.usual_request.pattern.fullmatch(head.lower())
    if match is None:
        method, target, minor_version, host, fields, notes = _take_unusual_apart(head)
    else:
        # What the groups hold is in lower case; the originals are cut from where they are.
        line_end = match.end(3)
        if head[line_end - 8 : line_end - 1] != b"HTTP/1.":
            raise _request_error(head)
        method = head[: match.end(1)]
        target = head[len(method) + 1 : line_end - 9]
        minor_version = head[line_end - 1] - 0x30
        host_at, host_end = match.span(4)
        host = head[host_at:host_end].strip(b" \t") if host_at > 0 else None
        fields, notes = _cut_usual(head, line_end + 2, match, grammar.usual_request)
    if len(target) > limits.max_target_bytes:
        raise _start_line_too_long()
    if method == b"CONNECT" or method == b"TRACE":
        raise MessageError(501, "method not supported")
    if host is None:
        if minor_version:
            raise MessageError(400, "missing Host")
        host = b""
    elif not grammar.host.fullmatch(host):
        raise MessageError(400, "malformed or repeated Host")
    if target[0] != 0x2F:
        target, authority = _origin_form(method, target, host)
        if not host and authority:
            host, fields = authority, b"Host: " + authority + b"\r\n" + fields
    request = RequestHead(method, target, minor_version, host, fields, minor_version == 1)
    if notes:
        _apply_framing(request, notes)
        upgrades = _apply_connection(request, notes)
        if notes:
            _apply_request_notes(request, notes, upgrades=upgrades)
    return request


def parse_response_head(head: bytes, limits: HeadLimits) -> ResponseHead:
    """Read a response's head, as ``HeadReader`` cut it. Raises ``MessageError``. Next: ``body.response_body``.

    A status of 1xx other than 101 is interim: pass it on and read the next head.
    """
    _check_sizes(head, limits)
    match = grammar.usual_response.pattern.fullmatch(head.lower())
    if match is None or head[:7] != b"HTTP/1.":
        match = grammar.whole_response.fullmatch(head)
        if match is None:
            raise _response_error(head)
        fields, notes = _cut_unusual(head, head.index(b"\r\n") + 2, grammar.notable_in_response)
    else:
        fields, notes = _cut_usual(head, head.index(b"\r\n") + 2, match, grammar.usual_response)
    reason_at, reason_end = match.span(3)
    if reason_end - reason_at > limits.max_target_bytes:
        raise _start_line_too_long()
    minor_version, status = head[7] - 0x30, int(match[2])
    response = ResponseHead(status, minor_version, head[reason_at:reason_end], fields, minor_version == 1)
    if notes:
        _apply_framing(response, notes)
        upgrades = _apply_connection(response, notes)
        if upgrades and (status == 101 or status == 426):
            response.upgrade = notes.get(b"upgrade", b"")
    if status == 101 and not response.upgrade:
        raise MessageError(400, "switching protocols without an Upgrade")
    if (status < 200 or status == 204) and (response.chunked or response.content_length > 0):
        raise MessageError(400, "body announced in a response that has none")  # RFC 9110 section 8.6, RFC 9112 6.1
    return response


def split_fields(fields: bytes) -> list[tuple[bytes, bytes]]:
    """Split field lines, such as ``RequestHead.fields``, into names (lower case) and values without outer blanks."""
    pairs = []
    for line in fields.splitlines():
        name, _, value = line.partition(b":")
        pairs.append((name.lower(), value.strip(b" \t")))
    return pairs


def field_values(fields: bytes, name: bytes) -> list[bytes]:
    """Return the values of every field line called ``name`` (lower case), in order."""
    return [value for found, value in split_fields(fields) if found == name]


def _cut_usual(
    head: bytes, cursor: int, match: re.Match[bytes], usual: grammar.UsualHead
) -> tuple[bytes, dict[bytes, bytes]]:
    """Cut the lines of usual names out of a head; return the other lines, and the cut values by name.

    ``cursor`` is where the first field line begins.
    """
    notes: dict[bytes, bytes] = {}
    cuts = []
    for group, name in usual.common if match.end(usual.not_only_common) < 0 else usual.all:
        value_at, end = match.span(group)
        if end > 0:
            notes[name] = head[value_at:end].strip(b" \t")
            cuts.append((value_at - len(name) - 1, end + 2))
    if not cuts:
        return head[cursor:-2], notes
    if len(cuts) == 1:
        line_at, line_end = cuts[0]
        return head[cursor:line_at] + head[line_end:-2], notes
    cuts.sort()
    pieces = []
    for line_at, line_end in cuts:
        pieces.append(head[cursor:line_at])
        cursor = line_end
    pieces.append(head[cursor:-2])
    return b"".join(pieces), notes


def _take_unusual_apart(head: bytes) -> tuple[bytes, bytes, int, bytes | None, bytes, dict[bytes, bytes]]:
    """Return method, target, minor version, Host, the lines to pass on and the notable values of an unusual request."""
    match = grammar.whole_request.fullmatch(head)
    if match is None:
        raise _request_error(head)
    fields, notes = _cut_unusual(head, match.end(3) + 2, grammar.notable_in_request)
    _check_content_types(fields)
    return match[1], match[2], int(match[3]), notes.pop(b"host", None), fields, notes


def _cut_unusual(head: bytes, start: int, notable: re.Pattern[bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """Do line by line what ``_cut_usual`` does, for a valid head; Host stays among the lines, its value is noted.

    Values of repeated fields are joined as a list, which makes a repeated Host or length as malformed as a list in one
    line.
    """
    lines = []
    values: dict[bytes, list[bytes]] = {}
    for line in head[start:-2].splitlines(keepends=True):
        name, _, value = line.partition(b":")
        name = name.lower()
        if not notable.fullmatch(name):
            lines.append(line)
        elif grammar.framing_look_alike.fullmatch(name) and name not in grammar.FRAMING:
            raise MessageError(400, "ambiguous spelling of a framing field")
        elif b"_" not in name:  # a look-alike of what is ours to write goes
            values.setdefault(name, []).append(value.strip(b" \t\r\n"))
            if name == b"host":
                lines.append(line)
    return b"".join(lines), {name: _joined(name, found) for name, found in values.items()}


def _joined(name: bytes, values: list[bytes]) -> bytes:
    if name[:5] != b"x-pic" and name[:5] != b"x-pik":
        return b", ".join(values)
    for value in values:
        _agreed(values[0], value)
    return values[0]


def _agreed(one: bytes, other: bytes) -> bytes:
    """Return the value of a field that may be given more than once but must not contradict itself."""
    if one and other and one != other:
        raise MessageError(400, "contradicting header fields")
    return one or other


def _check_content_types(fields: bytes) -> None:
    types = field_values(fields, b"content-type")
    if any(value != types[0] for value in types):
        raise MessageError(400, "contradicting header fields")


def _origin_form(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return an absolute-form or asterisk-form target as origin-form or ``*``, and its authority (RFC 9112 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    match = grammar.absolute_form.fullmatch(target)
    if match is None:
        raise MessageError(400, "malformed request target")
    scheme, authority, path = match.groups()
    if host and _without_port(host, scheme) != _without_port(authority, scheme):
        raise MessageError(400, "request target and Host disagree")
    if not path:
        return b"*" if method == b"OPTIONS" else b"/", authority
    return path if path[0] == 0x2F else b"/" + path, authority


def _without_port(authority: bytes, scheme: bytes) -> bytes:
    """Return an authority in lower case, without a port that is its scheme's own."""
    return authority.lower().removesuffix(b":443" if len(scheme) == 5 else b":80").removesuffix(b":")


def _apply_framing(message: RequestHead | ResponseHead, notes: dict[bytes, bytes]) -> None:
    """Set the body's framing (RFC 9112 section 6); anything two readers might understand differently is refused."""
    length = notes.pop(b"content-length", None)
    coding = notes.pop(b"transfer-encoding", None)
    if length is not None:
        if coding is not None:
            raise MessageError(400, "both Content-Length and Transfer-Encoding")
        if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:  # for bytes, only 0 to 9 are digits
            raise MessageError(400, "malformed or repeated Content-Length")
        message.content_length = int(length)
    elif coding is not None:
        if message.minor_version == 0:
            raise MessageError(400, "Transfer-Encoding in HTTP/1.0")
        codings = [item.strip(b" \t") for item in coding.lower().split(b",")]
        if codings != [b"chunked"]:
            if codings[-1] == b"chunked" and codings.count(b"chunked") == 1 and all(codings):
                raise MessageError(501, "transfer coding not supported")
            raise MessageError(400, "malformed or repeated Transfer-Encoding")
        message.chunked = True


def _apply_connection(message: RequestHead | ResponseHead, notes: dict[bytes, bytes]) -> bool:
    """Set ``keep_alive``, remove the fields Connection names, and tell whether it lists ``upgrade`` in HTTP/1.1."""
    value = notes.pop(b"connection", b"").lower()
    if value == b"keep-alive" or not value:
        message.keep_alive = message.minor_version == 1 or bool(value)
        return False
    options = frozenset([option.strip(b" \t") for option in value.split(b",")])
    if b"close" in options:
        message.keep_alive = False
    elif b"keep-alive" in options:
        message.keep_alive = True
    if not options <= _USUAL_OPTIONS:
        lines = []
        for line in message.fields.splitlines(keepends=True):
            name = line[: line.index(b":")].lower()
            if name not in options or grammar.never_hop_by_hop.fullmatch(name):
                lines.append(line)
        message.fields = b"".join(lines)
    return message.minor_version == 1 and b"upgrade" in options


def _apply_request_notes(request: RequestHead, notes: dict[bytes, bytes], *, upgrades: bool) -> None:
    """Set what the less usual fields say."""
    get = notes.get
    expect = get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise MessageError(417, "unknown expectation")
        request.expects_continue = request.minor_version == 1  # RFC 9110 section 10.1.1
    if upgrades:
        protocols = get(b"upgrade", b"")
        # A client that switches to HTTP/2 in clear could send the service, behind our back, fields that we remove.
        # RFC 9113 section 3.1 made that upgrade obsolete; to ignore an Upgrade is always allowed.
        request.upgrade = b"" if b"h2c" in protocols.lower() else protocols
    if b"te" in notes:
        request.te_trailers = b"trailers" in [item.strip(b" \t") for item in notes[b"te"].lower().split(b",")]
    request.endpoint = _agreed(get(b"x-pico-endpoint", b""), get(b"x-piko-endpoint", b""))
    request.forwarded_by_pico = get(b"x-pico-forward") == b"true"
    request.forwarded = request.forwarded_by_pico or get(b"x-piko-forward") == b"true"
    request.forwarded_for = get(b"x-forwarded-for", b"")
    request.forwarded_proto = get(b"x-forwarded-proto", b"")
    request.forwarded_host = get(b"x-forwarded-host", b"")
    request.authorization = _agreed(get(b"x-pico-authorization", b""), get(b"x-piko-authorization", b""))
    request.tenant = _agreed(get(b"x-pico-tenant-id", b""), get(b"x-piko-tenant-id", b""))


# --- writing ---------------------------------------------------------------------------------------------------------


def request_bytes(head: RequestHead, extra: bytes) -> bytes:
    """Write a request's head for the next hop, always as HTTP/1.1.

    ``extra`` are ready lines, each with its CRLF, such as ``X-Forwarded-For``. A request that came in HTTP/1.0 without
    a Host gets ``localhost``, because in HTTP/1.1 there must be one.
    """
    if not head.onward:
        head.onward = _request_onward(head)
    return b"%b %b%b%b\r\n" % (head.method, head.target, head.onward, extra)


def _request_onward(head: RequestHead) -> bytes:
    fields = head.fields if head.host else b"Host: localhost\r\n" + head.fields
    own = _framing_lines(head)
    if head.upgrade or head.te_trailers:
        own += _connection_lines(head.upgrade, te_trailers=head.te_trailers)
    if head.expects_continue:
        own += b"Expect: 100-continue\r\n"
    return b" HTTP/1.1\r\n%b%b" % (fields, own)


def response_bytes(head: ResponseHead, extra: bytes) -> bytes:
    """Write a response's head for the next hop, always as HTTP/1.1; ``extra`` as in ``request_bytes``."""
    if extra:
        return response_bytes(head, b"")[:-2] + extra + b"\r\n"
    if not head.onward:
        head.onward = _response_onward(head)
    return head.onward


def _response_onward(head: ResponseHead) -> bytes:
    own = b"" if head.status < 200 or head.status == 204 else _framing_lines(head)
    if head.upgrade:
        own += _connection_lines(head.upgrade, te_trailers=False)
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (head.status, head.reason, head.fields, own)


def _framing_lines(head: RequestHead | ResponseHead) -> bytes:
    if head.chunked:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % head.content_length if head.content_length >= 0 else b""


def _connection_lines(upgrade: bytes, *, te_trailers: bool) -> bytes:
    if not te_trailers:
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    if not upgrade:
        return b"Connection: TE\r\nTE: trailers\r\n"
    return b"Connection: Upgrade, TE\r\nUpgrade: %b\r\nTE: trailers\r\n" % upgrade


_PHRASES = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}


def simple_response(
    status: int, body: bytes, content_type: bytes, extra: bytes = b"", *, without_body: bool = False
) -> bytes:
    """Write a whole response with a body of our own; ``extra`` as in ``request_bytes``, such as ``Connection: close``.

    ``without_body`` is for the answer to a HEAD request, whose head is that of the GET (RFC 9110 section 9.3.2).
    """
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        _PHRASES.get(status, b""),
        content_type,
        len(body),
        extra,
        b"" if without_body else body,
    )


def error_response(status: int, message: str, extra: bytes = b"", *, without_body: bool = False) -> bytes:
    """Write a whole error response, ``{"error": message}`` as JSON; the rest as in ``simple_response``."""
    body = msgspec.json.encode({"error": message})
    extra = b"X-Content-Type-Options: nosniff\r\n" + extra
    return simple_response(status, body, b"application/json", extra, without_body=without_body)
