"""Latency at fixed rates, by ``pico bench http --rate``: an open loop.

Each request has a time at which it is due, and its latency counts from then, also while it waits for a free client:
what a stalled server delays is not left out (coordinated omission). The generator is that of this checkout for all
subjects, and shares the cores with them. Half of the peak is half of the requests a second that the subject answered to
the same generator in a closed loop just before.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.cases import Case, Run, Samples, case
from benchmarks.site import ENDPOINT, Site, Subject, subjects

RATES = (200, 1000)
PERCENTILES = ("p50", "p99")
EXTRA_S = 60


def bench(subject: Subject, seconds: int, clients: int, rate: float = 0.0) -> dict[str, Any]:
    """Return what the generator saw. Raises ``SystemExit`` if a response was not 200."""
    command = [
        sys.executable, "-m", "pico_tunnel", "bench", "http", subject.url().rstrip("/"), "--endpoint", ENDPOINT,
        "--clients", str(clients), "--duration", f"{seconds}s", "--rate", str(rate),
        "--path", "/catalogue/{n}", "--json",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + EXTRA_S)
    if ran.returncode:
        raise SystemExit(f"pico bench http failed: {ran.stderr.strip()}")
    found: dict[str, Any] = json.loads(ran.stdout)
    if set(found["statuses"]) != {"200"}:
        raise SystemExit(f"{next(iter(subject.processes))} answered {found['statuses']}")
    return found


def latency(run: Run) -> Iterator[Case]:
    """Fixed rates, then half of each subject's peak."""
    seconds = 2 * run.seconds
    with Site() as site:
        measured = [*site.references(), *subjects(run, site, site.service_port)]
        peaks = [bench(subject, run.seconds, run.clients)["per_second"] for subject in measured]
        for title, rates in (
            *((f"{rate:,} requests a second", [float(rate)] * len(measured)) for rate in RATES),
            ("half of its peak", [peak / 2 for peak in peaks]),
        ):
            percentiles: dict[str, Samples] = {percentile: {} for percentile in PERCENTILES}
            missed = 0
            for _ in range(run.rounds):
                for subject, rate in zip(measured, rates, strict=True):
                    name = next(iter(subject.processes))
                    seen = bench(subject, seconds, run.clients, rate)
                    missed += seen["late"] + sum(seen["failures"].values())
                    for percentile, values in percentiles.items():
                        values.setdefault(name, []).append(seen["latency_ms"][percentile])
            about = f"{run.clients} clients of pico bench http, {seconds} s each, path new each time"
            about += f", {missed:,} requests never sent or without response"
            if len(set(rates)) > 1:
                names = [next(iter(subject.processes)) for subject in measured]
                about += ", a second: " + ", ".join(
                    f"{name} {rate:,.0f}" for name, rate in zip(names, rates, strict=True)
                )
            for percentile, values in percentiles.items():
                yield case(run, "latency", f"{percentile} at {title}", "ms", values, about)
