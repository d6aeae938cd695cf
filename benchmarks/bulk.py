"""CPU seconds for a gibibyte each way, beside other proxies before the same services."""

import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.cases import Case, Run, alternate, case
from benchmarks.site import ENDPOINT, Site, Subject, subjects

TIMEOUT_S = 120
HEADER = f"x-pico-endpoint: {ENDPOINT}"


def transfer_s(subject: Subject, arguments: Sequence[str], path: str) -> dict[str, float]:
    """Move it once with curl; return the CPU seconds of each process."""
    before = {name: process.cpu_s() for name, process in subject.processes.items()}
    command = ["curl", "-sS", "-f", "-k", "-o", "/dev/null", "-H", HEADER, *arguments, subject.url(path)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return {name: process.cpu_s() - before[name] for name, process in subject.processes.items()}


def upload(big: Path) -> list[str]:
    """Return the arguments of curl that send a file at once."""
    return ["-H", "Expect:", "-T", str(big)]


def bulk(run: Run) -> Iterator[Case]:
    """Down from nginx, up to a service that drops what it gets."""
    rounds = 1 if run.short else run.rounds
    with Site() as site:
        for way, path, arguments, service in (
            ("down", "/big", [], site.service_port),
            ("up", "/", upload(site.folder / "big"), site.start_service("sink")),
        ):
            references = [] if run.short else site.references(service, fixed=False)
            measured = [*references, *subjects(run, site, service)]
            values = alternate(rounds, [partial(transfer_s, subject, arguments, path) for subject in measured])
            yield case(run, "bulk", f"1 GiB {way}", "CPU s", values, "one connection of curl")
