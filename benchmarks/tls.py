"""CPU per request and per gibibyte where clients speak TLS, beside other proxies with the same certificate."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.bulk import transfer_s
from benchmarks.cases import Case, Run, alternate, case
from benchmarks.security.site import Certificates
from benchmarks.site import Site, subjects
from benchmarks.traffic import SHORT, TRAFFIC, conditions, measure, warm_up


def tls(run: Run) -> Iterator[Case]:
    """Requests on connections that are kept, and a download."""
    with tempfile.TemporaryDirectory(prefix="pico-bench-") as folder, Site() as site:
        certificates = Certificates(Path(folder), "ecdsa")
        references = site.references(fixed=False, tls=(Path(certificates.cert), Path(certificates.key)))
        secure = subjects(run, site, site.service_port, *certificates.flags("proxy"), tls=True)
        measured = [*references, *secure]
        warm_up(site, measured, run.clients)
        for name in SHORT:
            values = measure(run, site, measured, TRAFFIC[name], run.clients)
            about = f"{conditions(run, run.clients)}, ECDSA P-256, connections kept"
            yield case(run, "tls", name, "CPU us a request", values, about)
        rounds = 1 if run.short else run.rounds
        values = alternate(rounds, [partial(transfer_s, subject, [], "/big") for subject in measured])
        yield case(run, "tls", "1 GiB down", "CPU s", values, "one connection of curl")
