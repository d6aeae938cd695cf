"""The shape of message heads: the bytes that heads of one connection share, and between them the values that differ.

A browser sends fourteen fields, of which three differ from request to request; an origin sends the same fields with
another Date, length and entity tag. A head of a known shape needs no parser: the shared bytes are compared, and a value
may differ only where it cannot change what the rest of the head means. ``learning`` finds shapes and uses them.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from pico_core.http import grammar

MAX_VALUES = 12
"""A shape with more values that differ costs as much as a parser."""

MAX_SAME_SIZES = 8
"""A shape whose values have other sizes more often than each third time stops to expect the same; each time that they
were the same counts against that, up to so many."""

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})
"""Bytes that a field's value must not have (RFC 9110 section 5.5)."""


def _length(value: bytes) -> int | None:
    value = value.strip(b" \t")
    return int(value) if value.isdigit() and len(value) <= grammar.MAX_LENGTH_DIGITS else None


def _host(value: bytes) -> bytes | None:
    value = value.strip(b" \t")
    return value if grammar.host.fullmatch(value) else None


def _request_id(value: bytes) -> bytes | None:
    value = value.strip(b" \t")
    return value if (len(value) == 16 and value.isalnum()) or grammar.request_id.fullmatch(value) else None


def _text(value: bytes) -> bytes:
    return value.strip(b" \t")


Read: TypeAlias = Callable[[bytes], bytes | int | None]
ReadFields: TypeAlias = Mapping[bytes, tuple[str, Read]]
Changes: TypeAlias = Sequence[tuple[str, bytes | int]]

READ_IN_REQUEST: ReadFields = {
    b"host": ("host", _host),
    b"content-length": ("content_length", _length),
    b"x-pico-request-id": ("request_id", _request_id),
    b"x-forwarded-for": ("forwarded_for", _text),
    b"x-forwarded-host": ("forwarded_host", _text),
}
READ_IN_RESPONSE: ReadFields = {b"content-length": ("content_length", _length)}
"""Notable fields whose values may differ: the attribute that a value sets, and the function that returns what it is set
to, or ``None`` for a head that must be parsed. All other notable fields must be equal."""


_NO_CHANGES: Changes = ()


