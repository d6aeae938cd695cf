"""The commands of ``pico``: their arguments, and help that teaches by example.

A command's modules are imported when it runs or prints its help, so ``pico --help`` imports click and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pico_core.config.nearest import did_you_mean
from pico_tunnel.flags import (
    PIKO_AGENT_FLAGS,
    ConfigCommand,
    TeachingGroup,
    agent_keys,
    checked,
    finish,
    forward_keys,
    groups,
    inspectable,
    reads_file,
    runnable,
    server_keys,
)
from pico_tunnel.gossip_key import key
from pico_tunnel.serving import run_server
from pico_tunnel.start import ServerSource, read_config, run_agent, run_forward
from pico_tunnel.status import limits, status

if TYPE_CHECKING:
    from pico_tunnel.flags import Groups


def _bench() -> click.Command:
    from pico_tunnel.bench import bench

    return bench


def _completion() -> click.Command:
    from pico_tunnel.completion import completion

    return completion


def _doctor() -> click.Command:
    from pico_tunnel.doctor import doctor

    return doctor


def _explain() -> click.Command:
    from pico_tunnel.explain import explain_command

    return explain_command


def _log_level() -> click.Command:
    from pico_tunnel.log_level import log_level

    return log_level


def _token() -> click.Command:
    from pico_tunnel.token import token

    return token


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from pico_tunnel.version import text

        click.echo(text())
        ctx.exit()


@click.group(
    cls=TeachingGroup,
    elsewhere={
        "bench": _bench,
        "completion": _completion,
        "doctor": _doctor,
        "explain": _explain,
        "log-level": _log_level,
        "token": _token,
    },
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
    examples="""\
On one machine, with a service on port 3000:
  pico server
  pico agent http my-endpoint 3000
  curl -H 'x-pico-endpoint: my-endpoint' http://localhost:8000/""",
)
@click.option(
    "--version",
    "-V",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version, the runtime, the build and the commit where it is known, and exit.",
)
def pico() -> None:
    """Reach services that have no public address, through a cluster of equal nodes.

    A server takes requests from clients and tunnels from agents; an agent runs next to your service and opens the
    tunnel; the endpoint ID brings the two together.
    """


# --- pico server -----------------------------------------------------------------------------------------------------


@click.command(
    "check",
    cls=ConfigCommand,
    keys=server_keys,
    short_help="Check a configuration, and explain its policies.",
    examples="""\
Is the file good?
  pico server check --config.path server.yaml
What becomes of a request?
  pico server check --config.path server.yaml --request 'GET http://my-endpoint.example.com/x' --client 10.1.2.3
And with credentials?
  pico server check ... --header 'Authorization: Basic YWxpY2U6c2VjcmV0'""",
)
@click.option("--request", metavar="'METHOD URL'", help="Explain which policy this request would meet.")
@click.option("--client", metavar="IP", help="The address that sends the request.")
@click.option("--header", "fields", multiple=True, metavar="'NAME: VALUE'", help="A header field of the request.")
@reads_file
def server_check(flags: dict[str, str], config_path: str | None, expand_env: bool, **common: Any) -> int:
    """Look through a configuration as a start would, without opening a port.

    Exits with 0 if it is good and the request would pass, with 1 if the request would be refused, and with 2 and the
    line if the configuration cannot be used.
    """
    from pico_tunnel.check import check

    return check(flags, config_path, expand_env, **common)


@click.command("password", short_help="Draw a password for a user of a policy.")
@click.argument("name")
def server_password(name: str) -> int:
    """Draw a password for the user NAME, and print it above the line of 'basic_auth' that has its hash only."""
    from pico_tunnel.password import draw

    password, line = draw(name)
    click.echo(f"password:    {password}\nbasic_auth:  {line}")
    return 0


class ServerCommand(ConfigCommand, click.Group):
    """Runs a node, unless a command follows: then the flags of a node are refused."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. An unknown word is most often meant as the value of a switch, which needs ``=`` for it."""
        hint = did_you_mean(args[0], self.commands)
        if args[0] not in self.commands and not ctx.resilient_parsing:  # a word that a shell wants completed
            ctx.fail(f"there is no command {args[0]!r}{hint}" if hint else f"got unexpected extra argument ({args[0]})")
        names = [param.name or "" for param in self.get_params(ctx)]
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names):
            ctx.fail(f"the flags of 'pico server' are of no use to {args[0]!r}; its own come after it")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, before many flags hide them."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


