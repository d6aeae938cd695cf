"""The simulator's command line: replay a seed, run many, or soak. See ``docs/simulation.md``."""

import argparse
import random
import sys
import time
from collections import Counter

from tests.sim.chaos import Chaos, Outcome
from tests.sim.stages import STAGES
from tests.sim.world import Violation, World

SOAK_VIRTUAL_MINUTES = 3.0


def run_seed(seed: int, minutes: float = 1.0, *, trace: bool = False, digest: bool = False) -> Outcome:
    """Play one random history, with so many virtual minutes of operations and faults."""
    span = "" if minutes == 1.0 else f" --minutes {minutes:g}"
    world = World(seed, replay=f"python -m tests.sim --seed {seed}{span}", show=print if trace else None)
    if digest:
        world.trace_digest_only()
    return Chaos(world, minutes).run()


def run_stage(name: str, seed: int, *, trace: bool = False) -> dict[str, float]:
    """Play one named scenario."""
    world = World(seed, replay=f"python -m tests.sim --stage {name} --seed {seed}", show=print if trace else None)
    return STAGES[name](world)


def main(arguments: list[str]) -> int:
    """Run the mode that the arguments choose; the exit code is 1 after a violation."""
    options = _parse(arguments)
    try:
        if options.stage:
            for name in STAGES if options.stage == "all" else [options.stage]:
                _play(name, options.seed, trace=options.trace)
        elif options.mode == "soak":
            _soak(options.minutes or 10.0, options.seed)
        else:
            first, last = options.seeds or (options.seed, options.seed)
            _sweep(first, last, options.minutes or 1.0, options)
    except Violation as violation:
        print(f"VIOLATION: {violation}")
        return 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("mode", nargs="?", choices=["seed", "soak"], default="seed")
    parser.add_argument("--seed", type=int, default=None, help="the history to run (soak: the first one)")
    parser.add_argument("--seeds", type=_span, help="several, such as 1-50")
    parser.add_argument("--stage", choices=["all", *STAGES], help="play a named scenario instead of a random history")
    parser.add_argument(
        "--minutes", type=float, help="virtual minutes of operations and faults (1); for soak, real minutes (10)"
    )
    parser.add_argument("--trace", action="store_true", help="show every input and command")
    parser.add_argument("--digest", action="store_true", help="show the digest of the trace")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32) if options.mode == "soak" else 1
    return options


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _play(name: str, seed: int, *, trace: bool) -> None:
    began = time.process_time()
    figures = run_stage(name, seed, trace=trace)
    shown = " ".join(f"{key}={value:.3f}".rstrip("0").rstrip(".") for key, value in figures.items())
    print(f"{name:34} {time.process_time() - began:6.2f} CPU s  {shown}", flush=True)


def _sweep(first: int, last: int, minutes: float, options: argparse.Namespace) -> None:
    began = time.process_time()
    sometimes: Counter[str] = Counter()
    virtual_s = 0.0
    for seed in range(first, last + 1):
        outcome = run_seed(seed, minutes, trace=options.trace, digest=options.digest)
        _report(outcome, digest=options.digest)
        sometimes += outcome.sometimes
        virtual_s += outcome.virtual_s
    _summary(sometimes, virtual_s, time.process_time() - began)


def _soak(minutes: float, seed: int) -> None:
    """Run fresh seeds until the time is over."""
    began, until = time.process_time(), time.monotonic() + minutes * 60.0
    sometimes: Counter[str] = Counter()
    virtual_s = 0.0
    while time.monotonic() < until:
        outcome = run_seed(seed, SOAK_VIRTUAL_MINUTES)
        _report(outcome, digest=False)
        sometimes += outcome.sometimes
        virtual_s += outcome.virtual_s
        seed += 1
    _summary(sometimes, virtual_s, time.process_time() - began)


def _report(outcome: Outcome, *, digest: bool) -> None:
    requests = " ".join(f"{name}={count}" for name, count in sorted(outcome.requests.items()))
    shown = f" {outcome.digest}" if digest else ""
    print(f"seed {outcome.seed}: {outcome.virtual_s:.1f} s, {requests}{shown}", flush=True)


def _summary(sometimes: Counter[str], virtual_s: float, cpu_s: float) -> None:
    for name, count in sometimes.most_common():
        print(f"{count:10} {name}")
    print(f"{virtual_s:.0f} virtual seconds in {cpu_s:.0f} CPU seconds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
