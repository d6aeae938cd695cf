"""Which nodes are silent, since when, and which others report it: the evidence behind ``unreachable``.

Every gossip round is a probe, because the peer must answer it. A node is *silent* from the first unanswered probe on,
and is then pinged every ``ROUNDS_PER_PING`` rounds. Any answer ends the silence. A request does not, because it does
not prove that the other side receives what we send. Each node is probed about ten times a second by some node, however
many nodes there are, so the first to notice a crash does so at once. A node that is silent for ``report_after_s`` is
*reported*: its ID goes into an internal key of the reporter's own state, which gossip spreads like everything else. A
node that reads a report pings the reported node at once, and thus soon has evidence of its own.

A node is unreachable when two things are true: our own pings are unanswered for ``unreachable_after_s``, and one other
node reports it too. Our own evidence is enough in two cases. No other node could report it: a cluster of two, or with
Piko nodes, which do not know the key. Or none has after ten times as long: the others have removed the node already, or
only our link to it is cut. A reported node refutes by answering pings, as Piko's nodes do too.

Two rules keep a slow node from reporting the others (Lifeguard, Dadgar et al. 2018). Time in which we ourselves did not
run does not count as the others' silence. And when no node at all answers, we are the likelier cause and wait longer.
"""

MAX_REPORTED_CHARACTERS = 512
"""Of all node IDs that one report names."""
MAX_REPORTED = 32
"""The report of one node fits into one packet; after a great failure, each survivor reports other nodes."""
ROUNDS_PER_PING = 2
ROUNDS_UNTIL_REPORTED = 10
"""Five unanswered probes: at 5 % loss one round in two million leads to a false report, at 25 % one in 400."""
ROUNDS_UNTIL_UNREACHABLE = 28
"""Longer than the pauses of a process held by a CPU limit, and within 5 s of a crash together with the rest."""
ROUNDS_BETWEEN_LATE_PINGS = 10
"""For nodes that only we cannot reach: the link is cut, the node is not dead."""
UNCONFIRMED_FACTOR = 10
"""How much longer we wait when others could report the node and do not."""
ISOLATION_FACTOR = 2
"""How much longer we wait when no other node answers either."""


class _Silence:
    __slots__ = ("began_at", "ping_at")

    def __init__(self, began_at: float, ping_at: float) -> None:
        self.began_at = began_at
        self.ping_at = ping_at


class Findings:
    """The result of ``FailureDetector.check``: the nodes to ping, and the nodes found unreachable."""

    __slots__ = ("pings", "unreachable")

    def __init__(self) -> None:
        self.pings: list[str] = []
        self.unreachable: list[str] = []


