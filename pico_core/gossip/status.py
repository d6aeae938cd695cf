"""The status of a node, and the row that the engine shows of each."""

from enum import Enum

import msgspec


class NodeStatus(Enum):
    """The status of a node in the cluster, by the names that operators see; ``members`` has the table of changes."""

    ACTIVE = "active"
    UNREACHABLE = "unreachable"
    LEFT = "left"


class NodeSnapshot(msgspec.Struct, frozen=True):
    """One row of ``/status/gossip/nodes``."""

    id: str
    addr: str
    status: str
    version: int
    entries: int
    draining: bool
    silent_s: float
    local: bool
