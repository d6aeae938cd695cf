"""CPU of a request to an application in Python, all processes counted: in the agent's process, or behind uvicorn.

uvicorn parses with httptools. Each way has a node of its own, so that its processor time belongs to that way alone.
"""

import importlib.util
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.cases import Case, Run, alternate, case
from benchmarks.processes import Process, await_port
from benchmarks.site import ENDPOINT, MeasuredNode, Site, Subject
from benchmarks.traffic import SHORT, TRAFFIC, conditions, request_us, warm_up

APP = "benchmarks.asgi_app:app"
BEHIND_SOCKET = "agent and uvicorn"
IN_PROCESS = "in process"
WITHOUT_SERVER = ", without the node"


def start_uvicorn(site: Site, runtime: str) -> tuple[Process, int]:
    """Start uvicorn, on uvloop where the runtime is not asyncio; return it with its port."""
    port = site.reserve()
    loop = "asyncio" if runtime == "asyncio" else "uvloop"
    flags = ("--http", "httptools", "--no-access-log", "--log-level", "warning", "--port", str(port), "--loop", loop)
    process = site.python("uvicorn", APP, *flags)
    await_port(port)
    return process, port


def ways(site: Site, runtime: str) -> dict[str, Subject]:
    """Start both ways of one runtime."""
    behind, within = MeasuredNode(site, runtime), MeasuredNode(site, runtime)
    uvicorn, port = start_uvicorn(site, runtime)
    agent = behind.start_agent(ENDPOINT, port)
    served = within.pico(
        "agent", "asgi", ENDPOINT, APP, "--access-log.disable=true",
        f"--connect.url=http://127.0.0.1:{within.ports['upstream']}",
    )  # fmt: skip
    served.await_log("endpoint registered")
    return {
        BEHIND_SOCKET: Subject(behind.ports["proxy"], {"node": behind.server, "agent": agent, "uvicorn": uvicorn}),
        IN_PROCESS: Subject(within.ports["proxy"], {"node": within.server, "agent": served}),
    }


def summed_us(run: Run, site: Site, name: str, subject: Subject, text: str) -> dict[str, float]:
    """Return CPU microseconds per request of all processes, and of all but the node."""
    found = request_us(subject, text, run.seconds, run.clients, site.folder)
    return {name: sum(found.values()), name + WITHOUT_SERVER: sum(found.values()) - found["node"]}


def apps(run: Run) -> Iterator[Case]:
    """Both ways take turns, on each runtime."""
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("httptools") is None:
        print("apps: left out, it needs uvicorn and httptools", file=sys.stderr)
        return
    for runtime in run.runtimes:
        with Site() as site:
            found = ways(site, runtime)
            warm_up(site, list(found.values()), run.clients)
            for text in SHORT:
                turns = [partial(summed_us, run, site, *each, TRAFFIC[text]) for each in found.items()]
                values = alternate(run.rounds, turns)
                references = (BEHIND_SOCKET, BEHIND_SOCKET + WITHOUT_SERVER)
                told = conditions(run, run.clients)
                yield case(run, "apps", f"{runtime}, {text}", "CPU us a request", values, told, references)
