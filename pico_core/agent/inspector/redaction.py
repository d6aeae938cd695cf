"""Hides credentials before they are recorded: in fields, targets and bodies. Start at ``Redaction``.

A value is hidden by its name (``Authorization``, ``access_token=...``, ``"password": ...``), and wherever else in the
same exchange the value of a credential field appears. In its place stands ``HIDDEN``.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from pico_core.agent.inspector.searching import SMALL_BYTES, STEP_BYTES, Steps
from pico_core.agent.inspector.spellings import plain_of

HIDDEN = b"REDACTED"

SHORTEST_VALUE = 6
"""Bytes: a shorter credential is hidden by its name only. In other places it would be a common word."""

REMEMBERED_NAMES = 1_024
"""Names whose verdict is remembered; names are not secret."""

SHORT_NAME = 3
"""Bytes. So short a name stands by chance in every few megabytes of a file; it counts beside text only."""

BESIDE = 8
"""Bytes of text before a short name, or behind it."""

MAX_NAME_BYTES = 80
"""Of the name of a part of a form, up to the word that makes it a credential's."""

MAX_VALUES = 64
"""Credentials of one exchange that are looked for everywhere in it. Each costs a pass over both bodies."""

MAX_NAMES = 10_000
"""Names of credentials in one body. One with more is not recorded: looking at each takes a microsecond or two."""

MAX_VALUE_BYTES = 1_048_576
"""Of a credential that stands behind a name. A body with a longer one is not recorded."""

MAX_PARTS = 10_000
"""Texts, lists and objects in one credential. A body with one that has more is not recorded."""

PAIRS_OF_A_STEP = 1_000
PLACES_OF_A_STEP = 200
"""Pairs and places that one step looks at, beside the bytes that it passes over."""

WORDS = (
    "authorization", "cookie", "password", "passwd", "passphrase", "secret", "token", "credential", "session", "jwt",
    "api_key", "access_key", "private_key", "client_key", "auth_key", "subscription_key",
)  # fmt: skip
"""Parts of the names of credentials, in lower case. Webhooks' signatures have other names."""

WHOLE_NAMES = frozenset((b"auth", b"pwd", b"pass", b"pin", b"sid", b"otp", b"pw"))
"""Names that say it only alone."""

QUERY_NAMES = WHOLE_NAMES | {b"key", b"sig", b"signature", b"code", b"x-amz-signature", b"x-goog-signature"}
"""Those that say it in a query or a form."""

