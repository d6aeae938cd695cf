"""Cluster membership and endpoints by gossip."""
