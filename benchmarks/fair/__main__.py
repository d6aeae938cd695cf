"""What honest clients notice while others send hostile or heavy loads. Real processes on loopback; Linux.

A row is one load. Before it, honest clients send a few requests a second for 2 s; then the load comes and they go on:
to another endpoint, to the endpoint under load where the load has one, to /health, and straight to a service without
Pico, which shows what the machine itself takes. Times are in ms. With two nodes, clients talk to the first, and the
tunnels are at the second. A broken limit is printed, and makes the exit code 1.

Run: python -m benchmarks.fair [--row NAME,...] [--runtime uvloop,...] [--nodes 1,2] [--seconds 5] [--short]
"""

import argparse
import signal
import sys

from benchmarks.command import RUNTIMES, end_with, names, seconds
from benchmarks.fair.judging import heading, line, outcomes
from benchmarks.fair.row import ROWS
from benchmarks.fair.rows import STABLE
from benchmarks.fair.running import run_row
from benchmarks.processes import descriptor_limit

SHOWN_COMPLAINTS = 3
NODES = ("1", "2")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fair", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {row.name:18} {row.promise}" for row in ROWS.values()),
    )  # fmt: skip
    parser.add_argument(
        "--row", type=names(tuple(ROWS)), default=list(ROWS), help="rows, with commas between; default: all"
    )
    parser.add_argument("--stable", action="store_true", help="the rows that CI runs")
    parser.add_argument("--runtime", type=names(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument("--nodes", type=names(NODES), default=list(NODES), help="1, 2, or both with a comma")
    parser.add_argument("--seconds", type=seconds, help="of each load; default: 5, with --short 2")
    parser.add_argument("--short", action="store_true", help="less time, fewer clients, for CI")
    options = parser.parse_args()
    load_s = options.seconds or (2.0 if options.short else 5.0)
    descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves no process behind
    print(heading(), flush=True)
    broken = [
        f"{name} on {runtime}, nodes: {nodes}"
        for name in (STABLE if options.stable else options.row)
        for runtime in options.runtime
        for nodes in map(int, options.nodes)
        if not show(name, runtime, nodes, load_s, short=options.short)
    ]
    if broken:
        print(f"\n{len(broken)} broken: {'; '.join(broken)}")
        sys.exit(1)


def show(name: str, runtime: str, nodes: int, seconds: float, *, short: bool) -> bool:
    """Run one row, print it with its broken limits, and return whether all limits hold."""
    row = ROWS[name]
    figures, checks = run_row(row, runtime, nodes, seconds, short=short)
    broken = [check for check in checks if not check.holds]
    print(line(name, runtime, figures, holds=not broken), flush=True)
    for note in figures.notes:
        print(f"    note      {note}")
    if broken:
        print(f"    promised: {row.promise}")
    for check in broken:
        print(f"    BROKEN    {check}")
    became = outcomes(figures.loaded)
    if became:
        print(f"    honest    {became}")
    for complaint in figures.complaints[:SHOWN_COMPLAINTS]:
        print(f"    log       {complaint[:300]}")
    for command in figures.ended:
        print(f"    ended     {command}")
    sys.stdout.flush()
    return not broken


if __name__ == "__main__":
    end_with(main)
