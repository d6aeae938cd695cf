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

from benchmarks.cases import Case, Run
from benchmarks.command import RUNTIMES, end_with, names, new_file
from benchmarks.groups import GROUPS
from benchmarks.page import PAGE, as_page
from benchmarks.processes import descriptor_limit
from benchmarks.trees import trees


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="groups:\n" + "\n".join(f"  {name:10} {group.about}" for name, group in GROUPS.items()),
    )  # fmt: skip
    found.add_argument("groups", nargs="*", metavar="GROUP", help="default: all")
    found.add_argument(
        "--runtime", type=names(RUNTIMES), default=list(RUNTIMES), help="with commas between; default: all three"
    )
    found.add_argument("--rounds", type=positive, help="default: 5, with --short 2")
    found.add_argument("--seconds", type=positive, help="of one load; default: 2, with --short 1")
    found.add_argument("--clients", type=positive, default=50, help="where a case does not say its own; default: 50")
    found.add_argument("--short", action="store_true", help="fewer cases, less time for each, for CI")
    found.add_argument("--against", metavar="COMMIT", help="measure this commit as well, in the same rounds")
    found.add_argument("--json", type=new_file, metavar="FILE", help="write all figures to a file")
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
    repeated = ("rounds", "seconds", "clients", "against")
    given = {name: getattr(options, name) for name in repeated}
    changed = [f" --{name} {value}" for name, value in given.items() if value != getattr(defaults, name)]
    if options.runtime != defaults.runtime:
        changed.insert(0, f" --runtime {','.join(options.runtime)}")
    return "".join(changed) + (" --short" if options.short else "")


def checked(arguments: list[str]) -> argparse.Namespace:
    """Return the options. Ends the program with one line if they make no run."""
    found = parser()
    options = found.parse_args(arguments)
    options.groups = list(dict.fromkeys(options.groups)) or list(GROUPS)
    unknown = [name for name in options.groups if name not in GROUPS]
    if unknown:
        found.error(f"unknown groups: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
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
            runtimes=tuple(options.runtime),
            rounds=options.rounds or (2 if options.short else 5),
            seconds=options.seconds or (1 if options.short else 2),
            clients=options.clients,
            short=options.short,
            command=options_text(options),
        )
        try:
            for name in options.groups:
                for case in GROUPS[name].run(run):
                    cases.append(case)
                    print("\n".join(case.lines()), end="\n\n", flush=True)
        finally:  # what was measured before an interrupt or a failure is worth keeping
            if options.json:
                options.json.write_text(json.dumps([case.as_json() for case in cases], indent=1) + "\n")
    if options.page:
        PAGE.write_text(as_page(cases))


if __name__ == "__main__":
    end_with(lambda: main(sys.argv[1:]))
