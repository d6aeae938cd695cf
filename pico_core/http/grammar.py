"""The grammar of message heads as regular expressions (RFC 9112 sections 2 to 5, RFC 9110 section 5).

``whole_request`` and ``whole_response`` are the grammar; ``usual_request`` and ``usual_response`` are a faster way to
the same result for nearly all heads. ``parsing`` reads with these; ``cutting`` and ``refusals`` use the smaller ones.

Every repetition is possessive (``*+``) or in an atomic group (``(?>...)``): a part of a pattern never gives back the
bytes it took, so a match costs one pass however hostile they are. Groups that capture or hold alternatives are repeated
in atomic groups only, because before Python 3.12.8 and 3.13.1 their possessive repetition can fail (gh-101955,
gh-106052).
"""

import re

import msgspec

from pico_core.tchar import TCHAR

TOKEN_CHARACTER = TCHAR.encode()
_TEXT_CHARACTER = rb"[\t\x20-\x7e\x80-\xff]"
_FIELD_LINES = rb"(?:" + TOKEN_CHARACTER + rb"++:" + _TEXT_CHARACTER + rb"*+\r\n)*+"
# Methods longer than any that exists (the longest registered has 17 letters) are not waited for. A target has no '#': a
# fragment is never sent (RFC 9112 section 3.2), and readers differ on where it ends. Bytes above ASCII should have been
# percent-encoded; some clients send them as they are, and no reader takes them for anything else.
TARGET_CHARACTER = rb"[\x21\x22\x24-\x7e\x80-\xff]"
_METHOD = TOKEN_CHARACTER + rb"{1,32}+"
# A higher minor version is read as the highest that we know (RFC 9110 section 2.5); the next hop gets our own.
_REQUEST_LINE = rb"(" + _METHOD + rb") (" + TARGET_CHARACTER + rb"++) HTTP/1\.([0-9])\r\n"
# The phrase and the space before it are often left out; the line is unambiguous without them.
_STATUS_LINE = rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (" + _TEXT_CHARACTER + rb"*+))?\r\n"

request_line = re.compile(_REQUEST_LINE)
status_line = re.compile(_STATUS_LINE)
whole_request = re.compile(_REQUEST_LINE + _FIELD_LINES + rb"\r\n")
whole_response = re.compile(_STATUS_LINE + _FIELD_LINES + rb"\r\n")
field_lines = re.compile(_FIELD_LINES)
"""Any number of whole field lines, each with its CRLF (RFC 9112 section 5); a trailer section has the same ones."""

target_begins = re.compile(_METHOD + rb" (" + TARGET_CHARACTER + rb"*+)")
method_begins = re.compile(_METHOD + rb"(?: |\Z)")
other_version = re.compile(_METHOD + rb" [\x21-\x7e\x80-\xff]++ HTTP/(?!1\.)[0-9]\.[0-9]\r\n")
long_method = re.compile(TOKEN_CHARACTER + rb"{33}")
blank_before_colon = re.compile(TOKEN_CHARACTER + rb"++[ \t]++:")
head_so_far = re.compile(rb"(?:[^\x00-\x08\x0a-\x1f\x7f]++|\r\n)*+\r?\Z")
"""No control character and no bare line end. It takes runs of characters at once: 6 ns a byte, a search for the others
takes 48, which 300 clients with 1 MiB each can make 14 s of."""

# Host is a name, an IPv4 address or a bracketed IPv6 address, with or without a port (RFC 9110 section 7.2). Percent
# signs and commas are left out of the name: the first can spell a dot, the second a list. No resolver takes either.
_HOST = rb"((?:[A-Za-z0-9\-._~!$&'()*+;=]{1,255}+|\[[0-9A-Fa-f:.]{2,45}+\])(?::[0-9]{0,5}+)?)"
host = re.compile(_HOST)
absolute_form = re.compile(rb"(?i:(https?)://)" + _HOST + rb"([/?].*+)?")

