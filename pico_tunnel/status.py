"""``pico server status``: what a server knows, asked over its admin port and printed as YAML."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pico_tunnel.answer import Unanswered, json_text, write
from pico_tunnel.complaints import complain
from pico_tunnel.flags import TeachingCommand, TeachingGroup, prints_json, tls_options, token_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from pico_core.access.secret import Secret
    from pico_core.boundary import Exit, Machine
    from pico_core.plain.client import PlainResponse
    from pico_core.records import Sink
    from pico_driver.tls_profiles import Profiles

DEFAULT_ADMIN_URL = "http://localhost:8002"

WATCH_SECONDS = (1, 3600)
"""The pauses that may be asked for: a question costs a server some milliseconds, and people see no more."""

NODE_STATUSES = ("active", "unreachable", "left")
"""Those of ``NodeStatus``, written again: its module imports msgspec, which no help needs."""


def ask(
    url: str,
    path: str,
    forward: str | None,
    kind: Any,
    token: Secret | None = None,
    tls: dict[str, Any] | None = None,
    method: str = "GET",
    drive: Callable[[Machine, Sink, Profiles | None], Exit] | None = None,
) -> Any:
    """Return the document of type ``kind`` at ``path`` of a server's admin port, or of node ``forward`` through it.

    ``tls`` are the keys of ``ClientTlsConfig``. ``drive`` runs the machine, in this thread if it is left out.
    Raises ``Unanswered``, and ``ConfigError`` for a wrong URL or file.
    """
    from urllib.parse import quote

    from pico_core.config.tls import STATUS_PROFILE
    from pico_core.config.values import ADMIN_URL, server_url
    from pico_core.errors import ConfigError
    from pico_core.status import StatusMachine
    from pico_driver.tls_sections import client_sections, load_profiles
    from pico_tunnel.runtime import drop_record, run

    try:
        server = server_url(url, ADMIN_URL)
    except ConfigError as error:
        raise ConfigError(f"--server.url: {error}") from None
    node = StatusMachine(
        server, path if forward is None else f"{path}?forward={quote(forward, safe='')}", token, method
    )
    profiles = load_profiles(client_sections(server, STATUS_PROFILE, "server.tls", tls or {}))
    end = run(node, drop_record, "asyncio", profiles=profiles) if drive is None else drive(node, drop_record, profiles)
    if node.response is None:
        raise Unanswered(end.message, end.code)
    return _document(node.response, str(server), kind)


def _document(response: PlainResponse, server: str, kind: Any) -> Any:
    import msgspec

    try:
        if response.status == 200:
            return msgspec.json.decode(response.body, type=kind)
        told = msgspec.json.decode(response.body, type=dict[str, str])
        error = told["error"]
    except (msgspec.DecodeError, KeyError):  # not an answer of a Pico server
        raise Unanswered(
            f"{server} is not the admin port of a Pico server: it answered {response.status} "
            f"{response.content_type or 'without a content type'}; give it with --server.url"
        ) from None
    other = other_port(told)
    if other:
        raise Unanswered(
            f"{server} is the {other} port of a Pico server, not its admin port: "
            f"give that one with --server.url, such as {DEFAULT_ADMIN_URL}"
        )
    advice = "; give a token with --server.token or --server.token-file" if response.status == 401 else ""
    raise Unanswered(f"{server} answered {response.status}: {error}{advice}")


def other_port(told: dict[str, str]) -> str:
    """Return which port it is whose refusal was told; empty for an admin port."""
    if told.get("error", "").startswith("not found: agents connect to"):
        return "upstream"
    return "proxy" if "request_id" in told and "by" in told else ""


def given_token(text: str | None, path: str | None) -> Secret | None:
    """Return the token that a flag gives or names the file of. Raises ``ConfigError``."""
    from pico_core.config import secrets
    from pico_core.errors import ConfigError
    from pico_driver.files import read_secret

    if text:
        from pico_tunnel.process import hide_arguments

        hide_arguments([text])
    if text and path:
        raise ConfigError("--server.token and --server.token-file exclude each other; give one of them")
    flag = "--server.token-file" if path else "--server.token"
    try:
        return secrets.token_in(path, read_secret(path)) if path else secrets.token(text or "")
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from None


def show(document: Any, *, as_json: bool) -> None:
    """Print a document in ASCII, as JSON or YAML: nothing in it can reach a terminal as a control sequence.

    Raises ``Unanswered`` if it cannot be written; a pipe that its reader closed early is fine.
    """
    write(shown(document, as_json=as_json))


def shown(document: Any, *, as_json: bool) -> str:
    """Return a document in ASCII, as JSON or YAML."""
    if as_json:
        return json_text(document)
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False))


def _print(
    path: str,
    kind: Any,
    server_url: str,
    forward: str | None,
    token: str | None,
    token_file: str | None,
    as_json: bool,
    status: str | None = None,
    watch: float | None = None,
    **tls: Any,
) -> int:
    def text(drive: Any = None) -> str:
        document = ask(server_url, path, forward, kind, given_token(token, token_file), tls, drive=drive)
        if status is not None:
            document = [node for node in document if node.get("status") == status]
        return shown(document, as_json=as_json)

    try:
        if watch is not None:
            from pico_tunnel import watching

            ask_again = partial(text, watching.drive_aside)
            return watching.watch(ask_again, watch, separator="" if as_json else "---\n")
        write(text())
    except Unanswered as error:
        complain(str(error))
        return error.code
    return 0


def _path(table: str, node_id: str) -> str:
    from urllib.parse import quote

    return f"/status/{table}/nodes/{quote(node_id, safe='')}"


# --- the commands ----------------------------------------------------------------------------------------------------


class StatusCommand(TeachingCommand):
    """A command that asks a server, with the options that name the server."""

    def __init__(
        self, name: str | None, examples: str, *, forwards: bool = True, watches: bool = True, **settings: Any
    ) -> None:
        """``forwards`` says that the command can be about another node than the one that is asked.

        ``watches`` says that it can ask again and again.
        """
        super().__init__(name, examples=examples, **settings)
        url = click.Option(
            ("--server.url", "server_url"),
            default=DEFAULT_ADMIN_URL,
            show_default=True,
            metavar="URL",
            help="The admin port of the server to ask.",
        )
        forward = click.Option(("--forward",), metavar="NODE", help="Have the server ask the node with this ID.")
        watch = click.Option(
            ("--watch",),
            type=click.FloatRange(*WATCH_SECONDS),
            metavar="SECONDS",
            help="Ask again every so many seconds, until Ctrl-C.",
        )
        asked = [
            url,
            *token_options("server"),
            *([forward] if forwards else []),
            *tls_options("server"),
            *([watch] if watches else []),
        ]
        self.params += asked
        prints_json(self)


@click.group(
    "status",
    cls=TeachingGroup,
    short_help="Show what a running server knows.",
    examples="""\
