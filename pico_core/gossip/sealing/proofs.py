"""Proofs between nodes on ports other than gossip's: the first request on a connection has one, each is taken once.

A node draws a random *mark* and gossips it, sealed. A proof names the marks of sender and receiver and a number that
the sender uses once. So it is worth nothing to another node, to a later process of the same node, or a second time.
"""

import hmac
import re

from pico_core.entropy import Entropy
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.window import Window
from pico_core.gossip.wire.records import MAX_NODES

MARK_BYTES = 16
"""Random: no two starts of a node have the same mark, so no proof is taken twice."""
MAX_SENDERS = 2 * MAX_NODES
"""Senders whose numbers are remembered; beyond it the node takes another mark, which voids all proofs for the old."""

_PROOF = re.compile(rb"([0-9a-f]{32})-([0-9]{1,15})-([0-9a-f]{32})")


class Proofs:
    """The proofs that a node makes and takes. ``mark`` is the one to gossip; look again after each ``takes``."""

    def __init__(self, keyring: Keyring, entropy: Entropy) -> None:
        self._keyring = keyring
        self._entropy = entropy
        self._count = 0
        self._senders: dict[bytes, Window] = {}
        self._begin()

    def _begin(self) -> None:
        self.mark = f"{self._entropy.getrandbits(8 * MARK_BYTES):0{2 * MARK_BYTES}x}"
        self._senders.clear()

    def make(self, receiver: str) -> bytes:
        """Return the proof for the node with the mark ``receiver``."""
        self._count += 1
        claim = b"%b-%d" % (self.mark.encode(), self._count)
        return b"%b-%b" % (claim, self._keyring.first.proof(_text(claim, receiver)).hex().encode())

    def takes(self, proof: bytes) -> bool:
        """Return whether a holder of the key made ``proof`` for this process, and it was not taken before."""
        match = _PROOF.fullmatch(proof)
        if match is None:
            return False
        sender, number, code = match.groups()
        text = _text(proof[: match.end(2)], self.mark)
        if not any(hmac.compare_digest(key.proof(text).hex().encode(), code) for key in self._keyring.by_id.values()):
            return False
        window = self._senders.get(sender)
        if window is None:
            if len(self._senders) >= MAX_SENDERS:
                self._begin()
            window = self._senders[sender] = Window()
        return window.take(int(number))


def _text(claim: bytes, receiver: str) -> bytes:
    return b"%b for %b" % (claim, receiver.encode())