@pico.command(
    cls=ServerCommand,
    keys=server_keys,
    commands=[status, limits, server_check, server_password, key],
    invoke_without_command=True,
    subcommand_metavar="[status|limits|check|password|key ...]",
    short_help="Run a node of the cluster.",
    examples="""\
For this machine alone, to try things out:
  pico server --dev
A cluster of one:
  pico server
A node that joins others through a name that resolves to all of them:
  pico server --cluster.join pico
On Kubernetes, where the file says 'node_id_prefix: ${POD_NAME}-':
  pico server --config.path /config/server.yaml --config.expand-env
All cores of the machine:
  pico server --workers auto
A second node on the same machine:
  pico server --proxy.bind-addr :9000 --upstream.bind-addr :9001 --admin.bind-addr :9002 \\
              --cluster.gossip.bind-addr :9003 --cluster.join 127.0.0.1:8003
What a running server knows:
  pico server status cluster nodes""",
)
@click.option(
    "--dev", is_flag=True, help="For this machine alone: loopback only, no other nodes, a stop without delay."
)
@runnable
def server(flags: dict[str, str], config_path: str | None, expand_env: bool, runtime: str | None, dev: bool) -> int:
    """Run a node: clients on port 8000, agents on 8001, operators on 8002, other nodes on 8003.

    Every key of the configuration file is a flag as well; a flag wins over the file.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return 0  # click runs a group before the command that follows
    if dev:
        return _run_dev_server(flags, config_path, runtime)
    return finish(run_server(ServerSource(flags, config_path, expand_env=expand_env), runtime))


def _run_dev_server(flags: dict[str, str], config_path: str | None, runtime: str | None) -> int:
    from pico_tunnel.dev import check_loopback, dev_flags

    source = ServerSource(dev_flags(flags, config_path), None, expand_env=False)
    check_loopback(source.read())
    return finish(run_server(source, runtime))


# --- pico agent ------------------------------------------------------------------------------------------------------


def _listener_keys() -> Groups:
    from pico_core.config.agent import ListenerConfig

    given = ("endpoint_id", "addr", "protocol")
    return [*groups(ListenerConfig, title="Listener", without=given), *agent_keys()]


def _asgi() -> click.Command:
    from pico_tunnel.app import agent_asgi

    return agent_asgi


def _wsgi() -> click.Command:
    from pico_tunnel.app import agent_wsgi

    return agent_wsgi


@pico.group(
    cls=TeachingGroup,
    elsewhere={"asgi": _asgi, "wsgi": _wsgi},
    short_help="Connect services to the cluster.",
    examples="""\
One HTTP service:
  pico agent http my-endpoint 3000
One TCP service, on another machine:
  pico agent tcp my-database 10.0.0.7:5432
An application in Python, without a port:
  pico agent asgi my-endpoint main:app
Many of them, from a file:
  pico agent start --config.path agent.yaml""",
)
def agent() -> None:
    """Register endpoints and forward their requests to services that this machine can reach."""


@agent.command(
    "http",
    cls=ConfigCommand,
    keys=_listener_keys,
    aliases=PIKO_AGENT_FLAGS,
    short_help="Connect one HTTP service.",
    examples="""\
A service on this machine:
  pico agent http my-endpoint 3000
A service on another one, through a distant cluster:
  pico agent http my-endpoint http://10.0.0.7:3000 --connect.url http://pico.example.com:8001
With a page that shows each request, at http://127.0.0.1:4040/:
  pico agent http my-endpoint 3000 --inspect""",
)
@click.argument("endpoint", callback=checked("identifier"))
@click.argument("addr", callback=checked("origin"))
@inspectable
@runnable
def agent_http(endpoint: str, addr: str, flags: dict[str, str], **common: Any) -> int:
    """Forward the requests of ENDPOINT to the HTTP service at ADDR: a port, a host:port or a URL.

    Of a configuration file, the listeners are left alone: this command runs the one it names.
    """
    return _run_listener({"endpoint_id": endpoint, "addr": addr, "protocol": "http"}, flags, **common)


@agent.command(
    "tcp",
    cls=ConfigCommand,
    keys=_listener_keys,
    aliases=PIKO_AGENT_FLAGS,
    short_help="Connect one TCP service.",
    examples="""\
A service on this machine:
  pico agent tcp my-database 5432
