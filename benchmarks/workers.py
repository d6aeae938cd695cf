"""CPU per request of two workers beside that of one process.

The figure is the CPU of all processes of the server. The agent has two tunnels, one at each worker, so that no request
goes from one to the other. Two workers have twice the clients of one, so that each has as many as that: the more there
are, the less each costs, whatever the process.
"""

from collections.abc import Iterator
from functools import partial

from benchmarks.cases import Case, Run, alternate, case
from benchmarks.site import ENDPOINT, Site, Subject, nodes
from benchmarks.traffic import TRAFFIC, conditions, load, request_us


def workers(run: Run) -> Iterator[Case]:
    """One worker and two, of each runtime."""
    text = TRAFFIC["same 3-field head"]
    with Site() as site:
        loads = []
        for count in (1, 2):
            flags = ("--drain-delay=0s", f"--workers={count}") if count > 1 else ()
            for name, node in nodes(run, site, *flags).items():
                runtime, _, suffix = name.partition(" ")
                node.start_agent(ENDPOINT, site.service_port, f"--connections={count}")
                subject = Subject(node.ports["proxy"], {f"workers {count}, {runtime} {suffix}".strip(): node.server})
                loads.append((subject, run.clients * count))
        for subject, clients in loads:
            load(subject, text, 1, clients, site.folder)
        values = alternate(
            run.rounds,
            [partial(request_us, subject, text, run.seconds, clients, site.folder) for subject, clients in loads],
        )
    about = f"{conditions(run, run.clients)} for each worker"
    references = tuple(f"workers 1, {runtime}" for runtime in run.runtimes)
    for runtime in run.runtimes:
        own = {name: figures for name, figures in values.items() if f", {runtime}" in name}
        yield case(run, "workers", f"same 3-field head, {runtime}", "CPU us a request", own, about, references)
