"""Gossip messages to bytes."""

from pico_core.gossip.wire.records import DELTA, DIGEST, JOIN, LEAVE, Entry

MAX_EMPTY_ENTRY_BYTES = 56
"""Of an entry without its key and value: 39 for the names and flags, 9 for the version, 3 for each length."""


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
    """Return a number as Go writes its ``int``: above 127 as a signed one of 16 or 32 bits."""
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
    """Return one entry of a digest as MessagePack: a node, its address, the version that is known of it."""
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


def most_entry_bytes(entry: Entry) -> int:
    """Return a bound of the length of ``pack_entry``, faster than that."""
    characters = len(entry.key) + len(entry.value)
    is_ascii = entry.key.isascii() and entry.value.isascii()
    return MAX_EMPTY_ENTRY_BYTES + (characters if is_ascii else 4 * characters)


def pack_state(node_id: str, addr: str, count: int) -> bytes:
    """Return the start of one node, as streams carry it; ``count`` packed entries follow."""
    head = b"\x83\xa2id" + pack_text(node_id) + b"\xa4addr" + pack_text(addr) + b"\xa7entries"
    return head + _pack_array_head(count)


def join_request(node_id: str, addr: str, state: bytes, digest: list[bytes]) -> bytes:
    """Return a join request from our packed state and the packed entries of our digest."""
    head = _pack_sender(JOIN + b"\x82", node_id, addr)
    return b"".join((head, b"\x91", state, _pack_array_head(len(digest)), *digest))


def join_reply_head(node_id: str, addr: str, count: int) -> bytes:
    """Return the start of the answer to a join; ``count`` packed states follow, each with its entries."""
    return _pack_sender(b"\x82", node_id, addr) + _pack_array_head(count)


def leave_request(node_id: str, addr: str, state: bytes) -> bytes:
    """Return a leave message from our packed state."""
    return _pack_sender(LEAVE + b"\x82", node_id, addr) + b"\x91" + state


def leave_reply(node_id: str, addr: str) -> bytes:
    """Return the answer to a leave message: a header with our ID and address, and nothing else."""
    return _pack_sender(b"\x82", node_id, addr)
