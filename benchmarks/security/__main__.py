"""The figures of Pico's security, each with its budget, against real processes on loopback. Needs Linux, nginx, wrk,
curl and openssl.

Without arguments it takes about four minutes. What takes longer runs by argument:

  --restarts 50       nodes restarted in turn under 100,000 requests
  --corpus FOLDER     payloads that must be refused or must work (*.jsonl), through one node and two
  --fuzz-minutes 60   all of fuzz/ again and again, for so long in all; with --fuzz gossip,http these files of it, each
                      for so long, and with --fuzz each all of them so
  --slow-readers      1,000 readers that do not read, and what the others notice (a row of ``make fair``)

Run: python -m benchmarks.security [--runtime uvloop] [--only NAME,...]
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.command import RUNTIMES, end_with, seconds
from benchmarks.processes import descriptor_limit
from benchmarks.security import corpus, fuzzing, nodes, tables, transport
from benchmarks.security.site import Figure

ROUNDS = 7
RESTART_REQUESTS = 2_000
"""Requests for each restart at least."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.security", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runtime", choices=RUNTIMES, default="uvloop", help="of the servers; default: uvloop")
    parser.add_argument("--short", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--only", default="", help="tls, handshakes, access, heads, gossip, series, killed; default: all"
    )
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--fuzz-minutes", type=seconds, default=0.0)
    parser.add_argument("--fuzz", default="", metavar="NAME,...", help=f"each, {', '.join(fuzzing.NAMES)}")
    parser.add_argument("--slow-readers", action="store_true")
    options = parser.parse_args()
    if options.fuzz and not options.fuzz_minutes:
        parser.error("--fuzz needs --fuzz-minutes")
    try:
        fuzzing.paths(options.fuzz)
    except ValueError as error:
        parser.error(str(error))
    descriptor_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves no process behind
    broken = 0
    for figure in figures(options, parser):
        print(figure, flush=True)
        broken += not figure.holds
    if broken:
        print(f"\n{broken} broken")
        sys.exit(1)


def figures(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Iterator[Figure]:
    """Take one figure after the other."""
    runtime, rounds = options.runtime, 3 if options.short else ROUNDS
    usual: dict[str, Callable[[], list[Figure]]] = {
        "tls": lambda: transport.requests_and_gigabytes(runtime, rounds),
        "handshakes": lambda: transport.handshakes(runtime, rounds),
        "access": lambda: tables.access(4.0),
        "heads": lambda: tables.hostile_heads(rounds),
        "gossip": tables.gossip,
        "series": lambda: tables.series(runtime),
        "killed": lambda: nodes.agent_is_back(runtime),
    }
    long = bool(options.restarts or options.corpus or options.fuzz_minutes or options.slow_readers)
    names = options.only.split(",") if options.only else [] if long else list(usual)
    unknown = [name for name in names if name not in usual]
    if unknown:
        parser.error(f"unknown figures: {', '.join(unknown)}; there are {', '.join(usual)}")
    for name in names:
        yield from usual[name]()
    if options.restarts:
        yield from nodes.restarts(runtime, options.restarts, options.restarts * RESTART_REQUESTS)
    if options.corpus:
        for count in (1, 2):
            yield from corpus.replay(runtime, count, options.corpus)
    if options.slow_readers:
        yield _slow_readers(runtime)
    if options.fuzz_minutes:
        yield from fuzzing.figures(options.fuzz_minutes, options.fuzz)


def _slow_readers(runtime: str) -> Figure:
    command = [sys.executable, "-m", "benchmarks.fair", "--row", "no-readers", "--nodes", "1", "--runtime", runtime]
    code = subprocess.run(command, check=False).returncode
    return Figure("1,000 readers that do not read", "see above", "no broken limit", code == 0)


if __name__ == "__main__":
    end_with(main)