# Notable fields are those that a proxy reads, removes or writes itself. They are recognised with '_' for '-' as well,
# because gateways behind us (CGI, and others with its conventions) cannot tell those apart.
_NOTABLE_IN_BOTH = (
    rb"connection|te|upgrade|content[-_]++length|transfer[-_]++encoding|keep[-_]alive"
    rb"|proxy[-_](?:connection|authenticate|authorization)"
)
_NOTABLE_IN_REQUEST = (
    _NOTABLE_IN_BOTH
    + rb"|host|expect|proxy|forwarded|x[-_]real[-_]ip|x[-_](?:forwarded|pi[ck]o)[-_]"
    + TOKEN_CHARACTER
    + rb"*+|x[-_]forwarded"
)
notable_in_request = re.compile(_NOTABLE_IN_REQUEST)
notable_in_response = re.compile(_NOTABLE_IN_BOTH)
framing_look_alike = re.compile(rb"content[-_]++length|transfer[-_]++encoding")
FRAMING = (b"content-length", b"transfer-encoding")
about_client = re.compile(rb"forwarded|x-real-ip|x-forwarded(?:-.*+)?")
"""Names of the fields in which proxies tell services of their clients: RFC 7239, and the older ones of many kinds."""

MAX_LENGTH_DIGITS = 18
"""Of a Content-Length: what has no more digits fits 64 bits everywhere."""

request_id = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""A request's ID: those that Pico makes, and those of other proxies that can go through logs and URLs as they are."""

# In nearly every head each notable field is there once at most and spelt as usual. Such a head, in lower case, is
# checked and taken apart by a single match, in which each usual name has a group that holds the field's value. A second
# field of a usual name makes the match fail (``(?(n)(?!))``: if group n is set, fail), and so does any other notable
# field; those heads, and the malformed ones, are looked at line by line.
_USUAL_IN_REQUEST = (
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"te",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-pico-endpoint",
    b"x-piko-endpoint",
    b"x-piko-forward",
    b"x-pico-request-id",
    b"upgrade",
    b"expect",
    b"keep-alive",
    b"x-forwarded-port",
    b"x-real-ip",
)
_USUAL_IN_RESPONSE = (b"connection", b"content-length", b"transfer-encoding", b"keep-alive", b"upgrade")


class UsualHead(msgspec.Struct, frozen=True):
    """A pattern for usual heads in lower case, and the fields whose values its groups hold: (group, name) pairs."""

    pattern: re.Pattern[bytes]
    common: tuple[tuple[int, bytes], ...]
    all: tuple[tuple[int, bytes], ...]
    not_only_common: int
    """The group that is set where a name is present that is not among ``common``."""


def _usual_head(start: bytes, first_group: int, names: tuple[bytes, ...], notable: bytes) -> UsualHead:
    """Build the pattern, of which ``start`` covers the first line and, within an open group, some field lines.

    First come the lines whose initial no notable name has, then the two common names.
    """
    text = _TEXT_CHARACTER + rb"*+"
    rest_of_line = TOKEN_CHARACTER + rb"*+:" + text + rb"\r\n"
    groups = tuple(enumerate(names, first_group))
    usual = [rb"%b:(?(%d)(?!))(%b)\r\n" % (name, group, text) for group, name in groups]
    lines = (
        rb"[abdgijlmnoqrsvwyz]" + rest_of_line,
        *usual[:2],
        rb"(?:" + rb"|".join(usual[2:]) + rb")()",
        rb"(?!(?:" + notable + rb"):)" + TOKEN_CHARACTER + rest_of_line,
    )
    pattern = re.compile(start + rb"|".join(lines) + rb")*)\r\n")
    return UsualHead(pattern, groups[:2], groups, first_group + len(names))


usual_request = _usual_head(
    _REQUEST_LINE.replace(b"HTTP", b"http")
    + rb"(?>(?:host:(?(4)(?!))(%b*+)\r\n|content-type:(?(5)(?!))()%b*+\r\n|" % (_TEXT_CHARACTER, _TEXT_CHARACTER),
    6,
    _USUAL_IN_REQUEST,
    _NOTABLE_IN_REQUEST + rb"|content-type",
)
usual_response = _usual_head(
    _STATUS_LINE.replace(b"HTTP", b"http") + rb"(?>(?:", 4, _USUAL_IN_RESPONSE, _NOTABLE_IN_BOTH
)

# Connection may name any field as hop-by-hop, and it is then removed (RFC 9110 section 7.6.1). Not these: a client must
# not be able to remove fields that a balancer in front of us wrote, those by which a browser says which page asks, nor
# those that say what the message means.
never_hop_by_hop = re.compile(
    rb"close|host|content-.*+|authorization|cookie|set-cookie|cache-control|date|via|origin|sec-fetch-.*+"
)
