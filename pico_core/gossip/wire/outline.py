"""Where the parts of a stream's message are, found as its bytes come, and bounded in number before any object is made.

A join is a header, an array of states, and an array of digest entries; its answer is a header and an array of states. A
state is a map with an array of entries in it. Everything else is small.
"""

from enum import Enum

from pico_core.gossip.wire.records import MAX_NODES, WireError
from pico_core.gossip.wire.walker import FIXED_BYTES, FIXED_CHILDREN, variable

MAX_NESTING = 8
"""An entry is at depth 4; unknown keys may hold some more."""
SPARE_VALUES = 256
VALUES_PER_ELEMENT = 32
"""A state, an entry and a digest entry have ten values at most; readers accept unknown keys, but not without end."""
PART_ELEMENTS = 250
"""As many elements are decoded in one step."""


class Place(Enum):
    """The places of the grammar in which an array or a map can be."""

    STATES = "states"
    STATE = "state"
    ENTRIES = "entries"
    DIGEST = "digest"
    OTHER = "other"


_ARRAYS = (Place.STATES, Place.ENTRIES, Place.DIGEST)
_EMPTY_ARRAYS = (0x90, 0xC0, 0xDC, 0xDD)
"""Also nil, which Go writes for an empty list."""


class Part:
    """Some elements of an array that follow one another: their number, and where their bytes are."""

    __slots__ = ("count", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.count = 0


class StatePart:
    """A state: where it is, where the array of its entries is (if it has any), and the parts of that array."""

    __slots__ = ("end", "entries_end", "entries_start", "parts", "start")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.entries_start = self.entries_end = 0
        self.parts: list[Part] = []


class Outline:
    """Walks over a message of ``values`` values in a growing buffer.

    Call ``walk`` until ``whole``; it goes on where it was. Then the other attributes say where everything is.
    """

    def __init__(self, position: int, values: int, max_entries: int) -> None:
        self.head = Part(position)
        self.states: list[StatePart] = []
        self.digest: list[Part] = []
        self.end = position
        self._values = values
        self._whole = 0
        self._position = position
        self._room_entries = max_entries
        self._spare = SPARE_VALUES
        self._open: list[tuple[Place, int]] = []  # what is around the innermost container, with its missing values
        self._place = Place.OTHER
        self._missing = 0
        self._wants_maps = False

    @property
    def whole(self) -> bool:
        """Whether the message is complete; what follows does not belong to it."""
        return self._whole == self._values

    def walk(self, data: bytes | bytearray, most_values: int) -> int:
        """Continue over ``data``, which is all bytes so far, for ``most_values`` at most; return how many were walked.

        Fewer than ``most_values`` means that more bytes are needed, or that the message is whole. Raises ``WireError``.
        """
        walked = 0
        end = len(data)
        position, missing = self._position, self._missing
        while walked < most_values and position < end and self._whole < self._values:
            first = data[position]
            step, children = FIXED_BYTES[first], FIXED_CHILDREN[first]
            if not step:
                step, children = variable(data, position, end)
            if not step or position + step > end:
                break
            walked += 1
            if children:
                self._missing = missing
                self._enter(children, position, is_map=_is_map(first))
                missing = self._missing
            position += step
            if children:
                continue
            if self._wants_maps or not self._open:
                self._check_empty(first)
            if missing > 1:
                missing -= 1
            else:
                self._position, self._missing = position, missing
                self._leave()
                missing = self._missing
        self._position, self._missing = position, missing
        return walked

    def _enter(self, children: int, position: int, *, is_map: bool) -> None:
        place = self._place_of(position, is_map=is_map)
        if place is Place.STATES or place is Place.DIGEST:
            self._bound(children, MAX_NODES)
        elif place is Place.ENTRIES:
            self._bound(children, self._room_entries)
            self._room_entries -= children
            self.states[-1].entries_start = position
        else:
            self._bound(children, self._spare)
            self._spare -= children
        self._open.append((self._place, self._missing))
        self._place, self._missing = place, children
        self._wants_maps = place in _ARRAYS
        if len(self._open) > MAX_NESTING:
            raise WireError("a gossip stream nested too deeply")

    def _place_of(self, position: int, *, is_map: bool) -> Place:
        """Return the value that begins at a position; an element of an array gives room for its values."""
        around = self._place
        if not self._open:
            if is_map == bool(self._whole):
                raise WireError("not a header and arrays")
            return (Place.OTHER, Place.STATES, Place.DIGEST)[self._whole]
        if around is Place.STATE and not is_map and not self.states[-1].entries_start:
            return Place.ENTRIES
        if around is Place.STATES:
            self._spare += VALUES_PER_ELEMENT
            self.states.append(StatePart(position))
            return Place.STATE
        if around is Place.ENTRIES or around is Place.DIGEST:
            self._spare += VALUES_PER_ELEMENT
            parts = self.states[-1].parts if around is Place.ENTRIES else self.digest
            if not parts or parts[-1].count == PART_ELEMENTS:
                parts.append(Part(position))
        return Place.OTHER

    def _leave(self) -> None:
        """A value ended, and perhaps what is around it."""
        while self._open:
            self._missing -= 1
            if self._missing:
                return
            ended = self._place
            self._place, self._missing = self._open.pop()
            self._wants_maps = self._place in _ARRAYS
            self._ended(ended)
        if not self._whole:
            self.head.end = self._position
        self._whole += 1
        self.end = self._position

    def _ended(self, place: Place) -> None:
        if place is Place.STATE:
            self.states[-1].end = self._position
        elif place is Place.ENTRIES:
            self.states[-1].entries_end = self._position
        elif self._place is Place.ENTRIES or self._place is Place.DIGEST:
            part = (self.states[-1].parts if self._place is Place.ENTRIES else self.digest)[-1]
            part.count += 1
            part.end = self._position

    def _check_empty(self, first: int) -> None:
        """Refuse a value without values in it where a map or an array has to be; an array may be empty, or nil."""
        if self._open or not self._whole or first not in _EMPTY_ARRAYS:
            raise WireError("not a header and arrays of maps")

    @staticmethod
    def _bound(count: int, most: int) -> None:
        if count > most:
            raise WireError("a gossip stream with more values than allowed")


def _is_map(first: int) -> bool:
    return 0x80 <= first <= 0x8F or first in {0xDE, 0xDF}
