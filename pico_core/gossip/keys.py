"""The keys of a node's state that mean something to gossip itself. Peers see their text."""

ENDPOINT_PREFIX = "endpoint:"
"""An endpoint ID follows; the value is the number of listeners of that endpoint."""

LEFT_KEY = "_internal:left"
COMPACT_KEY = "_internal:compact"
"""Piko has these two as well; see ``state`` for compaction."""

PICO_KEY = "_internal:pico:version"
"""Present on nodes that understand the additions of Pico: the keys below, and ``after`` in deltas."""
CLAIM_PREFIX = "_internal:pico:endpoint:"
"""An endpoint ID follows; the value has what a node tells of it beside the number of listeners (``server.claims``)."""

MARK_KEY = "_internal:pico:mark"
"""The mark of the owner in proofs to it (``sealing.proofs``); only where gossip is sealed."""
DRAINING_KEY = "_internal:pico:draining"
SILENT_KEY = "_internal:pico:silent"
"""The IDs of the nodes that the owner reports as silent, one a line."""
