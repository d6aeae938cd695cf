"""Finding the end of msgpack values without decoding them.

The first byte of a value says how long the value is, and how many values are inside it, or where to read that: section
"Formats" of https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from pico_core.gossip.wire.records import WireError

_UNDEFINED = 0xC1
"""The one byte that msgpack leaves undefined."""

_FIXED = (
    [(1, 0)] * 0x80  # positive fixint
    + [(1, 2 * n) for n in range(16)]  # fixmap
    + [(1, n) for n in range(16)]  # fixarray
    + [(1 + n, 0) for n in range(32)]  # fixstr
    + [(1, 0), (0, 0), (1, 0), (1, 0)]  # nil, undefined, false, true
    + [(0, 0)] * 6  # bin and ext with a length
    + [(5, 0), (9, 0), (2, 0), (3, 0), (5, 0), (9, 0), (2, 0), (3, 0), (5, 0), (9, 0)]  # floats and integers
    + [(3, 0), (4, 0), (6, 0), (10, 0), (18, 0)]  # fixext
    + [(0, 0)] * 7  # str, array and map with a length
    + [(1, 0)] * 0x20  # negative fixint
)
"""For each first byte: the length of the value's own part, and the number of values inside it. Length 0: see below."""
FIXED_BYTES = tuple(length for length, _ in _FIXED)
FIXED_CHILDREN = tuple(children for _, children in _FIXED)

_LENGTH_BYTES = {
    **dict.fromkeys((0xC4, 0xC7, 0xD9), 1),
    **dict.fromkeys((0xC5, 0xC8, 0xDA, 0xDC, 0xDE), 2),
    **dict.fromkeys((0xC6, 0xC9, 0xDB, 0xDD, 0xDF), 4),
}
"""The width of the length that follows the first byte of bin, ext, str, array and map."""


class Walker:
    """Counts whole msgpack values in a growing buffer, in time linear in its bytes, without recursion.

    Feed with ``walk``; the first ``whole`` values end at ``whole_end``.
    """

    __slots__ = ("_pending", "_position", "whole", "whole_end")

    def __init__(self, position: int) -> None:
        self._position = position
        self._pending = 0
        self.whole = 0
        self.whole_end = position

    def walk(self, data: bytes | bytearray, limit: int) -> None:
        """Continue over ``data``, which is all bytes so far, to their end or until ``limit`` values are whole.

        Raises ``WireError`` for the byte that msgpack never uses.
        """
        position, pending, end = self._position, self._pending, len(data)
        while position < end and self.whole < limit:
            first = data[position]
            step, children = FIXED_BYTES[first], FIXED_CHILDREN[first]
            if not step:
                step, children = variable(data, position, end)
            if not step or position + step > end:
                break
            position += step
            pending += children - 1 if pending else children
            if not pending:
                self.whole += 1
                self.whole_end = position
        self._position, self._pending = position, pending


def variable(data: bytes | bytearray, position: int, end: int) -> tuple[int, int]:
    """Return the bytes and the number of children of a value that gives its length itself; 0 bytes if that is cut.

    The bytes are those of its own part, from ``position`` on: its children follow. ``end`` is the length of ``data``.
    Raises ``WireError`` for the byte that msgpack never uses.
    """
    first = data[position]
    if first == _UNDEFINED:
        raise WireError("a byte that msgpack never uses")
    body = position + 1 + _LENGTH_BYTES[first]
    if body > end:
        return 0, 0
    number = int.from_bytes(data[position + 1 : body], "big")
    if first in {0xDC, 0xDD}:
        return body - position, number
    if first in {0xDE, 0xDF}:
        return body - position, 2 * number
    extension_type = 1 if 0xC7 <= first <= 0xC9 else 0
    return body - position + extension_type + number, 0
