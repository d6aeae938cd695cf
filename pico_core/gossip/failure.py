"""Who is silent, who else says so, and since when: the evidence behind ``unreachable``.

Every gossip round is a probe, because the peer must answer it. A node that owes an answer is *silent* from the first
unanswered probe on, and is then pinged every ``ping_interval_s``. Any answer ends the silence; a request does not,
because it does not prove that the other side hears us. Each node is probed about ten times a second by somebody,
however many nodes there are, so the first to notice a crash does so at once, and tells: a node that was silent for
``accuse_after_s`` is *accused* in an internal key of the accuser's own state, which gossip spreads like everything
else. Whoever reads it pings the accused at once, and thus soon has evidence of its own.

A verdict needs both: our own unanswered pings for ``verdict_after_s``, and one other node that accuses. If nobody else
could accuse (a cluster of two, or with Piko nodes, which do not know the key), or nobody has after ten times as long
(the others have buried the node already, or only our link to it is cut), our own evidence is enough. An accused node
refutes by answering pings, which every implementation does.

Two things keep a sick node from blaming the others (Lifeguard, Dadgar et al. 2018). Time in which we ourselves did not
run does not count as the others' silence. And when nobody at all answers, we are the likelier culprit and wait longer.
"""

MAX_ACCUSED_CHARACTERS = 512
MAX_ACCUSED = 32
"""What one node says of others fits into one packet; after a great failure, each survivor names other victims."""
ROUNDS_PER_PING = 2
ROUNDS_UNTIL_ACCUSED = 10
"""Five unanswered probes: at 5 % loss one round in two million leads to a false one, at 25 % one in 400."""
ROUNDS_UNTIL_VERDICT = 28
"""Longer than the pauses of a process held by a CPU limit, and within 5 s of a crash together with the rest."""
ROUNDS_BETWEEN_LATE_PINGS = 10
"""For nodes that we alone cannot reach: the link is cut, not the node dead."""
LONE_FACTOR = 10
"""How much longer we wait when others could accuse and do not."""
ISOLATION_FACTOR = 2
"""How much longer we wait when no other node answers either."""


class _Silence:
    __slots__ = ("began_at", "ping_at")

    def __init__(self, began_at: float, ping_at: float) -> None:
        self.began_at = began_at
        self.ping_at = ping_at


class Findings:
    """What ``FailureDetector.check`` asks for: nodes to ping, and nodes found unreachable."""

    __slots__ = ("pings", "verdicts")

    def __init__(self) -> None:
        self.pings: list[str] = []
        self.verdicts: list[str] = []


class FailureDetector:
    """Evidence about the nodes that count as active. Node IDs in, findings out; times in seconds.

    Call ``probed`` and ``answered`` as datagrams go and come, ``accusations`` when a node's accusing key changes,
    ``check`` every round, and ``forget`` for nodes that are active no more.
    """

    def __init__(self, interval_s: float) -> None:
        self._ping_interval_s = ROUNDS_PER_PING * interval_s
        self._late_ping_interval_s = ROUNDS_BETWEEN_LATE_PINGS * interval_s
        self.accuse_after_s = ROUNDS_UNTIL_ACCUSED * interval_s
        self.verdict_after_s = ROUNDS_UNTIL_VERDICT * interval_s
        self._silences: dict[str, _Silence] = {}
        self._accused_by: dict[str, tuple[str, ...]] = {}
        self._accusers: dict[str, dict[str, None]] = {}

    def probed(self, node_id: str, now: float) -> None:
        """A datagram that must be answered went to ``node_id``."""
        if node_id not in self._silences:
            self._silences[node_id] = _Silence(now, now + self._ping_interval_s)

    def suspected(self, node_id: str, now: float) -> None:
        """There is reason to ping ``node_id`` in this round."""
        silence = self._silences.get(node_id)
        if silence is None:
            self._silences[node_id] = _Silence(now, now)

    def answered(self, node_id: str) -> None:
        """``node_id`` answered."""
        self._silences.pop(node_id, None)

    def forget(self, node_id: str) -> None:
        """``node_id`` is not active any more: drop our evidence, and what it said about others."""
        self._silences.pop(node_id, None)
        self.accusations(node_id, ())

    def stalled(self, stall_s: float) -> None:
        """We ourselves did not run for so long."""
        for silence in self._silences.values():
            silence.began_at += stall_s
            silence.ping_at += stall_s

    def silent_s(self, node_id: str, now: float) -> float:
        """Return for how long ``node_id`` owes an answer."""
        silence = self._silences.get(node_id)
        return 0.0 if silence is None else now - silence.began_at

    def accusations(self, accuser: str, accused: tuple[str, ...]) -> list[str]:
        """Replace what ``accuser`` says; return those it did not accuse before."""
        before = self._accused_by.pop(accuser, ())
        for node_id in before:
            accusers = self._accusers[node_id]
            del accusers[accuser]
            if not accusers:
                del self._accusers[node_id]
        if accused:
            self._accused_by[accuser] = accused
        for node_id in accused:
            self._accusers.setdefault(node_id, {})[accuser] = None
        return [each for each in accused if each not in before]

    def silent_for_long(self, now: float) -> list[str]:
        """Return the nodes that we accuse, longest silence first."""
        due = [(each.began_at, node_id) for node_id, each in self._silences.items() if self._is_accusable(each, now)]
        due.sort()
        return [node_id for _, node_id in due]

    def _is_accusable(self, silence: _Silence, now: float) -> bool:
        return now - silence.began_at >= self.accuse_after_s

    def check(self, now: float, peers: int, voters: dict[str, None]) -> Findings:
        """Return who is to be pinged now and who is unreachable.

        ``peers`` is the number of active nodes besides us; ``voters`` those among them that publish accusations.
        """
        findings = Findings()
        if not self._silences:
            return findings
        verdict_after_s = self.verdict_after_s
        if peers > 1 and sum(self._is_accusable(each, now) for each in self._silences.values()) == peers:
            verdict_after_s *= ISOLATION_FACTOR
        for node_id, silence in self._silences.items():
            silent_s = now - silence.began_at
            is_overdue = silent_s >= LONE_FACTOR * verdict_after_s
            if silent_s >= verdict_after_s and (is_overdue or self._is_confirmed(node_id, voters, now)):
                findings.verdicts.append(node_id)
            elif silence.ping_at <= now:
                is_late = silent_s >= self.verdict_after_s
                silence.ping_at = now + (self._late_ping_interval_s if is_late else self._ping_interval_s)
                findings.pings.append(node_id)
        return findings

    def _is_confirmed(self, node_id: str, voters: dict[str, None], now: float) -> bool:
        """Return whether somebody else accuses ``node_id``, or nobody else could."""
        if node_id in self._accusers:
            return True
        for voter in voters:
            silence = self._silences.get(voter)
            if voter != node_id and (silence is None or not self._is_accusable(silence, now)):
                return False
        return True


def pack_accusations(node_ids: list[str]) -> str:
    """Return the value of the accusing key: as many IDs as fit."""
    taken: list[str] = []
    room = MAX_ACCUSED_CHARACTERS
    for node_id in node_ids[:MAX_ACCUSED]:
        room -= len(node_id) + 1
        if room < 0:
            break
        taken.append(node_id)
    return "\n".join(taken)


def unpack_accusations(value: str) -> tuple[str, ...]:
    """Return the IDs in the value of an accusing key."""
    return tuple(dict.fromkeys(each for each in value.split("\n")[:MAX_ACCUSED] if each))
