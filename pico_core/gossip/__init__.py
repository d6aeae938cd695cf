"""Cluster membership and endpoints by gossip. Start with ``machine``; ``docs/gossip.md`` has the protocol."""
