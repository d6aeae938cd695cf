"""Reading message heads: strictly, and only the parts that a proxy must know.

Heads come from unknown clients, and one is read for every request. So one regular expression accepts a whole head or
nothing and, by its groups, finds the few fields that matter to a proxy (RFC 9112, RFC 9110 section 5); every other
field line is passed on as the bytes it came in. A malformed head is refused with a status and not repaired: two
readers of a repaired message can differ. ``repair`` says where a response is an exception.

Order of use: ``cutting.HeadReader`` cuts, ``parse_request_head`` or ``parse_response_head`` reads, a reader of ``body``
frames what follows, ``writing`` writes the head for the next hop. ``recent`` has the first two in one step.
"""

import re
from functools import reduce

from pico_core.http import grammar, refusals
from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead, field_values

_USUAL_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b""))

PEER_FAILURES = frozenset((404, 421, 502, 503, 504))
"""The statuses of answers in which ``X-Pico-Failure`` is read. It is removed from every response."""

_OWN_IN_RESPONSE = (b"x-pico-error", b"x-pico-request-id")

_SHORTEST_FIELD_BYTES = 4  # "a:" and CRLF
_USUAL_NOTES = frozenset(name for _, name in grammar.usual_request.all) - {b"x-forwarded-port", b"x-real-ip"}


def parse_request_head(head: bytes, limits: HeadLimits) -> RequestHead:
    """Read a request's head, whole and with its empty line, as ``HeadReader`` cut it.

    Raises ``MessageError`` with the status to answer: 400, 414, 417, 431, 501 or 505. Next: ``body.request_body``.
    """
    _check_sizes(head, limits)
    match = grammar.usual_request.pattern.fullmatch(head.lower())
    if match is None:
        method, target, minor_version, host, fields, notes = _take_unusual_apart(head)
    else:
        # The groups hold lower case; the originals are cut from the same positions.
        line_end = match.end(3)
        if head[line_end - 8 : line_end - 1] != b"HTTP/1.":
            raise refusals.invalid_request(head)
        method = head[: match.end(1)]
        target = head[len(method) + 1 : line_end - 9]
        minor_version = 0 if head[line_end - 1] == 0x30 else 1
        host_at, host_end = match.span(4)
        host = head[host_at:host_end].strip(b" \t") if host_at > 0 else None
        fields, notes = _cut_usual(head, line_end + 2, match, grammar.usual_request)
    if len(target) > limits.max_target_bytes:
        raise refusals.start_line_too_long()
    if method == b"CONNECT" or method == b"TRACE":
        raise refusals.method_not_supported()
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
    """Read a response's head, whole and with its empty line, as ``HeadReader`` cut it.

    Raises ``MessageError``. Next: ``body.response_body``. A status of 1xx other than 101 is interim (RFC 9110 section
    15.2): pass it on and read the next head.
    """
    _check_sizes(head, limits)
    lower_case = head.lower()
    match = grammar.usual_response.pattern.fullmatch(lower_case)
    if match is None or head[:7] != b"HTTP/1.":
        match = grammar.whole_response.fullmatch(head)
        if match is None:
            raise refusals.invalid_response(head)
        fields, notes = _cut_unusual(head, head.index(b"\r\n") + 2, grammar.notable_in_response)
    else:
        fields, notes = _cut_usual(head, head.index(b"\r\n") + 2, match, grammar.usual_response)
    reason_at, reason_end = match.span(3)
    if reason_end - reason_at > limits.max_target_bytes:
        raise refusals.start_line_too_long()
    minor_version, status = 0 if head[7] == 0x30 else 1, int(match[2])
    response = ResponseHead(status, minor_version, head[reason_at:reason_end], fields, minor_version == 1)
    response.dated = b"\r\ndate:" in lower_case
    bodiless = status < 200 or status == 204
    certain = True
    if notes:
        try:
            _apply_framing(response, notes)
        except MessageError:
            if not bodiless and status != 304:
                raise
            certain = False
        upgrades = _apply_connection(response, notes)
        if upgrades and (status == 101 or status == 426):
            response.upgrade = notes.get(b"upgrade", b"")
    if b"x-pico-" in lower_case:
        failure, response.fields = _cut_own_fields(fields)
        if status in PEER_FAILURES:
            response.failure = failure
    if status == 101 and not response.upgrade:
        raise MessageError(400, "switching protocols without an Upgrade")
    if not certain or (bodiless and (response.chunked or response.content_length > 0)):
        # Such a response has no body, whatever its fields say (RFC 9112 section 6.3), and must not say so (RFC 9110
        # section 8.6; a 304 may). The service may send one all the same, so nothing else is read from this connection.
        response.chunked, response.content_length, response.keep_alive = False, -1, False
    return response


def _cut_own_fields(fields: bytes) -> tuple[bytes, bytes]:
    """Return the value of X-Pico-Failure, empty where it is absent, and the lines of fields that are not Pico's own.

    The node that the client is connected to writes X-Pico-Error and X-Pico-Request-ID, and nothing else does.
    """
    failure = b""
    lines = []
    for line in fields.splitlines(keepends=True):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"x-pico-failure":
            failure = value.strip()
        elif name not in _OWN_IN_RESPONSE:
            lines.append(line)
    return failure, b"".join(lines)