The endpoints with a tunnel at the server on this machine:
  pico server status upstream endpoints
All nodes of the cluster, as a distant server sees them:
  pico server status cluster nodes --server.url http://10.26.104.14:8002
What another node, which only the server can reach, says of itself:
  pico server status cluster node local --forward pico-1-x7k2m9q
The same for a program:
  pico server status cluster nodes --json
Again every two seconds:
  pico server status cluster nodes --watch 2""",
)
def status() -> None:
    """Ask a running server over its admin port and print its answer as YAML, or as JSON with --json."""


@status.group(
    cls=TeachingGroup,
    short_help="Tunnels of the server.",
    examples="""\
pico server status upstream endpoints
pico server status upstream agents --forward pico-1-x7k2m9q""",
)
def upstream() -> None:
    """Show what is connected to the server's upstream port."""


@upstream.command(cls=StatusCommand, examples="pico server status upstream endpoints")
def endpoints(**common: Any) -> int:
    """Print the endpoints that have a tunnel at the server, with the number of tunnels."""
    return _print("/status/upstream/endpoints", dict[str, Any], **common)


@upstream.command(cls=StatusCommand, examples="pico server status upstream agents")
def agents(**common: Any) -> int:
    """Print the tunnels of the server: the address and the version of each agent, and for how long it is connected.

    'rows' has the first 1,000 in the order of their endpoints, 'count' is the number of all.
    """
    return _print("/status/upstream/agents", dict[str, Any], **common)


@status.command(cls=StatusCommand, forwards=False, examples="pico server status workers")
def workers(**common: Any) -> int:
    """Print the workers of a server that was started with --workers: their processes, and how often they ended."""
    return _print("/status/workers", list[dict[str, Any]], forward=None, **common)


@status.group(
    cls=TeachingGroup,
    short_help="Nodes, and the endpoints they serve.",
    examples="""\
pico server status cluster nodes --status unreachable
pico server status cluster node local""",
)
def cluster() -> None:
    """Show the nodes of the cluster and what they serve, as the server routes requests by it."""


@cluster.command(
    cls=StatusCommand,
    examples="""\
pico server status cluster nodes
pico server status cluster nodes --status active""",
)
@click.option("--status", type=click.Choice(NODE_STATUSES), help="Print only the nodes with this status.")
def nodes(**common: Any) -> int:
    """Print all nodes: addresses, and the numbers of their endpoints and upstreams."""
    return _print("/status/cluster/nodes", list[dict[str, Any]], **common)


@cluster.command(
    "node",
    cls=StatusCommand,
    examples="""\
pico server status cluster node local
pico server status cluster node pico-1-x7k2m9q""",
)
@click.argument("node_id", metavar="ID|local")
def cluster_node(node_id: str, **common: Any) -> int:
    """Print one node with its endpoints; 'local' is the server that is asked."""
    return _print(_path("cluster", node_id), dict[str, Any], **common)


@status.group(
    cls=TeachingGroup,
    short_help="Membership underneath the cluster's view.",
    examples="""\
pico server status gossip nodes
pico server status gossip node pico-1-x7k2m9q""",
)
def gossip() -> None:
    """Show what the nodes tell each other, to find out why the cluster looks as it does."""


@gossip.command("nodes", cls=StatusCommand, examples="pico server status gossip nodes")
def gossip_nodes(**common: Any) -> int:
    """Print all nodes that gossip knows: versions, and for how long they have not answered."""
    return _print("/status/gossip/nodes", list[dict[str, Any]], **common)


@gossip.command("node", cls=StatusCommand, examples="pico server status gossip node pico-1-x7k2m9q")
@click.argument("node_id", metavar="ID|local")
def gossip_node(node_id: str, **common: Any) -> int:
    """Print one node with all keys that it has published."""
    return _print(_path("gossip", node_id), dict[str, Any], **common)


# --- pico server limits ----------------------------------------------------------------------------------------------


@click.command(
    "limits",
    cls=StatusCommand,
    short_help="Show the limits of a running server, and their use.",
    examples="""\
pico server limits
pico server limits --server.url http://10.26.104.14:8002
pico server limits --forward pico-1-x7k2m9q""",
)
def limits(**common: Any) -> int:
    """Print each limit with its key, its value, its present use, and what happens when it is reached.

    'used' is null where nothing adds up. A limit of 0 means that there is no limit.
    """
    return _print("/status/limits", list[dict[str, Any]], **common)
