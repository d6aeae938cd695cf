"""Everything that Pico is measured by, beside references of the same run. Real processes on loopback; Linux.

Needs nginx, wrk and curl; haproxy and piko are measured where they are on the PATH. Figures of one case are taken in
alternating rounds; what is printed are medians, the least of the rounds (other work of the machine only adds), and the
median of the rounds' ratios. With --against the packages of another commit are measured in the same rounds; the
benchmarks are those of this checkout. What fails on regressions is `python -m benchmarks.gate`.

Promises under hostile loads and budgets of security have runs of their own: `python -m benchmarks.fair`,
`python -m benchmarks.security`.
"""

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from benchmarks.cases import Case, Run
from benchmarks.groups import GROUPS
from benchmarks.page import PAGE, as_page
from benchmarks.processes import descriptor_limit
from benchmarks.trees import trees
from pico_tunnel.runtime import RUNTIMES


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="groups:\n" + "\n".join(f"  {name:10} {group.about}" for name, group in GROUPS.items()),
    )  # fmt: skip
    found.add_argument("groups", nargs="*", metavar="GROUP", help="default: all")
    found.add_argument("--runtime", default=",".join(RUNTIMES), help="with commas between; default: all three")
    found.add_argument("--rounds", type=positive, help="default: 5, with --short 2")
    found.add_argument("--seconds", type=positive, help="of one load; default: 2, with --short 1")
    found.add_argument("--clients", type=positive, default=50, help="where a case does not say its own; default: 50")
    found.add_argument("--short", action="store_true", help="fewer cases, less time for each, for CI")
    found.add_argument("--against", metavar="COMMIT", help="measure this commit as well, in the same rounds")
    found.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    found.add_argument("--page", action="store_true", help=f"write {PAGE.name}, with charts")
    return found


def positive(text: str) -> int:
    """Return a whole number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def options_text(options: argparse.Namespace) -> str:
    """Return the options that repeat a run."""
    defaults = parser().parse_args([])
    names = ("runtime", "rounds", "seconds", "clients", "against")
    given = {name: getattr(options, name) for name in names}
    changed = [f" --{name} {value}" for name, value in given.items() if value != getattr(defaults, name)]
    return "".join(changed) + (" --short" if options.short else "")


def checked(arguments: list[str]) -> argparse.Namespace:
    """Return the options. Ends the program with one line if they make no run."""
    found = parser()
    options = found.parse_args(arguments)
    options.groups = list(dict.fromkeys(options.groups)) or list(GROUPS)
    for kind, given, known in (
        ("groups", options.groups, tuple(GROUPS)),
        ("runtimes", options.runtime.split(","), RUNTIMES),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            found.error(f"unknown {kind}: {', '.join(unknown)}; there are {', '.join(known)}")
    missing = {name for group in options.groups for name in GROUPS[group].needs if shutil.which(name) is None}
    if missing:
        found.error(f"not installed: {', '.join(sorted(missing))}")
    return options


def main(arguments: list[str]) -> None:
    """Run the groups, print each case when it is done, and write what was asked for at the end."""
    options = checked(arguments)
    descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves no process behind
    cases: list[Case] = []
    with trees(options.against) as both:
        run = Run(
            trees=both,
            runtimes=tuple(options.runtime.split(",")),
            rounds=options.rounds or (2 if options.short else 5),
            seconds=options.seconds or (1 if options.short else 2),
            clients=options.clients,
            short=options.short,
            command=options_text(options),
        )
        for name in options.groups:
            for case in GROUPS[name].run(run):
                print("\n".join(case.lines()), end="\n\n", flush=True)
                cases.append(case)
    if options.json:
        options.json.write_text(json.dumps([case.as_json() for case in cases], indent=1) + "\n")
    if options.page:
        PAGE.write_text(as_page(cases))


if __name__ == "__main__":
    main(sys.argv[1:])