A service on another one, through a distant cluster:
  pico agent tcp my-database 10.0.0.7:5432 --connect.url http://pico.example.com:8001""",
)
@click.argument("endpoint", callback=checked("identifier"))
@click.argument("addr", callback=checked("origin"))
@runnable
def agent_tcp(endpoint: str, addr: str, flags: dict[str, str], **common: Any) -> int:
    """Forward the connections of ENDPOINT to the TCP service at ADDR: a port or a host:port.

    Of a configuration file, the listeners are left alone: this command runs the one it names.
    """
    return _run_listener({"endpoint_id": endpoint, "addr": addr, "protocol": "tcp"}, flags, **common)


def _run_listener(
    listener: dict[str, str], flags: dict[str, str], config_path: str | None, expand_env: bool, runtime: str | None
) -> int:
    """Run an agent with one listener: flags of the listener's own keys go to it, the others to the agent."""
    from msgspec.structs import replace

    from pico_core.config.agent import AgentConfig, ListenerConfig
    from pico_core.config.declare import leaves

    of_agent = {leaf.name for leaf in leaves(AgentConfig)}
    own = {name: text for name, text in flags.items() if name not in of_agent}
    rest = {name: text for name, text in flags.items() if name in of_agent}

    def read() -> AgentConfig:
        one = read_config(ListenerConfig, {**own, **listener})
        return replace(read_config(AgentConfig, rest, config_path, expand_env=expand_env), listeners=(one,))

    return finish(run_agent(read, runtime))


@agent.command(
    "start",
    cls=ConfigCommand,
    keys=agent_keys,
    aliases=PIKO_AGENT_FLAGS,
    short_help="Connect the services a file lists.",
    examples="""\
pico agent start --config.path agent.yaml

where agent.yaml says:
  listeners:
    - endpoint_id: my-endpoint
      addr: 3000
    - endpoint_id: my-database
      addr: 10.0.0.7:5432
      protocol: tcp""",
)
@inspectable
@runnable
def agent_start(flags: dict[str, str], config_path: str | None, expand_env: bool, runtime: str | None) -> int:
    """Forward the requests of every endpoint under 'listeners' of the configuration file."""
    from pico_core.config.agent import AgentConfig

    return finish(run_agent(lambda: read_config(AgentConfig, flags, config_path, expand_env=expand_env), runtime))


# --- pico forward ----------------------------------------------------------------------------------------------------


@pico.group(
    cls=TeachingGroup,
    short_help="Reach tcp endpoints from this machine.",
    examples="""\
One endpoint:
  pico forward tcp 5432 my-database
Many of them, from a file:
  pico forward start --config.path forward.yaml""",
)
def forward() -> None:
    """Listen on this machine and forward connections to tcp endpoints, through the cluster."""


@forward.command(
    "tcp",
    cls=ConfigCommand,
    keys=forward_keys,
    short_help="Forward one port.",
    examples="""\
For programs on this machine:
  pico forward tcp 5432 my-database
For others too, through a distant cluster:
  pico forward tcp :5432 my-database --connect.url http://pico.example.com:8000""",
)
@click.argument("addr", callback=checked("local_address"))
@click.argument("endpoint", callback=checked("identifier"))
@runnable
def forward_tcp(
    addr: str, endpoint: str, flags: dict[str, str], config_path: str | None, expand_env: bool, runtime: str | None
) -> int:
    """Listen on ADDR and forward connections to ENDPOINT. A port alone listens for this machine only.

    Of a configuration file, the ports are left alone: this command runs the one it names.
    """
    from msgspec.structs import replace

    from pico_core.config.forward import ForwardConfig, PortConfig

    def read() -> ForwardConfig:
        port = read_config(PortConfig, {"addr": addr, "endpoint_id": endpoint})
        return replace(read_config(ForwardConfig, flags, config_path, expand_env=expand_env), ports=(port,))

    return finish(run_forward(read, runtime))


@forward.command(
    "start",
    cls=ConfigCommand,
    keys=forward_keys,
    short_help="Forward the ports a file lists.",
    examples="""\
pico forward start --config.path forward.yaml

where forward.yaml says:
  ports:
    - addr: 5432
      endpoint_id: my-database""",
)
@runnable
def forward_start(flags: dict[str, str], config_path: str | None, expand_env: bool, runtime: str | None) -> int:
    """Forward every port under 'ports' of the configuration file."""
    from pico_core.config.forward import ForwardConfig

    return finish(run_forward(lambda: read_config(ForwardConfig, flags, config_path, expand_env=expand_env), runtime))