_VALUE = (
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\\"(?:[^"\\]|\\[^"])*+(?:\\")?|'
    rb"'(?:[^'\\]|\\.)*+'?|"
    rb"[\[{]"
    rb"|(?:bearer|basic|token)[ ]+[^\s&;,<>\"'{}\[\]()]+|[^\s&;,<>\"'{}\[\]()]+"
)
_ASSIGNED = re.compile(
    rb"(?i)[\w.\-]{0,64}+(?:\\?[\"'\]]){0,2}+(?:\s{0,8}([:=])|\s{1,8}value\s{0,8}(=))\s{0,8}(" + _VALUE + rb")",
    re.DOTALL,
)
_PARTS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""What a list or an object may end at: a text in it may have brackets."""
_ELEMENT = re.compile(rb"[\w.\-]{0,64}+(?:\s[^<>]{0,256})?>(?:\s{0,64}<!\[CDATA\[(.*?)(?=\]\]>|\Z)|([^<]+))", re.DOTALL)
_PART = re.compile(
    rb"[^\"\r\n]{0,64}+\"[^\r\n]{0,1024}+\r\n(?:[^\r\n]{1,1024}+\r\n){0,16}+\r\n(.*?)(?=\r\n--|\Z)", re.DOTALL
)
_NAME_OF_PART = re.compile(rb"[\s;]name=\"[^\"\r\n]*\Z")
_TEXT = re.compile(
    rb"[\x80-\xbf]{0,3}(?:[\t\r\n\x20-\x7e]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|"
    rb"[\xf0-\xf4][\x80-\xbf]{3})*(?:[\xc2-\xf4][\x80-\xbf]{0,2})?"
)
"""A piece of UTF-8 text that was cut from a longer one, maybe within a character at either end."""
_HARMLESS = re.compile(rb"-?[0-9.]++|true|false|null")
_QUERY = re.compile(rb"[?#]")
_PAIRS_OF_QUERY = re.compile(rb"([&;#])")
_PAIRS_OF_PATH = re.compile(rb"([;/])")
_HAS_PAIRS = re.compile(rb"[?#]|;[^;=,/\s]{2,}=")
_CHARSET = re.compile(rb"charset\s*=\s*\"?([\w-]+)")
_BEARER = re.compile(rb"(?i)eyJ[\w-]|(?:bearer|authorization|basic|token|jwt|secret|key)[.:=_-]")
"""Where a credential begins within the name of a subprotocol."""
_BEFORE_CREDENTIAL = frozenset((b"bearer", b"basic", b"key"))
"""Subprotocols after which a credential comes as the next one."""
_USER_INFO = re.compile(rb"(://)[^/\s@\"'<>]+(?=@)")

FORM = b"application/x-www-form-urlencoded"
_OPAQUE = (b"image/", b"video/", b"audio/", b"font/")
"""Types of bodies that have no names in them."""


class UnsearchableError(Exception):
    """A body cannot be searched for credentials; the text says why."""


class Redaction:
    """The values that are hidden. ``more`` are further names."""

    shows_all = False

    def __init__(self, more: Iterable[str] = ()) -> None:
        words = [each for word in (*WORDS, *more) for each in _spellings(word.lower())]
        self._words = [each.encode() for each in words]
        names = [*self._words, *(b'"%b"' % each for each in WHOLE_NAMES), *(b"<%b>" % each for each in WHOLE_NAMES)]
        self._ends = {each.decode("latin-1"): len(each) - (each[:1] in (b'"', b"<")) for each in names}
        """What is searched for, and where the name ends in it; bytes as texts, which are found faster in short data."""
        self.is_secret = lru_cache(REMEMBERED_NAMES)(self._judge)
        self._harmless: set[bytes] = set()

    def _judge(self, name: bytes) -> bool:
        """Say whether the field called ``name`` holds a credential."""
        lower = name.strip().lower()
        return lower in WHOLE_NAMES or any(word in lower for word in self._words)

    def fields(self, block: bytes, values: "HiddenValues") -> bytes:
        """Return field lines without credentials; add those to ``values``.

        Names are remembered, and lines are not: any of them may have a value that another field says is a credential.
        """
        harmless = self._harmless
        lines = block.split(b"\r\n")
        for number, line in enumerate(lines):
            name, _, value = line.partition(b":")
            if name not in harmless or b"=" in value or b"@" in value:
                lines[number] = self._line(line, name, value.strip(b" \t"), values)
        return values.hide(b"\r\n".join(lines))

    def _line(self, line: bytes, name: bytes, value: bytes, values: "HiddenValues") -> bytes:
        """Return one field line without credentials; ``name`` and ``value`` are its parts."""
        if self.is_secret(name):
            values.add_field(name, value)
            shown = HIDDEN
        elif name.lower() == b"sec-websocket-protocol":
            shown = self._subprotocols(value, values)
        else:
            if len(self._harmless) >= REMEMBERED_NAMES:
                self._harmless.clear()
            self._harmless.add(name)
            shown = self.target(value, values) if b"=" in value and _HAS_PAIRS.search(value) else value
        if b"@" in shown:
            shown = _USER_INFO.sub(rb"\g<1>" + HIDDEN, shown)
        return line if shown is value else b"%b: %b" % (name, shown)

    def target(self, target: bytes, values: "HiddenValues") -> bytes:
        """Return a target or URL whose query, fragment and parameters of the path have no credentials."""
        mark = _QUERY.search(target)
        at, end = (len(target), len(target)) if mark is None else mark.span()
        path, query = target[:at], target[end:]
        if b"=" in path:
            path = self._pairs(path, _PAIRS_OF_PATH, values)
        return path + target[at:end] + (self._pairs(query, _PAIRS_OF_QUERY, values) if query else b"")

    def _pairs(self, query: bytes, separator: re.Pattern[bytes], values: "HiddenValues") -> bytes:
        out = []
        for each in separator.split(query):
            name, equals, value = each.partition(b"=")
            plain = _decoded(name)
            if value and (self.is_secret(plain) or plain.lower() in QUERY_NAMES):
                values.add(value)
                values.add(_decoded(value))
                value = HIDDEN
            out.append(name + equals + value)
        return b"".join(out)

    def _subprotocols(self, value: bytes, values: "HiddenValues") -> bytes:
        """Hide tokens among the subprotocols of a WebSocket, where browsers put what they cannot put in a field."""
        out: list[bytes] = []
        before = b""
        for each in value.split(b","):
            name = each.strip()
            found = _BEARER.search(name)
            at = len(name) if found is None else found.start() if found[0][:3] == b"eyJ" else found.end()
            if before in _BEFORE_CREDENTIAL or self.is_secret(before):
                at = 0
            if at < len(name):
                values.add(name[at:])
                values.add(name[name.rfind(b".") + 1 :])
                name, before = name[:at] + HIDDEN, b""
            else:
                before = name.lower()
            out.append(name)
        return b", ".join(out)

    def body(self, data: bytes, media_type: bytes, values: "HiddenValues") -> Steps[bytes]:
        """Return in steps a decoded body without credentials; the same object if it has none.

        Raises ``UnsearchableError``.
        """
        if media_type.startswith(FORM):
            shown = yield from self._form(data, values)
            return (yield from values.hide_all(data if shown == data else shown))
        if media_type.startswith(_OPAQUE):
            return (yield from values.hide_all(data))
        charset = _CHARSET.search(media_type)
        plain, written = yield from plain_of(data, b"" if charset is None else charset[1])
        shown = yield from self._named(plain)
        shown = yield from values.hide_all(shown)
        if shown is not plain:
            return written(shown)
        return data if plain is data else (yield from values.hide_all(data))

    def _form(self, data: bytes, values: "HiddenValues") -> Steps[bytes]:
        """Hide values in a form, a number of pairs in each step."""
        out: list[bytes] = []
        at = 0
        while at < len(data):
            end = at
            for _ in range(PAIRS_OF_A_STEP):
                found = _PAIRS_OF_QUERY.search(data, end)
                end = len(data) if found is None else found.end()
                if end - at >= STEP_BYTES or found is None:
                    break
            out.append(self._pairs(data[at:end], _PAIRS_OF_QUERY, values))
            yield STEP_BYTES
            at = end
        return b"".join(out)

    def _named(self, data: bytes) -> Steps[bytes]:
        """Hide the values that stand behind names, as JSON, forms, HTML, XML and parts of a form have them."""
        out: list[bytes] = []
        at = 0
        places = yield from self._places(data)
        for number, (start, end) in enumerate(places):
            if number % PLACES_OF_A_STEP == 0:
                yield STEP_BYTES
            if start < at or (end - start <= SHORT_NAME and not _is_beside_text(data, start, end)):
                continue
            if (cut := _value_behind(data, start, end)) is not None:
                out += [data[at : cut[0]], cut[2]]
                at = cut[1]
        return b"".join([*out, data[at:]]) if out else data

    def _places(self, data: bytes) -> Steps[list[tuple[int, int]]]:
        """Return where names stand, in order. A search for each is ten times as fast as one expression for all."""
        places: list[tuple[int, int]] = []
        passed = 0
        for begin in range(0, len(data), STEP_BYTES):
            lower = data[begin : begin + STEP_BYTES + MAX_NAME_BYTES].lower().decode("latin-1")
            is_short = len(lower) < SMALL_BYTES
            for name in [each for each in self._ends if each in lower] if is_short else self._ends:
                end = self._ends[name]
                at = lower.find(name)
                while 0 <= at < STEP_BYTES:
                    places.append((begin + at, begin + at + end))
                    if len(places) > MAX_NAMES:
                        raise UnsearchableError("it has too many names of credentials to look at")
                    at = lower.find(name, at + end)
                passed += len(lower)
                if passed >= STEP_BYTES:
                    yield passed
                    passed = 0
        places.sort()
        return places


def _decoded(text: bytes) -> bytes:
    """Return a part of a query or a form as the service reads it."""
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text


def _spellings(word: str) -> set[str]:
    """Return a name with each sign that may stand between its parts."""
    return {word.replace("-", "_"), word.replace("_", "-"), word.replace("_", "").replace("-", "")}


def _is_beside_text(data: bytes, start: int, end: int) -> bool:
    """Say whether text stands before a name or behind it; the beginning and the end of data are text."""
    sides = data[max(0, start - BESIDE) : start], data[end : end + BESIDE]
    return any(_TEXT.fullmatch(each) is not None for each in sides)


def _value_behind(data: bytes, start: int, end: int) -> tuple[int, int, bytes] | None:
    """Return where the value begins and ends whose name has the word from ``start``, and what is shown instead."""
    most = end + MAX_VALUE_BYTES
    found = _ASSIGNED.match(data, end, most)
    if found is not None:
        value = found[3]
        if found[1] == b":" and _HARMLESS.fullmatch(value) and data[start:end].lower() == b"token":
            return None  # a number of tokens
        quote = value[:1] if value[:1] in (b'"', b"'") else b'\\"' if value[:2] == b'\\"' else b""
        over = found.end(3)
        if value in (b"[", b"{"):
            quote = b'"'
            over = _end_of_parts(data, found.start(3), most)
        _check_end(over, most, data)
        return found.start(3), over, quote + HIDDEN + quote
    found = _ELEMENT.match(data, end, most)
    if found is None and _NAME_OF_PART.search(data, max(0, start - MAX_NAME_BYTES), start + 1):
        found = _PART.match(data, end, most)
    if found is None:
        return None
    group = found.lastindex or 1
    _check_end(found.end(group), most, data)
    return (found.start(group), found.end(group), HIDDEN) if found[group].strip() else None


def _end_of_parts(data: bytes, start: int, most: int) -> int:
    """Return where the list or object at ``start`` ends, with all that it has in it."""
    depth = 0
    for number, part in enumerate(_PARTS.finditer(data, start, most)):
        if number >= MAX_PARTS:
            raise UnsearchableError("it has a credential of too many parts")
        mark = part[0]
        depth += (mark in (b"[", b"{")) - (mark in (b"]", b"}"))
        if depth == 0 and mark[:1] != b'"':
            return part.end()
    return min(most, len(data))


def _check_end(end: int, most: int, data: bytes) -> None:
    """Refuse a value that may go on behind the place up to which it was looked at."""
    if end >= most and most < len(data):
        raise UnsearchableError("it has a credential that is too long to look at")


class Nothing(Redaction):
    """Hides nothing (``inspect.show_secrets``)."""

    shows_all = True

    def fields(self, block: bytes, values: "HiddenValues") -> bytes:
        """Return the lines as they are."""
        return block

    def target(self, target: bytes, values: "HiddenValues") -> bytes:
        """Return the target as it is."""
        return target

    def body(self, data: bytes, media_type: bytes, values: "HiddenValues") -> Steps[bytes]:
        """Return the body as it is."""
        yield 0
        return data


class HiddenValues:
    """The credentials of one exchange, as long as it lasts: they are hidden wherever they appear in it."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def add(self, value: bytes) -> None:
        """Hide a value."""
        if len(value) >= SHORTEST_VALUE and len(self.found) < MAX_VALUES and value not in self.found:
            self.found.append(value)

    def add_field(self, name: bytes, value: bytes) -> None:
        """Hide the value of a field, and the parts of it that are credentials alone."""
        self.add(value)
        if name.lower().endswith(b"cookie"):
            for each in value.split(b";"):
                self.add(each.partition(b"=")[2].strip())
            return
        scheme, _, rest = value.partition(b" ")
        self.add(rest.strip())
        if scheme.lower() == b"basic":
            try:
                user = b64decode(rest.strip())
            except Base64Error:
                return
            self.add(user)
            self.add(user.partition(b":")[2])

    def hide(self, data: bytes) -> bytes:
        """Return data without the values; the same object if it has none of them."""
        for value in self.found:
            if value in data:
                data = data.replace(value, HIDDEN)
        return data

    def hide_all(self, data: bytes) -> Steps[bytes]:
        """Do the same in steps."""
        for value in self.found:
            if value in data:
                data = data.replace(value, HIDDEN)
            yield len(data)
        return data

    def hide_end(self, data: bytes) -> bytes:
        """Return data that was cut, without the beginning of a value at its end."""
        for value in self.found:
            for size in range(len(value) - 1, SHORTEST_VALUE - 1, -1):
                if data.endswith(value[:size]):
                    return data[:-size]
        return data

    def forget(self) -> None:
        """The exchange is over."""
        self.found.clear()
