"""``pico bench http``: puts load on a server and prints what its clients notice."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from pico_core.tchar import TCHAR
from pico_tunnel.answer import Unanswered, write
from pico_tunnel.colours import CLEAR_LINE
from pico_tunnel.complaints import complain
from pico_tunnel.flags import TLS_FLAGS, TeachingCommand, TeachingGroup, checked, tls_options, token_options
from pico_tunnel.runtime import RUNTIMES

if TYPE_CHECKING:
    from pico_core.bench.plan import Outcome, Plan
    from pico_driver.tls_profiles import Profiles

DEFAULT_PROXY_URL = "http://localhost:8000"

MAX_SENT_BODY_BYTES = 64 << 20
"""It is kept once in memory, and sent by every client."""

_FIELD = re.compile(TCHAR + r"+:[ \t]*[\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_METHOD = re.compile(r"[A-Z]{1,20}")


class BenchCommand(TeachingCommand):
    """A command with the flags of tokens and TLS towards a server."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += [*token_options("server"), *tls_options("server")]


@click.group(
    cls=TeachingGroup,
    short_help="Measure what a server carries.",
    examples="""\
As fast as the server answers, for ten seconds:
  pico bench http --endpoint my-endpoint
A hundred requests a second, as steady visitors would send them:
  pico bench http --endpoint my-endpoint --rate 100""",
)
def bench() -> None:
    """Put load on a server and print what its clients notice."""


