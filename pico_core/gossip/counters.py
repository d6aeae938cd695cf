"""What the engine counts for metrics, and what it shows of its tables."""

import msgspec


class Counters(msgspec.Struct):
    """Totals since the start; names as the metrics have them, then what was refused or repaired."""

    packet_bytes_inbound: int = 0
    packet_bytes_outbound: int = 0
    digest_entries_inbound: int = 0
    digest_entries_outbound: int = 0
    delta_entries_inbound: int = 0
    delta_entries_outbound: int = 0
    connections_inbound: int = 0
    connections_outbound: int = 0
    stream_bytes_inbound: int = 0
    stream_bytes_outbound: int = 0
    malformed: int = 0
    """Datagrams and streams that could not be read."""
    own_name: int = 0
    """Messages that came under our own node ID: ourselves, or another process that should not have it."""
    gaps_refused: int = 0
    """Deltas that would have left a gap."""
    strangers_refused: int = 0
    """Deltas about nodes we do not know, such as late ones about forgotten nodes."""
    nodes_refused: int = 0
    """Nodes above the size of the table or with an unusable name."""
    entries_refused: int = 0
    """Deltas cut short by the memory bounds, and own writes above them."""
    name_conflicts: int = 0
    """How often a former process of our name was outlived."""
    syncs: int = 0
    """Repairs over TCP."""
    refutations: int = 0
    """Rounds moved forward because somebody called us silent."""


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
