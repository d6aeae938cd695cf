"""``pico log-level``: what a running server, agent or forwarder logs, asked and changed over its admin port."""

from __future__ import annotations

from typing import Any

import click

from pico_tunnel.answer import Unanswered
from pico_tunnel.complaints import complain
from pico_tunnel.status import StatusCommand, ask, given_token, show

RESET = "reset"


@click.command(
    "log-level",
    cls=StatusCommand,
    watches=False,
    forwards=False,
    short_help="Show and change what a running process logs.",
    examples="""\
What does the server on this machine log?
  pico log-level
Debug lines of one part, and back to what is configured:
  pico log-level gossip debug
  pico log-level gossip reset
An agent or a forwarder, by its admin port:
  pico log-level agent debug --server.url http://localhost:8004
Everything as it is configured:
  pico log-level all reset""",
)
@click.argument("subsystem", required=False)
@click.argument("level", required=False)
def log_level(
    subsystem: str | None,
    level: str | None,
    server_url: str,
    token: str | None,
    token_file: str | None,
    as_json: bool,
    **tls: Any,
) -> int:
    """Set the least important LEVEL that a process logs of SUBSYSTEM, or of 'all' that have no level of their own.

    LEVEL is debug, info, warning, error or reset.

    'reset' undoes it. So do SIGHUP and a restart: nothing is written to a file. Without a token the admin port takes
    changes from its own machine only.
    """
    from urllib.parse import quote

    from pico_core.config.logs import LEVELS

    if subsystem is not None and level is None:
        raise click.UsageError(f"missing LEVEL: {', '.join(LEVELS)} or {RESET}")
    path, method = "/log-levels", "GET"
    if subsystem is not None:
        path += f"/{quote(subsystem, safe='')}" + ("" if level == RESET else f"?level={quote(level or '', safe='')}")
        method = "DELETE" if level == RESET else "PUT"
    try:
        found = ask(server_url, path, None, dict[str, Any], given_token(token, token_file), tls, method)
        show(found, as_json=as_json)
    except Unanswered as error:
        complain(str(error))
        return error.code
    return 0
