"""The checks of ``pico doctor server`` on a node that runs with the configuration: its state, and its faults."""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from typing import TYPE_CHECKING

from pico_tunnel.checkup import FAIL, OK, WARN, Answer, Finding, ask, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pico_core.config.server import ServerConfig

MAX_DOCUMENT_BYTES = 1 << 20
"""Of an answer of the admin port: the longest that is asked for here lists limits or counters."""

COUNTERS = {
    "pico_log_lines_dropped_total": (
        "log lines",
        "lost: standard output or standard error did not take them",
        "is the disk full, or the collector of logs stuck? proxy.access_log.disable writes less",
    ),
    "pico_accepts_failed_total": (
        "descriptors",
        "times the system had none for a connection",
        "raise the limit of open files, of the process and of the host",
    ),
}
"""Metrics that are 0 where all is well: the subject of the finding, what the number means, and what to do."""


def check_running(config: ServerConfig) -> Iterator[Finding]:
    """Ask the admin port, if a node listens on it; where it asks for a token, its state only."""
    ready = _asked(config, "/ready")
    if ready is None:
        return
    state = ready.body.strip()
    if ready.status not in (200, 503) or state.partition(":")[0] not in STATES:
        yield _no_admin_port(ready)
        return
    yield Finding(*STATES[state.partition(":")[0]](state))
    metrics, limits = _asked(config, "/metrics"), _asked(config, "/status/limits")
    if metrics is None or limits is None or metrics.status != 200 or limits.status != 200:
        yield Finding(OK, "its limits and counters", "not looked at: the admin port asks for a token")
        return
    yield from _judge_metrics(metrics.body)
    yield from _judge_limits(limits.body)


def _no_admin_port(answer: Answer) -> Finding:
    from pico_tunnel.status import other_port

    try:
        other = other_port(json.loads(answer.body))
    except (ValueError, AttributeError):
        other = ""
    if other:
        text = f"admin.bind_addr is the {other} port of a running Pico server"
        return Finding(FAIL, "running node", text, "give the port of its admin.bind_addr, 8002 by default")
    text = f"the admin port is not one of a Pico server: it answers {answer.status}"
    return Finding(FAIL, "running node", text, "change admin.bind_addr, or end what listens there")


def _running(state: str) -> Finding:
    return Finding(OK, "running node", state)


def _draining(state: str) -> Finding:
    text = f"{state}: it is about to stop, and takes no agents"
    return Finding(WARN, "running node", text, "nothing, if it is stopped on purpose: its agents go to other nodes")


def _starting(state: str) -> Finding:
    return Finding(WARN, "running node", state, "wait; if it stays, look at what it waits for, and at its log")


STATES = {"running": _running, "draining": _draining, "stopped": _draining, "starting": _starting}


def _judge_metrics(text: str) -> Iterator[Finding]:
    for name, (subject, meaning, advice) in COUNTERS.items():
        found = re.search(rf"(?m)^{name} (\d+)", text)
        number = int(found[1]) if found is not None else 0
        if number:
            yield Finding(WARN, subject, f"{number} {meaning}", advice)
        else:
            yield Finding(OK, subject, f"0 {meaning}")


def _judge_limits(text: str) -> Iterator[Finding]:
    rows = json.loads(text)
    full = [row for row in rows if isinstance(row["limit"], int) and 0 < row["limit"] <= (row["used"] or 0)]
    for row in full:
        said = f"reached: {row['used']} of {row['limit']} in use; {row['then']}"
        advice = (
            "raise the limit of open files" if row["key"].endswith("max_connections") else "raise it (docs/limits.md)"
        )
        yield Finding(WARN, row["key"], said, f"{advice}, or add nodes")
    if not full:
        yield Finding(OK, "limits", "none is reached")


def _asked(config: ServerConfig, path: str) -> Answer | None:
    """Ask the admin port of the node that runs with ``config``; ``None`` where nothing answers."""
    from pico_core.config.tls import ClientTlsConfig
    from pico_core.config.values import Address, Origin, is_unspecified

    bound = config.admin.bind_addr
    if not bound.port:
        return None
    host = bound.host if bound.host and not is_unspecified(bound.host) else "localhost"
    url = Origin(host, bound.port, "https" if config.admin.tls.enabled else "http")
    question = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    # Nothing secret is sent to this machine's own port, whose certificate may be for another name.
    tls = ClientTlsConfig(insecure_skip_verify=True)
    for address in resolve(Address(host, bound.port))[0]:
        try:
            return ask(url, address, tls, question, MAX_DOCUMENT_BYTES)
        except (OSError, HTTPException):
            continue
    return None
