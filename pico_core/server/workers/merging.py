"""The documents and metrics of several nodes as one."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pico_core.server.admin.agents import AGENTS_LISTED, Agents
from pico_core.server.admin.status import FAILURES_LISTED
from pico_core.server.stories import Story


def merged_metrics(texts: Mapping[int, bytes]) -> bytes:
    """Return the exposition of several workers as one: each sample with the label ``worker``, each family once."""
    families: dict[bytes, list[bytes]] = {}
    for number, text in texts.items():
        own = b'worker="%d"' % number
        samples: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                samples = families.setdefault(line, [])
            elif line.startswith(b"#"):
                if not samples:
                    samples.append(line)
            else:
                samples.append(_labelled(line, own))
    return b"".join(b"%b\n%b\n" % (head, b"\n".join(lines)) for head, lines in families.items())


def _labelled(sample: bytes, label: bytes) -> bytes:
    """Return a sample of our own exposition with one label more: a name ends at the first brace or blank."""
    name, brace, rest = sample.partition(b"{")
    if brace and b" " not in name:
        return b"%b{%b,%b" % (name, label, rest)
    name, _, value = sample.partition(b" ")
    return b"%b{%b} %b" % (name, label, value)


def merged_counts(documents: Sequence[bytes]) -> bytes:
    """Return maps from a name to a number as one, with the sums."""
    return msgspec.json.encode(dict(sorted(_sums(msgspec.json.decode(each) for each in documents).items())))


def merged_agents(documents: Sequence[bytes]) -> bytes:
    """Return lists of tunnels as one, in the order of their endpoints."""
    found = [msgspec.json.decode(each, type=Agents) for each in documents]
    rows = sorted((row for each in found for row in each.rows), key=lambda row: (row.endpoint, row.agent, -row.open_s))
    return msgspec.json.encode(Agents(sum(each.count for each in found), rows[:AGENTS_LISTED]))


def merged_failures(documents: Sequence[bytes]) -> bytes:
    """Return lists of failed requests as one, the last one first."""
    found = [story for each in documents for story in msgspec.json.decode(each, type=list[Story])]
    return msgspec.json.encode(_latest(found, FAILURES_LISTED))


def _sums(maps: Iterable[Mapping[str, int]]) -> dict[str, int]:
    result: dict[str, int] = {}
    for each in maps:
        for name, count in each.items():
            result[name] = result.get(name, 0) + count
    return result


def _latest(stories: list[Story], most: int) -> list[Story]:
    return sorted(stories, key=lambda story: -story.at_s)[:most]
