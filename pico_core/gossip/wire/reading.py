"""Bytes to gossip messages.

A datagram is read in two steps. First the number of whole values is found: guessed from the names of keys, or, when the
guess was wrong or the datagram was cut, by walking over them. Then an array header with that number is put in front
and ``msgspec`` decodes everything at once, half a microsecond per entry. Bytes that cannot be read raise ``WireError``.
"""

from typing import Annotated, TypeVar

import msgspec

from pico_core.gossip.wire.records import (
    DELTA,
    DIGEST,
    JOIN,
    LEAVE,
    Addr,
    Delta,
    Digest,
    DigestEntry,
    Entry,
    FullState,
    Id,
    Join,
    JoinReply,
    Key,
    Leave,
    NodeDelta,
    Value,
    Version,
    WireError,
)
from pico_core.gossip.wire.walker import Walker

Item = TypeVar("Item")


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
    key: Key = ""
    value: Value = ""
    version: Version = 0
    internal: bool = False
    deleted: bool = False


_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_digest_decoder = msgspec.msgpack.Decoder(list[_DigestItem])
_delta_decoder = msgspec.msgpack.Decoder(list[_DeltaItem])
_join_decoder = msgspec.msgpack.Decoder(tuple[_Header, list[FullState] | None, list[DigestEntry] | None])
_states_decoder = msgspec.msgpack.Decoder(tuple[_Header, list[FullState] | None])


def decode_datagram(data: bytes) -> Digest | Delta:
    """Return the message of one datagram. It may be cut anywhere: the whole values count. Raises ``WireError``."""
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


class StreamReader:
    """Gathers one message of a TCP stream, which has no length in front, within ``max_bytes``.

    Feed with ``receive`` until it returns true; then ``request`` or ``join_reply`` reads the message.
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
