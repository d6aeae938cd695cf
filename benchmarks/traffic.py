"""CPU per request end to end: the heads of real traffic, beside other proxies before the same service.

wrk sends each request as a whole, from one thread, with the number of the request in it where the heads are new. Where
nothing is new it sends the same bytes each time. The heads are other ones than those of the machines alone.
"""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.cases import Case, Run, Samples, alternate, case
from benchmarks.processes import wrk
from benchmarks.site import ENDPOINT, Site, Subject, subjects

NUMBER = "{n}"
PLAIN = ("Accept: */*",)
BROWSER = (
    "Connection: keep-alive",
    "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:139.0) Gecko/20100101 Firefox/139.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: de,en-US;q=0.7,en;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://shop.example.org/catalogue/spring",
    "Cookie: consent=all; sid=5c0d81f6b7a94e0c9a3ff2d1; cart=3",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
)
"""With Host, the endpoint and a request ID these are 14 fields."""
REQUEST_ID = "X-Request-ID: 6f1c2ab0-44d1-4c1e-8a77-"


def request(path: str = "/", fields: Sequence[str] = PLAIN, body_bytes: int = 0) -> str:
    """Return the text of a request to the endpoint; ``NUMBER`` stands for its number."""
    lines = [f"{'POST' if body_bytes else 'GET'} {path} HTTP/1.1", "Host: shop.example.org"]
    lines += [f"X-Pico-Endpoint: {ENDPOINT}", *fields]
    lines += [f"Content-Length: {body_bytes}"] if body_bytes else []
    return "\r\n".join(lines) + "\r\n\r\n" + "x" * body_bytes


TRAFFIC = {
    "same 3-field head": request(),
    "same 14-field browser head": request("/catalogue/spring?page=2", (*BROWSER, f"{REQUEST_ID}000000000001")),
    "path new each time, 3 fields": request(f"/catalogue/{NUMBER}"),
    "browser head, path and request ID new each time": request(
        f"/catalogue/{NUMBER}?page=2", (*BROWSER, REQUEST_ID + NUMBER)
    ),
    "POST of 1 KiB": request("/basket", body_bytes=1024),
}
SHORT = ("same 3-field head", "browser head, path and request ID new each time")
CLIENTS = (1, 10, 100, 1000)
MANY = 1000
MANY_S = 4
"""Seconds of a load with ``MANY`` clients, at least. Each load opens its connections anew, and one costs the server as
much as four requests: a tenth of a shorter load would be that."""

SCRIPT = """
local parts = {{{parts}}}
local number = {first}
request = function()
  number = number + 1
  return table.concat(parts, string.format("%d", number))
end
"""
_first = itertools.count(time.time_ns() // 1_000_000 % 1_000_000 * 1_000_000_000, 100_000_000)


def load(subject: Subject, text: str, seconds: int, clients: int, folder: Path, *, judged: bool = True) -> int:
    """Send requests as fast as they are answered; return how many were. No number comes twice."""
    parts = ", ".join(json.dumps(part) for part in text.split(NUMBER))  # Lua reads these strings as JSON does
    script = folder / "requests.lua"
    script.write_text(SCRIPT.format(parts=parts, first=next(_first)))
    return wrk(subject.url(), seconds, connections=clients, script=script, judged=judged)


def request_us(subject: Subject, text: str, seconds: int, clients: int, folder: Path) -> dict[str, float]:
    """Return CPU microseconds per request of each process."""
    before = {name: process.cpu_s() for name, process in subject.processes.items()}
    done = load(subject, text, seconds, clients, folder)
    return {name: (process.cpu_s() - before[name]) / done * 1e6 for name, process in subject.processes.items()}


def warm_up(site: Site, measured: Sequence[Subject], clients: int) -> None:
    """Give each a second of new heads, which does not count: agents open further tunnels for many clients."""
    for subject in measured:
        load(subject, TRAFFIC[SHORT[-1]], 1, clients, site.folder, judged=False)


def measure(run: Run, site: Site, measured: Sequence[Subject], text: str, clients: int) -> Samples:
    """Let all subjects take turns under one kind of request."""
    turns = [partial(request_us, subject, text, run.seconds, clients, site.folder) for subject in measured]
    return alternate(run.rounds, turns)


def conditions(run: Run, clients: int) -> str:
    """Return those of ``measure``."""
    return f"{clients} client{'s' * (clients > 1)} of wrk, {run.seconds} s each"


def traffic(run: Run) -> Iterator[Case]:
    """The four kinds of heads, and small uploads."""
    with Site() as site:
        measured = [*site.references(), *subjects(run, site, site.service_port)]
        warm_up(site, measured, run.clients)
        for name in SHORT if run.short else TRAFFIC:
            values = measure(run, site, measured, TRAFFIC[name], run.clients)
            yield case(run, "traffic", name, "CPU us a request", values, conditions(run, run.clients))


def clients(run: Run) -> Iterator[Case]:
    """The same head from 1 to 1,000 clients."""
    text = TRAFFIC["same 3-field head"]
    with Site() as site:
        measured = [*site.references(), *subjects(run, site, site.service_port)]
        for count in CLIENTS:
            warm_up(site, measured, count)
            loads = replace(run, seconds=max(run.seconds, MANY_S)) if count >= MANY else run
            values = measure(loads, site, measured, text, count)
            yield case(run, "clients", f"{count:,} at once", "CPU us a request", values, conditions(loads, count))
