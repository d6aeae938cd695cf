"""The outputs of the gossip engine: requests to the node that embeds it, and events. Datagrams are ``SendDatagram``."""

from typing import TypeAlias

from pico_core.boundary import SendDatagram
from pico_core.records import Record

LISTENER = "gossip"
"""The name of the datagram listener that the embedding node opens for gossip; every ``SendDatagram`` has it."""


class Lookup(Record, frozen=True, gc=False):
    """Look up the addresses of a name within ``timeout_s``. Next: ``Gossip.resolved`` with the same name, once."""

    name: str
    timeout_s: float


class StreamRequest(Record, frozen=True, gc=False):
    """Open a TCP connection, send ``data``, and read the answer, all within ``timeout_s``.

    Next: ``Gossip.stream_received`` with the bytes that come until it returns true, then close the connection; or
    ``Gossip.stream_failed`` once, if it could not be opened, ended early or took too long.
    """

    number: int
    host: str
    port: int
    data: bytes
    timeout_s: float


class SendStreamData(Record, frozen=True, gc=False):
    """Send more on the connection of a ``StreamRequest``, after its ``data``."""

    number: int
    data: bytes


class SealRefused(Record, frozen=True, gc=False):
    """A message that ``host`` sealed does not open: ``problem`` is one of few clauses, and names the key to look at."""

    host: str
    problem: str


class NodeJoined(Record, frozen=True, gc=False):
    """A node is known now and counts as active. Its keys follow as ``NodeUpdated``."""

    node_id: str
    addr: str


class AddressRefused(Record, frozen=True, gc=False):
    """A node on another host gives as its own an address that means this host: it is not taken for a member.

    Told once for each node ID.
    """

    node_id: str
    addr: str


class NodeUpdated(Record, frozen=True, gc=False):
    """A node's key has a new value, or was deleted (``None``): ``proxy_addr``, ``admin_addr``, ``endpoint:<id>``.

    Of the internal keys only ``_internal:pico:endpoint:<id>`` is told.
    """

    node_id: str
    key: str
    value: str | None


class NodeDraining(Record, frozen=True, gc=False):
    """A node began to drain, or ceased to: choose others as soon as they can serve."""

    node_id: str
    draining: bool


class NodeUnreachable(Record, frozen=True, gc=False):
    """A node counts as dead: do not route to it. ``reason`` is one readable clause."""

    node_id: str
    reason: str


class NodeReachable(Record, frozen=True, gc=False):
    """An unreachable node answered again, or a new process has the ID of one that left."""

    node_id: str


class NodeLeft(Record, frozen=True, gc=False):
    """A node announced that it leaves: do not route to it."""

    node_id: str


class NodeForgotten(Record, frozen=True, gc=False):
    """An unreachable or left node was removed from the tables. If it answers again, it joins anew."""

    node_id: str


class LeaveDone(Record, frozen=True, gc=False):
    """``Gossip.leave`` has told ``told`` nodes over TCP and has nothing more to do: the node may exit."""

    told: int


Event: TypeAlias = (
    SealRefused
    | NodeJoined
    | AddressRefused
    | NodeUpdated
    | NodeDraining
    | NodeUnreachable
    | NodeReachable
    | NodeLeft
    | NodeForgotten
    | LeaveDone
)
Output: TypeAlias = SendDatagram | Lookup | StreamRequest | SendStreamData | Event
