"""Cluster membership and endpoints by gossip. Start with ``engine``; ``docs/gossip.md`` has the protocol."""
