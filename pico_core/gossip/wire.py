"""Version 0 of the gossip wire: records to bytes and back, byte for byte as Piko writes them.

Every message starts with two bytes, type and version, followed by msgpack values one after the other, to the end of
the datagram (UDP) or of what the structure asks for (TCP). Piko writes neither the ``bin`` nor the ``str8`` type, so
the packer here is our own; reading accepts whatever msgpack allows: any key order, unknown and missing keys, any width
of integer, ``nil`` for an empty list.

Reading works in two steps. First the number of whole values is found: guessed from the names of keys, or, when the
guess was wrong or the datagram was cut, by walking over them. Then an array header with that number is put in front
and ``msgspec`` decodes everything at once, half a microsecond per entry. What cannot be read raises ``WireError``.
"""

from typing import Annotated, TypeVar

import msgspec

from pico_core.errors import RemoteProtocolError

DIGEST = b"\x01\x00"
DELTA = b"\x02\x00"
JOIN = b"\x03\x00"
LEAVE = b"\x04\x00"

MAX_ID_CHARACTERS = 255
MAX_ADDR_CHARACTERS = 255
MAX_KEY_CHARACTERS = 512
"""An endpoint ID has at most 255 characters; with its prefix it stays well below."""
MAX_VALUE_CHARACTERS = 1024
MAX_VERSION = 1 << 62
"""Versions count writes of one process; the room above is for nobody."""

_NEVER_SENT = 0xC1
"""The one byte that msgpack leaves undefined."""


Item = TypeVar("Item")


class WireError(RemoteProtocolError):
    """Bytes that are not gossip, or are above the bounds of this module. Nothing was taken from them."""


_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]
_Addr = Annotated[str, msgspec.Meta(max_length=MAX_ADDR_CHARACTERS)]
_Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_VERSION)]


class DigestEntry(msgspec.Struct, frozen=True, gc=False):
    """What the sender knows about one node: where it is, up to which version, and whether it left."""

    id: _Id = ""
    addr: _Addr = ""
    version: _Version = 0
    left: bool = False


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One key of one node's state, stamped by its owner with the version of the write."""

    key: Annotated[str, msgspec.Meta(max_length=MAX_KEY_CHARACTERS)] = ""
    value: Annotated[str, msgspec.Meta(max_length=MAX_VALUE_CHARACTERS)] = ""
    version: _Version = 0
    internal: bool = False
    deleted: bool = False


class NodeDelta(msgspec.Struct, frozen=True):
    """Entries of one node in the order of their versions. ``after`` is the version they follow on, if it is known."""

    id: str
    addr: str
    entries: list[Entry]
    after: int | None = None


class Digest(msgspec.Struct, frozen=True):
    """A digest datagram."""

    node_id: str
    addr: str
    request: bool
    entries: list[DigestEntry]


class Delta(msgspec.Struct, frozen=True):
    """A delta datagram."""

    node_id: str
    addr: str
    nodes: list[NodeDelta]


class FullState(msgspec.Struct, frozen=True):
    """A node with its entries, as streams carry it."""

    id: _Id = ""
    addr: _Addr = ""
    entries: list[Entry] | None = None


class Join(msgspec.Struct, frozen=True):
    """A join request: who asks, its own state, and a digest of all it knows."""

    node_id: str
    addr: str
    states: list[FullState]
    digest: list[DigestEntry]


class Leave(msgspec.Struct, frozen=True):
    """A node says goodbye with its own state."""

    node_id: str
    addr: str
    states: list[FullState]


class JoinReply(msgspec.Struct, frozen=True):
    """The answer to a join: what its digest lacked."""

    node_id: str
    addr: str
    states: list[FullState]


class _Header(msgspec.Struct, gc=False):
    node_id: _Id = ""
    addr: _Addr = ""


class _DigestItem(msgspec.Struct, gc=False):
    """Any value of a digest datagram: its header or an entry."""

    node_id: _Id = ""
    request: bool = False
    id: _Id = ""
    addr: _Addr = ""
    version: _Version = 0
    left: bool = False


