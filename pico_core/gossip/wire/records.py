"""The messages of the gossip wire as records, their type bytes, and the bounds of what they hold."""

from typing import Annotated

import msgspec

from pico_core.bounds import MAX_ID_CHARACTERS
from pico_core.errors import RemoteProtocolError

DIGEST = b"\x01\x00"
DELTA = b"\x02\x00"
JOIN = b"\x03\x00"
LEAVE = b"\x04\x00"

MAX_ADDR_CHARACTERS = 255
"""About as long as a name of the DNS may be (RFC 1035 section 2.3.4)."""
MAX_KEY_CHARACTERS = 512
"""An endpoint ID has at most 255 characters; with its prefix it stays well below."""
MAX_VALUE_CHARACTERS = 1024
"""Addresses and claims of endpoints are far shorter."""
MAX_VERSION = 1 << 53
"""Versions count the writes of one process, which never come near. A higher one would be false, and one that the owner
could not go beyond."""

MAX_NODES = 4096
"""In the table of one node, those that were only heard of and the node itself included."""
MAX_ENTRIES = 128_000
"""Per node: the 40,000 live entries and 10,000 tombstones of an owner that is full, once more if it has written all
anew under other names and the compaction is still to come, and room for one that was seen in part."""
MAX_REPLY_ENTRIES = 400_000
"""In the answer to a join: 16 MiB of the shortest entries that any node writes."""

Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]
Addr = Annotated[str, msgspec.Meta(max_length=MAX_ADDR_CHARACTERS)]
EntryKey = Annotated[str, msgspec.Meta(max_length=MAX_KEY_CHARACTERS)]
EntryValue = Annotated[str, msgspec.Meta(max_length=MAX_VALUE_CHARACTERS)]
Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_VERSION)]


class WireError(RemoteProtocolError):
    """Bytes that are not gossip, or are above the bounds of this module. Nothing was taken from them."""


class DigestEntry(msgspec.Struct, frozen=True, gc=False):
    """The sender's knowledge of one node: its address, the version that the sender holds, and whether it left."""

    id: Id = ""
    addr: Addr = ""
    version: Version = 0
    left: bool = False


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One key of one node's state, stamped by its owner with the version of the write."""

    key: EntryKey = ""
    value: EntryValue = ""
    version: Version = 0
    internal: bool = False
    deleted: bool = False


class NodeDelta(msgspec.Struct, frozen=True):
    """Entries of one node in the order of their versions. ``after`` is the version they follow on, if it is known."""

    id: str
    addr: str
    entries: list[Entry]
    after: int | None = None


class Digest(msgspec.Struct, frozen=True):
    """A datagram that lists nodes with their versions; ``request`` asks for the receiver's digest in return."""

    node_id: str
    addr: str
    request: bool
    entries: list[DigestEntry]


class Delta(msgspec.Struct, frozen=True):
    """A datagram with entries of nodes, each newer than the version that the receiver listed."""

    node_id: str
    addr: str
    nodes: list[NodeDelta]


class FullState(msgspec.Struct, frozen=True):
    """A node with its entries, as streams carry it."""

    id: Id = ""
    addr: Addr = ""
    entries: list[Entry] | None = None
