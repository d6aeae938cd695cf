"""Gossip under a key: packets (``packets``), streams (``streams``) and proofs (``proofs``), all made of ``keys``.

Nodes that hold a key of the cluster read and write; all others can neither read, nor alter, nor repeat. The layouts are
in ``docs/gossip.md``, the reasons in ``docs/decisions/gossip-key.md``.
"""