class _DeltaItem(msgspec.Struct, gc=False):
    """Any value of a delta datagram: its header, a node's header, or an entry."""

    node_id: _Id = ""
    addr: _Addr = ""
    entries: Annotated[int, msgspec.Meta(ge=0)] = 0
    after: _Version | None = None
    key: Annotated[str, msgspec.Meta(max_length=MAX_KEY_CHARACTERS)] = ""
    value: Annotated[str, msgspec.Meta(max_length=MAX_VALUE_CHARACTERS)] = ""
    version: _Version = 0
    internal: bool = False
    deleted: bool = False


_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_digest_decoder = msgspec.msgpack.Decoder(list[_DigestItem])
_delta_decoder = msgspec.msgpack.Decoder(list[_DeltaItem])
_header_decoder = msgspec.msgpack.Decoder(tuple[_Header])
_join_decoder = msgspec.msgpack.Decoder(tuple[_Header, list[FullState] | None, list[DigestEntry] | None])
_states_decoder = msgspec.msgpack.Decoder(tuple[_Header, list[FullState] | None])


# --- writing ---------------------------------------------------------------------------------------------------------


def pack_text(text: str) -> bytes:
    """Return ``text`` as a msgpack string without the ``str8`` type."""
    data = text.encode()
    length = len(data)
    if length < 32:
        return bytes((0xA0 | length,)) + data
    if length < 0x10000:
        return b"\xda" + length.to_bytes(2, "big") + data
    return b"\xdb" + length.to_bytes(4, "big") + data


def pack_unsigned(number: int) -> bytes:
    """Return a number in the shortest unsigned form."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x100:
        return bytes((0xCC, number))
    if number < 0x10000:
        return b"\xcd" + number.to_bytes(2, "big")
    if number < 0x100000000:
        return b"\xce" + number.to_bytes(4, "big")
    return b"\xcf" + number.to_bytes(8, "big")


def _pack_count(number: int) -> bytes:
    """Return a number as Go writes its ``int``: above 127 as a signed one of 16, 32 or 64 bits."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x8000:
        return b"\xd1" + number.to_bytes(2, "big")
    return b"\xd2" + number.to_bytes(4, "big")


