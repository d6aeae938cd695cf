"""Whether this node can forward to another one now: local, direct and fast. It says nothing about membership.

After a failed attempt we avoid the node for a moment that doubles with each failure in a row; a success ends that.
Avoided nodes are the last choice, not forbidden: if no other can serve, try them.
"""

AVOID_S = 1.0
"""After the first failure; each further one doubles it, up to ``MAX_AVOID_S``."""
MAX_AVOID_S = 10.0
"""A node that is up again is tried after this at the latest; gossip finds dead nodes long before."""


class _Failures:
    __slots__ = ("avoid_until_at", "count")

    def __init__(self) -> None:
        self.count = 0
        self.avoid_until_at = 0.0


class ForwardHealth:
    """Outcomes of forwarding, by node ID. Call ``forget`` for nodes that were removed."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failures] = {}

    def failed(self, node_id: str, now: float) -> None:
        """A connection or request to the node failed, and the node was the cause."""
        failures = self._failures.setdefault(node_id, _Failures())
        if now >= failures.avoid_until_at:
            failures.avoid_until_at = now + min(AVOID_S * 2.0 ** min(failures.count, 10), MAX_AVOID_S)
            failures.count += 1

    def succeeded(self, node_id: str) -> None:
        """The node served a request: forget its failures, so that it is not avoided any more."""
        self._failures.pop(node_id, None)

    def forget(self, node_id: str) -> None:
        """Forget the failures of a node that was removed."""
        self._failures.pop(node_id, None)

    def is_avoided(self, node_id: str, now: float) -> bool:
        """Return whether other nodes are better choices now."""
        failures = self._failures.get(node_id)
        return failures is not None and now < failures.avoid_until_at
