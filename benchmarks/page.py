"""The page with the results: a table and a chart for each case, with its conditions and its command."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import Case, figure

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BAR_CHARACTERS = 40

HEAD = """\
# Performance

`python -m benchmarks --page` wrote this page. Each figure is the median of rounds in which all subjects of its table
took turns, with ratios to references of the same rounds. `fixed reply` is a server that answers every read with the
same bytes; `nginx` and `haproxy` are reverse proxies before the same service as Pico. A load average above that of the
run itself says that the machine did other work too: then the ratios say more than the figures. Each table names the
command that repeats it.
"""


SHORT = """\
These are short runs: few rounds of a second, to show what the suite writes. Figures to rely on want a quiet machine,
and no `--short`.
"""


def as_page(cases: Sequence[Case]) -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    if any("--short" in case.command for case in cases):
        parts.append(SHORT)
    group = ""
    for case in cases:
        if case.group != group:
            group = case.group
            parts.append(f"## {group}\n")
        parts.append(section(case))
    return "\n".join(parts)


def section(case: Case) -> str:
    """Return the part of one case: conditions, table, chart, command."""
    ratios = {subject: case.ratios(subject) for subject in case.values}
    columns = [each for each in case.references if any(each in found for found in ratios.values())]
    columns += sorted({each for found in ratios.values() for each in found if each not in case.references})
    rows = [["", case.unit, "least", *(f"x {each}" for each in columns)]]
    middles = case.middles()
    for subject, middle in middles.items():
        cells = [f"{ratios[subject][each]:.2f}" if each in ratios[subject] else "" for each in columns]
        rows.append([subject, figure(middle), figure(min(case.values[subject])), *cells])
    table = ["| " + " | ".join(row) + " |" for row in rows]
    table.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(
        [f"### {case.group}: {case.name}\n", f"{case.about()}.\n", *table, "", "```text", *bars(middles), "```\n",
         f"Again: `{case.command}`\n"]
    )  # fmt: skip


def bars(middles: dict[str, float]) -> list[str]:
    """Return a bar for each figure, in proportion to the largest."""
    largest = max(middles.values(), default=0) or 1
    width = max(map(len, middles), default=0)
    return [
        f"{subject:{width}} {'#' * max(1, round(BAR_CHARACTERS * middle / largest))} {figure(middle)}"
        for subject, middle in middles.items()
    ]
