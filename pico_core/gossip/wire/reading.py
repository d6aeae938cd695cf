"""Bytes to gossip messages.

A datagram is read in two steps. First the number of whole values is found: guessed from the names of keys, or, when the
guess was wrong or the datagram was cut, by walking over them. Then an array header with that number is put in front
and ``msgspec`` decodes everything at once, half a microsecond per entry. Bytes that cannot be read raise ``WireError``.
"""

from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec

from pico_core.errors import LocalProtocolError
from pico_core.gossip.wire.outline import Outline, Part, StatePart
from pico_core.gossip.wire.records import (
    DELTA,
    DIGEST,
    JOIN,
    LEAVE,
    MAX_ENTRIES,
    MAX_REPLY_ENTRIES,
    Addr,
    Delta,
    Digest,
    DigestEntry,
    Entry,
    EntryKey,
    EntryValue,
    FullState,
    Id,
    NodeDelta,
    Version,
    WireError,
)
from pico_core.gossip.wire.walker import Walker

Decoded = TypeVar("Decoded")


class _Header(msgspec.Struct, gc=False):
    """The first value of a stream's message."""

    node_id: Id = ""
    addr: Addr = ""


class _DigestItem(msgspec.Struct, gc=False):
    """Any value of a digest datagram: its header or an entry."""

    node_id: Id = ""
    request: bool = False
    id: Id = ""
    addr: Addr = ""
    version: Version = 0
    left: bool = False


class _DeltaItem(msgspec.Struct, gc=False):
    """Any value of a delta datagram: its header, a node's header, or an entry."""

    node_id: Id = ""
    addr: Addr = ""
    entries: Annotated[int, msgspec.Meta(ge=0)] = 0
    after: Version | None = None
    key: EntryKey = ""
    value: EntryValue = ""
    version: Version = 0
    internal: bool = False
    deleted: bool = False


MIN_ITEM_BYTES = 16
"""The shortest value of a datagram that any node writes has 26 bytes. A datagram that claims more values than fit is
refused before any is decoded."""
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_digest_decoder = msgspec.msgpack.Decoder(list[_DigestItem])
_delta_decoder = msgspec.msgpack.Decoder(list[_DeltaItem])
_header_decoder = msgspec.msgpack.Decoder(_Header)
_state_decoder = msgspec.msgpack.Decoder(FullState)
_entries_decoder = msgspec.msgpack.Decoder(list[Entry])
_digest_entries_decoder = msgspec.msgpack.Decoder(list[DigestEntry])


def decode_datagram(data: bytes) -> Digest | Delta:
    """Return the message of one datagram. It may be cut anywhere: the whole values count. Raises ``WireError``."""
    kind = data[:2]
    if kind == DIGEST:
        return _digest(_items(_digest_decoder, data, 1 + data.count(b"\xa2id")))
    if kind == DELTA:
        return _delta(_items(_delta_decoder, data, data.count(b"\xa7node_id") + data.count(b"\xa3key")))
    raise WireError("neither a digest nor a delta of version 0")