class FailureDetector:
    """Evidence about the nodes that count as active. Node IDs in, findings out; times in seconds.

    Call ``probed`` and ``answered`` as datagrams go and come, ``reported`` when a node's report changes, ``check``
    every round, and ``forget`` for nodes that are not active any more.
    """

    def __init__(self, interval_s: float) -> None:
        self._ping_interval_s = ROUNDS_PER_PING * interval_s
        self._late_ping_interval_s = ROUNDS_BETWEEN_LATE_PINGS * interval_s
        self.report_after_s = ROUNDS_UNTIL_REPORTED * interval_s
        self.unreachable_after_s = ROUNDS_UNTIL_UNREACHABLE * interval_s
        self._silences: dict[str, _Silence] = {}
        self._reports: dict[str, tuple[str, ...]] = {}
        self._reporters_of: dict[str, dict[str, None]] = {}

    def probed(self, node_id: str, now: float) -> None:
        """A datagram that must be answered went to ``node_id``."""
        if node_id not in self._silences:
            self._silences[node_id] = _Silence(now, now + self._ping_interval_s)

    def suspected(self, node_id: str, now: float) -> None:
        """There is reason to ping ``node_id`` in this round."""
        if node_id not in self._silences:
            self._silences[node_id] = _Silence(now, now)

    def answered(self, node_id: str) -> None:
        """``node_id`` answered: its silence is over, however long it was."""
        self._silences.pop(node_id, None)

    def forget(self, node_id: str) -> None:
        """``node_id`` is not active any more: drop our evidence, and its report about others."""
        self._silences.pop(node_id, None)
        self.reported(node_id, ())

    def stalled(self, stall_s: float) -> None:
        """We ourselves did not run for so long."""
        for silence in self._silences.values():
            silence.began_at += stall_s
            silence.ping_at += stall_s

    def silent_s(self, node_id: str, now: float) -> float:
        """Return for how long ``node_id`` has not answered."""
        silence = self._silences.get(node_id)
        return 0.0 if silence is None else now - silence.began_at

    def reported(self, reporter: str, silent: tuple[str, ...]) -> list[str]:
        """Replace the report of ``reporter``; return the nodes that it did not report before."""
        before = self._reports.pop(reporter, ())
        for node_id in before:
            reporters = self._reporters_of[node_id]
            del reporters[reporter]
            if not reporters:
                del self._reporters_of[node_id]
        if silent:
            self._reports[reporter] = silent
        for node_id in silent:
            self._reporters_of.setdefault(node_id, {})[reporter] = None
        return [each for each in silent if each not in before]

    def is_reported(self, node_id: str) -> bool:
        """Return whether an active node reports ``node_id`` as silent or dead."""
        return node_id in self._reporters_of

    def silent_for_long(self, now: float) -> list[str]:
        """Return the nodes that we report, the longest silent first."""
        due = [(each.began_at, node_id) for node_id, each in self._silences.items() if self._is_reportable(each, now)]
        due.sort()
        return [node_id for _, node_id in due]

    def _is_reportable(self, silence: _Silence, now: float) -> bool:
        return now - silence.began_at >= self.report_after_s

    def check(self, now: float, peers: int, reporters: dict[str, None]) -> Findings:
        """Return the nodes to ping now, and those that are unreachable.

        ``peers`` is the number of active nodes besides us; ``reporters`` those among them that publish reports.
        """
        findings = Findings()
        if not self._silences:
            return findings
        unreachable_after_s = self.unreachable_after_s
        if peers > 1 and sum(self._is_reportable(each, now) for each in self._silences.values()) == peers:
            unreachable_after_s *= ISOLATION_FACTOR
        for node_id, silence in self._silences.items():
            silent_s = now - silence.began_at
            is_overdue = silent_s >= UNCONFIRMED_FACTOR * unreachable_after_s
            if silent_s >= unreachable_after_s and (is_overdue or self._is_confirmed(node_id, reporters, now)):
                findings.unreachable.append(node_id)
            elif silence.ping_at <= now:
                is_late = silent_s >= self.unreachable_after_s
                silence.ping_at = now + (self._late_ping_interval_s if is_late else self._ping_interval_s)
                findings.pings.append(node_id)
        return findings

    def _is_confirmed(self, node_id: str, reporters: dict[str, None], now: float) -> bool:
        """Return whether another node reports ``node_id``, or no other node could."""
        if self.is_reported(node_id):
            return True
        for reporter in reporters:
            silence = self._silences.get(reporter)
            if reporter != node_id and (silence is None or not self._is_reportable(silence, now)):
                return False
        return True


def pack_report(node_ids: list[str]) -> str:
    """Return the value of the key with the report: as many IDs as fit."""
    taken: list[str] = []
    room = MAX_REPORTED_CHARACTERS
    for node_id in node_ids[:MAX_REPORTED]:
        room -= len(node_id) + 1
        if room < 0:
            break
        taken.append(node_id)
    return "\n".join(taken)


def unpack_report(value: str) -> tuple[str, ...]:
    """Return the IDs in the value of a key with a report."""
    return tuple(dict.fromkeys(each for each in value.split("\n")[:MAX_REPORTED] if each))