def _check_sizes(head: bytes, limits: HeadLimits) -> None:
    """Raise if a head breaks a limit. This comes before the patterns, because their memory grows with the lines."""
    size = len(head)
    if size > limits.max_head_bytes:
        raise refusals.head_too_large()
    if size > limits.max_fields * _SHORTEST_FIELD_BYTES and head.count(b"\r\n") - 2 > limits.max_fields:
        raise MessageError(431, "too many header fields")
    if size > limits.max_field_bytes and max(map(len, head.split(b"\r\n")[1:]), default=0) > limits.max_field_bytes:
        raise refusals.field_too_long()


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
    """Read an unusual request line by line.

    Returns method, target, minor version, Host, the field lines to pass on, and the notable values by name.
    """
    match = grammar.whole_request.fullmatch(head)
    if match is None:
        raise refusals.invalid_request(head)
    fields, notes = _cut_unusual(head, match.end(3) + 2, grammar.notable_in_request)
    _check_content_types(fields)
    return match[1], match[2], min(int(match[3]), 1), notes.pop(b"host", None), fields, notes


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
        elif b"_" not in name:  # a look-alike of a field that Pico writes is dropped unread
            values.setdefault(name, []).append(value.strip(b" \t\r\n"))
            if name == b"host":
                lines.append(line)
    return b"".join(lines), {name: _joined(name, found) for name, found in values.items()}


def _joined(name: bytes, values: list[bytes]) -> bytes:
    """Return the values of a repeated field as one; Pico's own fields are not lists, so theirs must be equal."""
    if name[:5] != b"x-pic" and name[:5] != b"x-pik":
        return b", ".join(values).rstrip(b" ")
    return reduce(_agreed, values)


def _agreed(one: bytes, other: bytes) -> bytes:
    """Return the value of a field that may be given more than once but must not contradict itself."""
    if one and other and one != other:
        raise refusals.contradicting_fields()
    return one or other


def _check_content_types(fields: bytes) -> None:
    """Raise if a repeated Content-Type contradicts itself."""
    types = field_values(fields, b"content-type")
    if any(value != types[0] for value in types):
        raise refusals.contradicting_fields()


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
    """Return an authority in lower case, without the port if it is the default port of the scheme."""
    return authority.lower().removesuffix(b":443" if len(scheme) == 5 else b":80").removesuffix(b":")


def _apply_framing(message: RequestHead | ResponseHead, notes: dict[bytes, bytes]) -> None:
    """Set the body's framing (RFC 9112 section 6); anything that two readers might read differently is refused."""
    length = notes.pop(b"content-length", None)
    coding = notes.pop(b"transfer-encoding", None)
    if length is not None:
        if coding is not None:
            raise MessageError(400, "both Content-Length and Transfer-Encoding")
        if not length.isdigit() and isinstance(message, ResponseHead):
            lengths = {each.strip(b" \t") for each in length.split(b",")}
            length = lengths.pop() if len(lengths) == 1 else b""  # RFC 9112 section 6.3, rule 5
        if not length.isdigit() or len(length) > grammar.MAX_LENGTH_DIGITS:  # for bytes, only 0 to 9 are digits
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
    """Set the attributes that the less usual fields of a request decide."""
    get = notes.get
    expect = get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise MessageError(417, "unknown expectation")
        request.expects_continue = request.minor_version == 1  # RFC 9110 section 10.1.1
    if upgrades:
        protocols = get(b"upgrade", b"")
        # A client that switches to HTTP/2 in clear could then send the service fields that we remove, unseen by us.
        # RFC 9113 section 3.1 made that upgrade obsolete; to ignore an Upgrade is always allowed.
        request.upgrade = b"" if b"h2c" in protocols.lower() else protocols
    if b"te" in notes:
        request.te_trailers = b"trailers" in [item.strip(b" \t") for item in notes[b"te"].lower().split(b",")]
    request.endpoint = _agreed(get(b"x-pico-endpoint", b""), get(b"x-piko-endpoint", b""))
    request.forwarded_by_pico = get(b"x-pico-forward") == b"true"
    request.forwarded = request.forwarded_by_pico or get(b"x-piko-forward") == b"true"
    request.proof = get(b"x-pico-proof", b"")
    if request.forwarded_by_pico:
        request.credentials = get(b"x-pico-credentials", b"")
    request_id = get(b"x-pico-request-id", b"")
    if grammar.request_id.fullmatch(request_id):
        request.request_id = request_id
    request.forwarded_for = get(b"x-forwarded-for", b"")
    request.forwarded_proto = get(b"x-forwarded-proto", b"")
    request.forwarded_host = get(b"x-forwarded-host", b"")
    if not _USUAL_NOTES.issuperset(notes):
        request.forwarded_elements = notes.pop(b"forwarded", b"")
        told = filter(grammar.about_client.fullmatch, sorted(notes.keys() - _USUAL_NOTES))
        request.about_client = b"".join([b"%b: %b\r\n" % (name.title(), notes[name]) for name in told])
    request.authorization = _agreed(get(b"x-pico-authorization", b""), get(b"x-piko-authorization", b""))
    request.tenant = _agreed(get(b"x-pico-tenant-id", b""), get(b"x-piko-tenant-id", b""))
