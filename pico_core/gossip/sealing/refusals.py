"""Why a message does not open, in the words that the operator reads: each says which key of which node to look at."""

from pico_core.gossip.wire.records import WireError

NO_KEY_THERE = "a node without a gossip key sends here: set cluster.gossip.keys there too"
NO_KEY_HERE = "a node with a gossip key sends here: set cluster.gossip.keys of this node too"
OTHER_KEY = "a node with another gossip key sends here: compare cluster.gossip.keys of both"
ALTERED = "gossip does not open with its key: it was altered on its way, or is forged"


class SealError(WireError):
    """A stream that does not open. ``answer`` is what tells the peer which key we have."""

    def __init__(self, problem: str, answer: bytes = b"") -> None:
        super().__init__(problem)
        self.answer = answer