def _pack_array_head(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    if count < 0x10000:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _pack_sender(head: bytes, node_id: str, addr: str) -> bytes:
    return head + b"\xa7node_id" + pack_text(node_id) + b"\xa4addr" + pack_text(addr)


def digest_head(node_id: str, addr: str, *, request: bool) -> bytes:
    """Return the start of a digest datagram; ``digest_entry`` values follow."""
    return _pack_sender(DIGEST + b"\x83", node_id, addr) + (b"\xa7request\xc3" if request else b"\xa7request\xc2")


def digest_entry(node_id: str, addr: str, version: int, *, left: bool) -> bytes:
    """Return one entry of a digest."""
    return b"".join(
        (
            b"\x84\xa2id",
            pack_text(node_id),
            b"\xa4addr",
            pack_text(addr),
            b"\xa7version",
            pack_unsigned(version),
            b"\xa4left\xc3" if left else b"\xa4left\xc2",
        )
    )


def delta_head(node_id: str, addr: str) -> bytes:
    """Return the start of a delta datagram, which is also a whole empty delta."""
    return _pack_sender(DELTA + b"\x83", node_id, addr) + b"\xa7entries\x00"


def delta_node(node_id: str, addr: str, count: int, after: int | None) -> bytes:
    """Return the header of one node in a delta; ``count`` entries should follow, fewer if they do not fit.

    ``after`` is our own addition: the version the entries follow on, by which the receiver sees a gap. It is given to
    nodes that are known to understand it.
    """
    if after is None:
        return _pack_sender(b"\x83", node_id, addr) + b"\xa7entries" + _pack_count(count)
    return b"".join(
        (_pack_sender(b"\x84", node_id, addr), b"\xa7entries", _pack_count(count), b"\xa5after", pack_unsigned(after))
    )


def pack_entry(entry: Entry) -> bytes:
    """Return one entry of a node's state."""
    return b"".join(
        (
            b"\x85\xa3key",
            pack_text(entry.key),
            b"\xa5value",
            pack_text(entry.value),
            b"\xa7version",
            pack_unsigned(entry.version),
            b"\xa8internal\xc3" if entry.internal else b"\xa8internal\xc2",
            b"\xa7deleted\xc3" if entry.deleted else b"\xa7deleted\xc2",
        )
    )


def pack_state(node_id: str, addr: str, entries: list[bytes]) -> bytes:
    """Return one node with its packed entries, as streams carry it."""
    head = b"\x83\xa2id" + pack_text(node_id) + b"\xa4addr" + pack_text(addr) + b"\xa7entries"
    return head + _pack_array_head(len(entries)) + b"".join(entries)


def join_request(node_id: str, addr: str, state: bytes, digest: list[bytes]) -> bytes:
    """Return a join request from our packed state and the packed entries of our digest."""
    head = _pack_sender(JOIN + b"\x82", node_id, addr)
    return b"".join((head, b"\x91", state, _pack_array_head(len(digest)), *digest))


def join_reply(node_id: str, addr: str, states: list[bytes]) -> bytes:
    """Return the answer to a join from packed states."""
    return b"".join((_pack_sender(b"\x82", node_id, addr), _pack_array_head(len(states)), *states))


def leave_request(node_id: str, addr: str, state: bytes) -> bytes:
    """Return a leave message from our packed state."""
    return _pack_sender(LEAVE + b"\x82", node_id, addr) + b"\x91" + state


def leave_reply(node_id: str, addr: str) -> bytes:
    """Return the answer to a leave message."""
    return _pack_sender(b"\x82", node_id, addr)


# --- reading ---------------------------------------------------------------------------------------------------------

_FIXED = (
    [(1, 0)] * 0x80  # positive fixint
    + [(1, 2 * n) for n in range(16)]  # fixmap
    + [(1, n) for n in range(16)]  # fixarray
    + [(1 + n, 0) for n in range(32)]  # fixstr
    + [(1, 0), (0, 0), (1, 0), (1, 0)]  # nil, never used, false, true
    + [(0, 0)] * 6  # bin and ext with a length
    + [(5, 0), (9, 0), (2, 0), (3, 0), (5, 0), (9, 0), (2, 0), (3, 0), (5, 0), (9, 0)]  # floats and integers
    + [(3, 0), (4, 0), (6, 0), (10, 0), (18, 0)]  # fixext
    + [(0, 0)] * 7  # str, array and map with a length
    + [(1, 0)] * 0x20  # negative fixint
)
"""For each first byte: how many bytes the value's own part takes, and how many values follow inside it."""
_FIXED_BYTES = tuple(length for length, _ in _FIXED)
_FIXED_CHILDREN = tuple(children for _, children in _FIXED)

_LENGTH_BYTES = {
    **dict.fromkeys((0xC4, 0xC7, 0xD9), 1),
    **dict.fromkeys((0xC5, 0xC8, 0xDA, 0xDC, 0xDE), 2),
    **dict.fromkeys((0xC6, 0xC9, 0xDB, 0xDD, 0xDF), 4),
}
"""How wide the length is that follows the first byte of bin, ext, str, array and map."""


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
        """Go on over ``data``, all bytes so far, until they end or ``limit`` values are whole. Raises ``WireError``."""
        position, pending, end = self._position, self._pending, len(data)
        while position < end and self.whole < limit:
            first = data[position]
            step, children = _FIXED_BYTES[first], _FIXED_CHILDREN[first]
            if not step:
                step, children = _variable(data, position, end)
            if not step or position + step > end:
                break
            position += step
            pending += children - 1 if pending else children
            if not pending:
                self.whole += 1
                self.whole_end = position
        self._position, self._pending = position, pending


def _variable(data: bytes | bytearray, position: int, end: int) -> tuple[int, int]:
    """Return length and number of children of a value whose first byte does not say; a length of 0 if it is cut."""
    first = data[position]
    if first == _NEVER_SENT:
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


def decode_datagram(data: bytes) -> Digest | Delta:
    """Read one datagram. It may be cut anywhere: what is whole counts. Raises ``WireError``."""
    kind = data[:2]
    if kind == DIGEST:
        return _digest(_items(_digest_decoder, data, 1 + data.count(b"\xa2id")))
    if kind == DELTA:
        return _delta(_items(_delta_decoder, data, data.count(b"\xa7node_id") + data.count(b"\xa3key")))
    raise WireError("neither a digest nor a delta of version 0")


def _items(decoder: msgspec.msgpack.Decoder[list[Item]], data: bytes, guess: int) -> list[Item]:
    try:
        return decoder.decode(b"\xdc" + (guess & 0xFFFF).to_bytes(2, "big") + data[2:])
    except _DECODE_ERRORS:
        walker = Walker(2)
        walker.walk(data, 0xFFFF)
    try:
        return decoder.decode(b"\xdc" + walker.whole.to_bytes(2, "big") + data[2 : walker.whole_end])
    except _DECODE_ERRORS as error:
        raise WireError(str(error)) from None


def _digest(items: list[_DigestItem]) -> Digest:
    if not items or not items[0].node_id:
        raise WireError("a digest without a sender")
    head = items.pop(0)
    entries = [DigestEntry(each.id, each.addr, each.version, each.left) for each in items if each.id]
    return Digest(head.node_id, head.addr, head.request, entries)


def _delta(items: list[_DeltaItem]) -> Delta:
    if not items or not items[0].node_id:
        raise WireError("a delta without a sender")
    nodes: list[NodeDelta] = []
    awaited = 0
    for each in items[1:]:
        if awaited:
            awaited -= 1
            entry = Entry(each.key, each.value, each.version, each.internal, each.deleted)
            nodes[-1].entries.append(entry)
        else:
            awaited = each.entries
            nodes.append(NodeDelta(each.node_id, each.addr, [], each.after))
    return Delta(items[0].node_id, items[0].addr, nodes)


class StreamReader:
    """Gathers one message of a TCP stream, which has no length in front, within ``max_bytes``.

    Feed with ``receive`` until it returns true; then ``request``, ``join_reply`` or ``sender`` reads the message.
    """

    __slots__ = ("_buffer", "_is_request", "_max_bytes", "_walker")

    def __init__(self, *, is_request: bool, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._is_request = is_request
        self._max_bytes = max_bytes
        self._walker = Walker(2 if is_request else 0)

    def receive(self, data: bytes, values: int = 2) -> bool:
        """Take bytes; return whether the message is whole. A reply has ``values`` values. Raises ``WireError``."""
        buffer = self._buffer
        if len(buffer) + len(data) > self._max_bytes:
            raise WireError("a gossip stream longer than allowed")
        buffer += data
        if self._is_request:
            if len(buffer) < 2:
                return False
            values = self._request_values(bytes(buffer[:2]))
        self._walker.walk(buffer, values)
        return self._walker.whole == values

    @staticmethod
    def _request_values(kind: bytes) -> int:
        if kind == JOIN:
            return 3
        if kind == LEAVE:
            return 2
        raise WireError("neither a join nor a leave of version 0")

    def request(self) -> Join | Leave:
        """Return the whole request. Raises ``WireError``."""
        if self._buffer.startswith(JOIN):
            head, states, digest = _decode(_join_decoder, self._values_of(3))
            return Join(_sender(head), head.addr, states or [], [each for each in digest or [] if each.id])
        head, states = _decode(_states_decoder, self._values_of(2))
        return Leave(_sender(head), head.addr, states or [])

    def join_reply(self) -> JoinReply:
        """Return the whole answer to a join. Raises ``WireError``."""
        head, states = _decode(_states_decoder, self._values_of(2))
        return JoinReply(_sender(head), head.addr, states or [])

    def sender(self) -> str:
        """Return who answered a leave. Raises ``WireError``."""
        return _sender(_decode(_header_decoder, self._values_of(1))[0])

    def _values_of(self, count: int) -> bytes:
        start = 2 if self._is_request else 0
        return bytes((0x90 | count,)) + bytes(self._buffer[start : self._walker.whole_end])


def _decode(decoder: msgspec.msgpack.Decoder[Item], data: bytes) -> Item:
    try:
        return decoder.decode(data)
    except _DECODE_ERRORS as error:
        raise WireError(str(error)) from None


def _sender(head: _Header) -> str:
    if not head.node_id:
        raise WireError("a message without a sender")
    return head.node_id