@bench.command(
    cls=BenchCommand,
    short_help="HTTP requests.",
    examples="""\
50 clients, each with a connection that it keeps:
  pico bench http --endpoint my-endpoint
500 requests a second in all, whether or not the server keeps up:
  pico bench http http://pico.example.com:8000 --endpoint my-endpoint --rate 500 --clients 200
A new path and request ID each time, as real traffic has:
  pico bench http --endpoint shop --path '/items/{n}' --header 'X-Request-ID: bench-{n}'
Uploads of 64 KiB, each on a new connection, with the figures as JSON:
  pico bench http --endpoint my-endpoint --method POST --body-bytes 65536 --new-connections --json
A server that asks for tokens:
  pico bench http https://pico.example.com --endpoint my-endpoint --server.token-file token""",
)
@click.argument("url", default=DEFAULT_PROXY_URL, metavar="[URL]", callback=checked("clients_url"))
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="ID", help="Ask for this endpoint; of several, in turn."
)
@click.option("--clients", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many clients.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1e6),
    default=0.0,
    help="Requests a second in all, evenly spread. Latency then counts from when a request was due, so that requests "
    "that wait for a slow server are seen.  [default: each client sends its next request after a response]",
)
@click.option("--duration", default="10s", show_default=True, callback=checked("duration"), help="For how long.")
@click.option("--timeout", default="10s", show_default=True, callback=checked("duration"), help="For one response.")
@click.option("--method", default="GET", show_default=True, help="The method of the requests.")
@click.option("--path", default="/", show_default=True, help="Path and query; {n} becomes the number of the request.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A field for every request; {n} as in --path."
)
@click.option(
    "--body-bytes",
    type=click.IntRange(0, MAX_SENT_BODY_BYTES),
    default=0,
    show_default=True,
    help="Size of the body.",
)
@click.option("--new-connections", is_flag=True, help="Open a connection for each request.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object, and no progress.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="What carries the connections.")
def http(
    url: str,
    endpoints: tuple[str, ...],
    method: str,
    path: str,
    headers: tuple[str, ...],
    duration: str,
    timeout: str,
    new_connections: bool,
    as_json: bool,
    runtime: str | None,
    token: str | None,
    token_file: str | None,
    **others: Any,
) -> int:
    """Send HTTP requests to the proxy port at URL, by default http://localhost:8000.

    Shows the responses of each second as it goes, then latency by percentile, and every kind of failure. The exit code
    is 1 if not one response came.
    """
    from pico_core.bench.plan import Plan
    from pico_core.config.tls import BENCH_PROFILE
    from pico_core.config.values import clients_url, identifier
    from pico_core.config.values import duration as seconds
    from pico_driver.tls_sections import client_sections, load_profiles
    from pico_tunnel.process import hide_arguments
    from pico_tunnel.status import given_token

    if not _METHOD.fullmatch(method):
        raise click.UsageError("--method wants capital letters, such as POST")
    if math.isnan(others["rate"]):
        raise click.UsageError("--rate wants a number, found 'nan'")
    if not _TARGET.fullmatch(path):
        raise click.UsageError("--path must begin with / and be written as in %20")
    for header in headers:
        if not _FIELD.fullmatch(header):
            raise click.UsageError("--header wants a name, a colon and a value, such as 'X-Tried: yes'")
    hide_arguments(headers)
    shown = given_token(token, token_file)
    fields = [*headers, f"x-pico-authorization: Bearer {shown.reveal()}"] if shown else headers
    server = clients_url(url)
    sections = client_sections(server, BENCH_PROFILE, "server.tls", {name: others.pop(name) for name in TLS_FLAGS})
    plan = Plan(
        server=server,
        tls=BENCH_PROFILE if server.is_secure else "",
        target=path.encode("ascii"),
        method=method.encode("ascii"),
        endpoints=tuple(identifier(endpoint) for endpoint in endpoints),
        fields="".join(f"{field}\r\n" for field in fields).encode("latin-1"),
        duration_s=seconds(duration),
        timeout_s=seconds(timeout),
        keep_alive=not new_connections,
        **others,
    )
    return _run(plan, runtime, load_profiles(sections), as_json=as_json)


def _run(plan: Plan, runtime: str | None, profiles: Profiles | None, *, as_json: bool) -> int:
    from pico_core.bench.machine import BenchMachine
    from pico_tunnel.process import raise_descriptor_limit, signals_kept
    from pico_tunnel.runtime import choose, drop_record, installed, run

    name = choose(runtime, installed())
    raise_descriptor_limit()
    progress = _Progress(quiet=as_json)
    machine = BenchMachine(plan, progress.show)
    with signals_kept() as inbox:
        end = run(machine, drop_record, name, inbox=inbox, profiles=profiles)
    progress.end()
    try:
        if as_json:
            import json

            write(json.dumps(machine.outcome.summary()) + "\n")
        elif end.code == 0:
            write("\n".join(_report(plan, machine.outcome)) + "\n")
    except Unanswered as error:
        complain(str(error))
        return error.code
    if end.message:
        complain(end.message)
    return end.code


class _Progress:
    """One line on standard error, written over on a terminal and once a second elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or sys.stderr is None
        self._is_terminal = not self._quiet and sys.stderr.isatty()
        self._count = 0

    def show(self, outcome: Outcome) -> None:
        """Show the responses since the last call."""
        if self._quiet:
            return
        count = outcome.latency.count
        text = f"{count:,} responses, {count - self._count:,}/s"
        if outcome.failed:
            text += f", {outcome.failed:,} failed"
        if outcome.refused:
            text += f", {outcome.refused:,} with an error status"
        self._count = count
        self._write(f"{CLEAR_LINE}{text}" if self._is_terminal else f"{text}\n")

    def end(self) -> None:
        """Remove the line from a terminal."""
        if self._is_terminal:
            self._write(CLEAR_LINE)

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal is gone; the figures are what counts
            self._quiet = True


def _report(plan: Plan, outcome: Outcome) -> list[str]:
    figures: Any = outcome.summary()
    kind = f"{plan.rate:g} requests a second" if plan.rate else "one request after the other"
    received = f"{figures['per_second']:,.1f}/s, {outcome.received_bytes / 1e6:,.1f} MB received"
    lines = [
        f"{plan.clients} clients, {kind}, {outcome.elapsed_s:.1f} s, {outcome.connections:,} connections",
        "",
        f"  responses  {outcome.latency.count:>10,}   {received}",
    ]
    lines += [f"    {status:<9}{count:>10,}" for status, count in figures["statuses"].items()]
    if outcome.failed:
        lines.append(f"  failures   {outcome.failed:>10,}")
        lines += [f"    {count:>18,}   {reason}" for reason, count in figures["failures"].items()]
    if outcome.late:
        lines.append(f"  never sent {outcome.late:>10,}   no client was free: more --clients, or a lower --rate")
    since = "from when a request was due" if plan.rate else "from sending to the last byte"
    lines += ["", f"  latency, {since}"]
    lines += [f"    {name:<9}{value:>10.2f} ms" for name, value in figures["latency_ms"].items()]
    return lines