class Shape:
    """The common part of heads, from one line on, as pieces of bytes. Between two pieces comes a value.

    All pieces but the last end with the colon of a field's name; the last ends with the empty line.
    """

    __slots__ = ("_all_pieces", "_cut", "_last", "_pieces", "_reads", "_same_sizes", "_size", "kept")

    def __init__(
        self,
        pieces: Sequence[bytes],
        kept: Sequence[bytes],
        reads: Sequence[tuple[int, str, Read]],
        values: Sequence[bytes],
    ) -> None:
        """``kept`` is what remains of the pieces in ``fields``: without the first line, and the lines that are removed.

        ``reads`` has the values that set attributes: their positions, and the rest as in ``READ_IN_REQUEST``.
        """
        self._pieces = [(piece, len(piece)) for piece in pieces[:-1]]
        self._last = pieces[-1]
        self._all_pieces = tuple(pieces)
        self._reads = reads
        self.kept = _interleaved(kept, ())
        self._same_sizes = 0
        self._note_sizes(values)

    def read(self, data: bytes, at: int) -> tuple[bytes, Changes, int] | None:
        """Read a head if ``data`` has this shape from ``at`` on; else, or if it must be parsed, return ``None``.

        Returns its ``fields``, the attributes that values set, and where it ends.
        """
        values: Sequence[bytes] | None = None
        end = at + self._size
        if self._same_sizes >= 0:
            parts = self._cut(data[at:end])
            if parts[::2] == self._all_pieces:
                values = parts[1::2]
                if self._same_sizes < MAX_SAME_SIZES:
                    self._same_sizes += 1
        if values is None:
            found = self._find(data, at)
            if found is None:
                return None
            values, end = found
        text = b"".join(values)
        if not text.decode("latin-1").isprintable() and len(text.translate(None, _CONTROLS)) != len(text):
            return None
        changes = _NO_CHANGES
        if self._reads:
            values = list(values)
            read = self._changes(values)
            if read is None:
                return None
            changes = read
        fields = self.kept.copy()
        fields[1::2] = values
        return b"".join(fields), changes, end

    def _find(self, data: bytes, at: int) -> tuple[list[bytes], int] | None:
        """Find the values where they are not as long as those before; return them, and where the head ends."""
        values = []
        has, find = data.startswith, data.find
        for piece, size in self._pieces:
            if not has(piece, at):
                return None
            begin = at + size
            at = find(b"\r", begin)
            if at < 0:
                return None
            values.append(data[begin:at])
        if not has(self._last, at):
            return None
        if self._same_sizes >= 0:
            self._same_sizes -= 2
            self._note_sizes(values)
        return values, at + len(self._last)

    def _note_sizes(self, values: Sequence[bytes]) -> None:
        """Expect values of the same sizes next time: to cut them out at known places takes half of the time."""
        places = []
        end = 0
        for part in _interleaved(self._all_pieces, values):
            places.append(slice(end, end + len(part)))
            end += len(part)
        self._size = end
        self._cut = itemgetter(*places)

    def _changes(self, values: list[bytes]) -> Changes | None:
        """Return the attributes that values set. The values of lines that are removed become empty."""
        changes: list[tuple[str, bytes | int]] = []
        for position, attribute, read in self._reads:
            found = read(values[position])
            if found is None:
                return None
            changes.append((attribute, found))
            if attribute != "host":  # the only one whose line is passed on
                values[position] = b""
        return changes

    def sets(self, attribute: str) -> bool:
        """Return whether one of the values that vary is read for this attribute of a head."""
        return any(each == attribute for _, each, _ in self._reads)

    def leave_out(self, lines: re.Pattern[bytes]) -> None:
        """Leave the lines that match out of ``fields``, where they are in what all heads have in common."""
        self.kept = _interleaved([lines.sub(b"", piece) for piece in self.kept[::2]], ())


def _interleaved(pieces: Sequence[bytes], values: Sequence[bytes]) -> list[bytes]:
    """Return the pieces with a value between each two; empty ones if no values are given."""
    parts = [b""] * (2 * len(pieces) - 1)
    parts[::2] = pieces
    if values:
        parts[1::2] = values
    return parts


def shape_of(
    lines: Sequence[bytes], differing: Collection[int], notable: re.Pattern[bytes], readable: ReadFields
) -> Shape | None:
    """Return the shape of a valid head whose lines, without their CRLF, are ``lines``; the last one is the empty line.

    ``differing`` are the positions of the lines whose values differ, and ``notable`` matches the names, in lower case,
    that mean something. Returns ``None`` where a value differs that must not.
    """
    names = [line.partition(b":")[0] for line in lines]
    lower_case = [name.lower() for name in names]
    pieces: list[bytes] = []
    kept: list[bytes] = []
    reads: list[tuple[int, str, Read]] = []
    values: list[bytes] = []
    piece, keep = lines[0] + b"\r\n", b""
    for at in range(1, len(lines) - 1):
        name = lower_case[at]
        is_notable = notable.fullmatch(name) is not None
        stays = not is_notable or name == b"host"
        if at not in differing:
            piece += lines[at] + b"\r\n"
            keep += lines[at] + b"\r\n" if stays else b""
            continue
        if (is_notable or name == b"content-type") and lower_case.count(name) > 1:
            return None
        if is_notable:
            if name not in readable:
                return None
            reads.append((len(pieces), *readable[name]))
        begin = names[at] + b":"
        values.append(lines[at][len(begin) :])
        pieces.append(piece + begin)
        kept.append(keep + begin if stays else keep)
        piece, keep = b"\r\n", b"\r\n" if stays else b""
    if not 0 < len(pieces) <= MAX_VALUES:
        return None
    return Shape([*pieces, piece + b"\r\n"], [*kept, keep], reads, values)
