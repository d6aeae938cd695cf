"""Run one row on one site: idle, load, calm; and measure."""

import time
from dataclasses import dataclass

from benchmarks.fair.children import Child
from benchmarks.fair.honest import Lane, Sample, request_bytes, run
from benchmarks.fair.judging import Figures, Memory, judge
from benchmarks.fair.row import MIB, MS, Check, Row, Stage
from benchmarks.fair.site import LoggedProcess, Site

WARM_S = 0.5
"""The first requests open streams and fill caches."""
IDLE_S = 2.0
CALM_S = 5.0
"""How long a node has to give memory back after a load."""

GIVEN_BACK_BYTES = 8 * MIB
REQUESTS_PER_S = 15.0
"""Per lane of honest clients; p99 of two lanes in 5 s is the second worst of 150."""
HEALTH_PER_S = 10.0

COMPLAINTS = ("node unreachable", "cannot forward to a node", "Traceback", "internal error", '"level":"error"')


def run_row(row: Row, runtime: str, nodes: int, seconds: float, *, short: bool) -> tuple[Figures, list[Check]]:
    """Return what was measured, and the limits with their values."""
    with Site(runtime, nodes, row.setup) as site:
        honest = Child(run, lanes(site), niceness=0)
        stage = Stage(site, seconds, short=short)
        try:
            figures = _measure(row, site, stage, honest)
        except BaseException:
            stage.finish()
            honest.stop()
            raise
    own = (check.slowed(figures.slowdown) if check.unit == MS else check for check in stage.checks)
    return figures, [*judge(figures, row.limits), *own]


def lanes(site: Site) -> list[Lane]:
    """The honest clients: of another endpoint, of the one under load, of /health, and of a service without Pico."""
    proxy = site.entry.ports["proxy"]
    health = b"GET /health HTTP/1.1\r\nHost: fair.test\r\n\r\n"
    return [
        Lane("other kept", proxy, request_bytes("other"), REQUESTS_PER_S, kept=True),
        Lane("other fresh", proxy, request_bytes("other"), REQUESTS_PER_S, kept=False),
        Lane("same kept", proxy, request_bytes("same"), REQUESTS_PER_S, kept=True),
        Lane("same fresh", proxy, request_bytes("same"), REQUESTS_PER_S, kept=False),
        Lane("direct fresh", site.bystander_port, request_bytes("none"), REQUESTS_PER_S, kept=False),
        *(Lane("health", node.ports["admin"], health, HEALTH_PER_S, kept=False) for node in site.nodes),
    ]


@dataclass
class _Marks:
    """Counters of one process at one moment."""

    at: float
    cpu_s: float
    ran_s: float
    waited_s: float
    log_bytes: int

    @classmethod
    def of(cls, process: LoggedProcess) -> "_Marks":
        return cls(time.monotonic(), process.cpu_s(), *process.ran_and_waited_s(), process.log_bytes())

    def cpu_percent(self, earlier: "_Marks") -> float:
        return max(100 * (self.cpu_s - earlier.cpu_s) / (self.at - earlier.at), 0.0)

    def slowdown(self, earlier: "_Marks") -> float:
        """Return how many times longer its work took because others had the cores."""
        ran_s, waited_s = self.ran_s - earlier.ran_s, self.waited_s - earlier.waited_s
        return max(1 + waited_s / ran_s, 1.0) if ran_s > 0 else 1.0


def _measure(row: Row, site: Site, stage: Stage, honest: Child) -> Figures:
    watched = [*site.nodes, *site.agents]
    time.sleep(WARM_S)
    before_idle = [_Marks.of(node) for node in site.nodes]
    time.sleep(IDLE_S)
    before = [_Marks.of(node) for node in site.nodes]
    resident = [process.resident_bytes() for process in watched]
    for process in watched:
        process.reset_peak()
    row.load(stage)
    after = [_Marks.of(node) for node in site.nodes]
    stage.finish()
    stage.afterwards()
    top = [process.peak_bytes() for process in watched]
    calm_by = time.monotonic() + CALM_S
    while time.monotonic() < calm_by and not _is_calm(watched, resident):
        time.sleep(0.1)
    kept = [process.resident_bytes() for process in watched]
    samples: list[Sample] = honest.stop().samples
    memory = [Memory(*sizes) for sizes in zip(resident, top, kept, strict=True)]
    shares = [now.cpu_percent(was) for now, was in zip(after, before, strict=True)]
    idle_shares = [now.cpu_percent(was) for now, was in zip(before, before_idle, strict=True)]
    return Figures(
        idle=_between(samples, before_idle[0].at, before[0].at),
        loaded=_between(samples, before[0].at, after[0].at),
        nodes=memory[: len(site.nodes)],
        agents=memory[len(site.nodes) :],
        cpu_percent=max(shares),
        cpu_above_idle_percent=max(share - idle for share, idle in zip(shares, idle_shares, strict=True)),
        slowdown=max(now.slowdown(was) for now, was in zip(after, before, strict=True)),
        log_bytes_per_s=max(
            (now.log_bytes - was.log_bytes) / (now.at - was.at) for now, was in zip(after, before, strict=True)
        ),
        complaints=[line for process in watched for line in process.log_lines_with(*COMPLAINTS)],
        ended=[process.command for process in watched if not process.alive],
        got=stage.got,
        notes=stage.notes,
    )


def _is_calm(processes: list[LoggedProcess], resident: list[int]) -> bool:
    return all(
        process.resident_bytes() <= was + GIVEN_BACK_BYTES for process, was in zip(processes, resident, strict=True)
    )


def _between(samples: list[Sample], first: float, last: float) -> list[Sample]:
    return [sample for sample in samples if first <= sample.began_at < last]
