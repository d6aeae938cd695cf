"""The counters of the engine, for metrics."""

import msgspec


class Counters(msgspec.Struct):
    """Totals since the start, by the names that the metrics have."""

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
    unsealed: int = 0
    """Datagrams and streams of nodes without a key, where this one has one; they were not read."""
    seals_refused: int = 0
    """Datagrams and streams that do not open: altered, forged, or sealed with a key that this node does not have."""
    seals_for_others: int = 0
    """Sealed datagrams that name another process as their receiver, or none: each was answered by a hello."""
    replays_refused: int = 0
    """Sealed datagrams that came a second time, or back to their sender."""
    datagrams_refused: int = 0
    """Datagrams that were not read: too large, or more than their source may send."""
    withheld: int = 0
    """Datagrams that were not sent, since their address has not answered and sent less itself."""
    own_name: int = 0
    """Messages under our own node ID: from ourselves, or from another process with the same ID."""
    gaps_refused: int = 0
    """Deltas that would have left a gap."""
    strangers_refused: int = 0
    """Deltas from addresses that have not answered, about nodes that we do not know, such as removed ones, or with
    versions that only the node itself may tell."""
    nodes_refused: int = 0
    """Nodes above the size of the table, or with an unusable name or address."""
    entries_refused: int = 0
    """Deltas cut short by the memory bounds."""
    name_conflicts: int = 0
    """Times that the writes of a former process under our node ID were superseded."""
    versions_withdrawn: int = 0
    """Times that the entries of a node went, since it showed a lower version itself and could not go beyond theirs."""
    syncs: int = 0
    """Repairs over TCP."""
    refutations: int = 0
    """Rounds moved forward because another node reported us as silent."""