def _items(decoder: msgspec.msgpack.Decoder[list[Decoded]], data: bytes, guess: int) -> list[Decoded]:
    most = min(1 + len(data) // MIN_ITEM_BYTES, 0xFFFF)
    if guess > most:
        raise WireError("more values than a datagram of this size has")
    try:
        return decoder.decode(b"\xdc" + (guess & 0xFFFF).to_bytes(2, "big") + data[2:])
    except _DECODE_ERRORS:
        walker = Walker(2)
        walker.walk(data, most + 1)
    if walker.whole > most:
        raise WireError("more values than a datagram of this size has")
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
    missing = 0  # entries of the last node that are still to come
    for each in items[1:]:
        if missing:
            missing -= 1
            entry = Entry(each.key, each.value, each.version, each.internal, each.deleted)
            nodes[-1].entries.append(entry)
        else:
            missing = each.entries
            nodes.append(NodeDelta(each.node_id, each.addr, [], each.after))
    return Delta(items[0].node_id, items[0].addr, nodes)


class ReadState:
    """One node of a stream's message: ``size_bytes`` it took; ``entries`` come in parts of a few hundred."""

    __slots__ = ("_data", "_part", "addr", "id", "size_bytes")

    def __init__(self, data: bytearray, part: StatePart) -> None:
        """Raises ``WireError``."""
        head = data[part.start : part.end]
        if part.entries_start:
            head = data[part.start : part.entries_start] + b"\x90" + data[part.entries_end : part.end]
        state = _decode(_state_decoder, head)
        self.id = state.id
        self.addr = state.addr
        self.size_bytes = part.end - part.start
        self._data = data
        self._part = part

    def entries(self) -> Iterator[list[Entry]]:
        """Decode the entries, one part after the other. Raises ``WireError``."""
        for part in self._part.parts:
            yield _decode(_entries_decoder, _elements(self._data, part))


class StreamReader:
    """Gathers one message of a TCP stream, which has no length in front, within ``max_bytes``.

    Feed with ``receive`` and ``walk`` until ``is_whole``. Then the other methods decode it, a part at a time: nothing
    that a peer sends takes long or much memory at once. Each of them says what it raises.
    """

    def __init__(self, *, is_request: bool, max_bytes: int, values: int = 2) -> None:
        """``values`` is the number of values of an answer; a request says itself how many it has."""
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._outline = None if is_request else Outline(0, values, MAX_REPLY_ENTRIES)

    @property
    def has_begun(self) -> bool:
        """Whether any byte of the message has come."""
        return bool(self._buffer)

    @property
    def is_whole(self) -> bool:
        """Whether the message is complete; bytes behind it do not count."""
        return self._outline is not None and self._outline.whole

    def receive(self, data: bytes) -> None:
        """Keep bytes until the message is whole. Raises ``WireError`` above ``max_bytes`` in all."""
        if len(self._buffer) + len(data) > self._max_bytes:
            raise WireError("a gossip stream longer than allowed")
        self._buffer += data

    def walk(self, most_values: int) -> int:
        """Look at so many more values at most, and return how many there were: fewer if more bytes are needed.

        Raises ``WireError`` for bytes that are not msgpack, or that are neither a join nor a leave.
        """
        if self._outline is None:
            if len(self._buffer) < len(JOIN):
                return 0
            self._outline = Outline(len(JOIN), self._request_values(), MAX_ENTRIES)
        return self._outline.walk(self._buffer, most_values)

    def _request_values(self) -> int:
        if self._buffer.startswith(JOIN):
            return 3
        if self._buffer.startswith(LEAVE):
            return 2
        raise WireError("neither a join nor a leave of version 0")

    @property
    def is_leave(self) -> bool:
        """Whether a request is a leave."""
        return self._buffer.startswith(LEAVE)

    def sender(self) -> tuple[str, str]:
        """Return the sender's ID and address, as the header of a whole message gives them.

        Raises ``WireError`` if the header cannot be read or has no ID, and ``LocalProtocolError`` before ``is_whole``.
        """
        part = self._whole_outline.head
        head = _decode(_header_decoder, self._buffer[part.start : part.end])
        if not head.node_id:
            raise WireError("a message without a sender")
        return head.node_id, head.addr

    def states(self) -> Iterator[ReadState]:
        """Yield the states of a whole message, each without its entries decoded.

        Raises ``WireError`` for a state that cannot be read, and ``LocalProtocolError`` before ``is_whole``.
        """
        for part in self._whole_outline.states:
            yield ReadState(self._buffer, part)

    def digest(self) -> Iterator[tuple[list[DigestEntry], int]]:
        """Yield the digest of a whole join in parts, each with the number of bytes that it took.

        Raises ``WireError`` for a part that cannot be read, and ``LocalProtocolError`` before ``is_whole``.
        """
        for part in self._whole_outline.digest:
            entries = _decode(_digest_entries_decoder, _elements(self._buffer, part))
            yield [each for each in entries if each.id], part.end - part.start

    @property
    def _whole_outline(self) -> Outline:
        if self._outline is None or not self._outline.whole:
            raise LocalProtocolError("a stream's message is not whole yet")
        return self._outline


def _elements(data: bytearray, part: Part) -> bytes:
    """Return some elements of an array as an array of their own."""
    return b"\xdc" + part.count.to_bytes(2, "big") + data[part.start : part.end]


def _decode(decoder: msgspec.msgpack.Decoder[Decoded], data: bytes | bytearray) -> Decoded:
    try:
        return decoder.decode(data)
    except _DECODE_ERRORS as error:
        raise WireError(str(error)) from None
