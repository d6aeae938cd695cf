"""The rounds: what the engine does as time passes, ten times a second."""

from pico_core.entropy import Entropy
from pico_core.gossip.counters import Counters
from pico_core.gossip.failure import FailureDetector, pack_report
from pico_core.gossip.forwarding import ForwardHealth
from pico_core.gossip.keys import SILENT_KEY
from pico_core.gossip.knowledge import Knowledge
from pico_core.gossip.local import LocalKeys
from pico_core.gossip.members import Members
from pico_core.gossip.sending import DatagramSender
from pico_core.gossip.stream_requests import StreamRequests

STALL_ROUNDS = 2.0
"""A round that is later than this means that we did not run, not that the others were silent."""
JOIN_ROUNDS = 5
"""How often to look for addresses to join: it takes a microsecond for each resolved one."""
DEAD_PING_ROUNDS = 10
"""How often one of the unreachable nodes is pinged."""


class Rounds:
    """Holds a round every ``interval_s``. Call ``start``, then ``tick`` when ``due_at`` has come."""

    def __init__(
        self,
        members: Members,
        keys: LocalKeys,
        failure: FailureDetector,
        forwarding: ForwardHealth,
        datagrams: DatagramSender,
        knowledge: Knowledge,
        requests: StreamRequests,
        counters: Counters,
        interval_s: float,
    ) -> None:
        self.due_at: float | None = None
        self._members = members
        self._keys = keys
        self._failure = failure
        self._forwarding = forwarding
        self._datagrams = datagrams
        self._knowledge = knowledge
        self._requests = requests
        self._counters = counters
        self._interval_s = interval_s
        self._count = 0

    def start(self, entropy: Entropy, now: float) -> None:
        """Hold the first round at a random time within an interval."""
        self.due_at = now + self._interval_s * entropy.random()

    def tick(self, now: float) -> None:
        """Hold the next round if it is due."""
        if self.due_at is None or now < self.due_at:
            return
        late_s = now - self.due_at
        is_stalled = late_s > STALL_ROUNDS * self._interval_s
        if is_stalled:
            self._failure.stalled(late_s)
            self.due_at = now
        self.due_at += self._interval_s
        self._count += 1
        for node_id in self._members.expire(now):
            self._forwarding.forget(node_id)
        if self._count % JOIN_ROUNDS == 0:
            self._requests.join(now)
        if not is_stalled:  # else answers wait in the socket
            self._check_silent(now)
            self._report_silent(now)
        if self._count % DEAD_PING_ROUNDS == 0:
            self._ping_dead(now)
        self._knowledge.recheck_heard(now)
        self._requests.repair(now)
        self._gossip(now)

    def _gossip(self, now: float) -> None:
        """Gossip with the next node, first with those that report us as silent. Silent nodes are pinged anyway."""
        members, urgent = self._members, self._knowledge.urgent
        while urgent:
            node_id = next(iter(urgent))
            del urgent[node_id]
            member = members.nodes[node_id]
            if member.host and self._datagrams.begin_round(member, now):
                self._counters.refutations += 1
                return
        for _ in range(1 + members.peers):
            target = members.next_target()
            if target is None:
                return
            if not self._failure.silent_s(target.id, now) and self._datagrams.begin_round(target, now):
                return

    def _check_silent(self, now: float) -> None:
        """Ping silent nodes, and mark those as unreachable that have been silent for too long."""
        findings = self._failure.check(now, self._members.peers, self._members.reporters)
        nodes = self._members.nodes
        for node_id in findings.pings:
            member = nodes[node_id]
            if member.host and self._datagrams.ping(
                member.id, member.addr, member.state.version, member.host, member.port, now
            ):
                member.awaiting_answer = True
        for node_id in findings.unreachable:
            self._knowledge.unreachable(nodes[node_id], "does not answer", now)

    def _report_silent(self, now: float) -> None:
        """Publish the nodes that we find silent, the longest first; then the dead, which others may doubt.

        Among the dead are nodes that a peer still lists, and that we removed, or that never answered us: it may need
        another node's report.
        """
        silent = self._failure.silent_for_long(now)
        silent += [member.id for member in self._members.unreachable_nodes()]
        silent += self._members.heard_before(now - self._failure.report_after_s)
        silent += self._members.removed_but_listed(now)
        if silent or self._keys.value(SILENT_KEY):
            self._keys.set(SILENT_KEY, pack_report(silent), now, internal=True)

    def _ping_dead(self, now: float) -> None:
        """Ping one of the unreachable nodes: a network that was cut may be whole again."""
        dead = self._members.unreachable_nodes()
        if dead:
            member = dead[self._count // DEAD_PING_ROUNDS % len(dead)]
            self._knowledge.recheck(member.id, member, now)
