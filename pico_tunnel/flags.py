"""Commands whose flags are the keys of a configuration, made from its declaration when the command is used.

``pico --help`` must not pay for the declarations of every command, so a ``ConfigCommand`` asks for its keys only when
it parses or explains its own flags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from pico_core.config.nearest import did_you_mean
from pico_core.errors import ConfigError
from pico_tunnel.complaints import complain
from pico_tunnel.runtime import RUNTIMES

if TYPE_CHECKING:
    from pico_core.boundary import Exit
    from pico_core.config.declare import Leaf, Section

    Groups = list[tuple[str, list[Leaf]]]

GENERAL = "General"


def checked(parser: str) -> Callable[[click.Context, click.Parameter, str], str]:
    """Return the callback of an argument or option: a parser in ``values`` must accept it, and it stays text."""

    def check(ctx: click.Context, param: click.Parameter, value: str) -> str:
        from pico_core.config import values

        try:
            getattr(values, parser)(value)
        except ConfigError as error:
            name = param.opts[0] if isinstance(param, click.Option) else f"argument {param.human_readable_name}"
            raise click.UsageError(f"{name}: {error}", ctx) from None
        return value

    return check


def groups(root: type[Section], title: str = GENERAL, without: tuple[str, ...] = ()) -> Groups:
    """Return the keys of ``root`` by the section they are in, those of no section first under ``title``."""
    from pico_core.config.declare import leaves, members

    result: Groups = [(title, [])]
    for name, member in members(root).items():
        if member.key is not None:
            result[0][1].extend(leaf for leaf in leaves(root) if leaf.name == name and name not in without)
        elif member.section is not None:
            summary = (member.section.__doc__ or "").splitlines()[0]
            result.append((summary.rstrip("."), list(leaves(member.section, f"{name}."))))
    return result


def server_keys() -> Groups:
    """Return the keys of a server by the titles of their sections."""
    from pico_core.config.server import ServerConfig

    return groups(ServerConfig)


def agent_keys() -> Groups:
    """Return the keys of an agent by the titles of their sections."""
    from pico_core.config.agent import AgentConfig

    return groups(AgentConfig)


def forward_keys() -> Groups:
    """Return the keys of a forwarder by the titles of their sections."""
    from pico_core.config.forward import ForwardConfig

    return groups(ForwardConfig)


def reads_file(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of every command that reads a configuration: file, expansion."""
    options = (
        click.option(
            "--config.path",
            "config_path",
            type=click.Path(),
            metavar="FILE",
            help="Read the configuration from a YAML file.",
        ),
        click.option(
            "--config.expand-env",
            "expand_env",
            is_flag=True,
            help="Replace $NAME, ${NAME} and ${NAME:default} in the file from the environment.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def finish(end: Exit) -> int:
    """Turn the end of a node into the end of the command."""
    if end.message:
        complain(end.message)
    return end.code


def runnable(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of every command that runs a node: those of its file, and the runtime."""
    runtime = click.option(
        "--runtime",
        type=click.Choice(RUNTIMES),
        help="What carries the connections.  [default: uvloop where installed, else asyncio]",
    )
    return reads_file(runtime(command))


PIKO_AGENT_FLAGS = {"--server.bind-addr": "--admin.bind-addr"}
"""The name that Piko's agent has for its port of health and metrics."""


class ShortOption(click.Option):
    """A flag that stands for that of one key, with a value of its own where none is given: ``--inspect[=ADDR]``."""

    def __init__(self, declared: Sequence[str], *, key: str, value: Callable[[], str], metavar: str, text: str) -> None:
        super().__init__(declared, is_flag=True, expose_value=False, help=text)
        self.flag = declared[0]
        self._key = key
        self._value = value
        self._row = (f"{self.flag}[={metavar}]", text)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the flag and its text for ``--help``."""
        return self._row

    def meant(self, arg: str) -> str:
        """Return the argument that is meant: that of the key. It never takes the argument after it for its value."""
        flag, equals, value = arg.partition("=")
        return f"{self._key}={value if equals else self._value()}" if flag == self.flag else arg


def _inspector() -> str:
    from pico_core.config.inspect import DEFAULT_ADDRESS

    return DEFAULT_ADDRESS


inspectable = click.option(
    "--inspect",
    cls=ShortOption,
    key="--inspect.bind-addr",
    value=_inspector,
    metavar="ADDR",
    text="Show the requests on a page, at 127.0.0.1:4040 by default. Short for --inspect.bind-addr.",
)
"""Adds the short form of the key of the inspector, to agents with endpoints whose requests it shows."""


TLS_FLAGS = ("root_cas", "cert", "key", "server_name", "insecure_skip_verify")
"""The names of ``tls_options`` when they reach a command."""


def token_options(section: str) -> list[click.Parameter]:
    """Return the flags with which a command takes a token for the server; ``status.given_token`` reads them."""
    return [
        click.Option(
            (f"--{section}.token", "token"), metavar="TOKEN", help="The token to show to a server that asks for one."
        ),
        click.Option((f"--{section}.token-file", "token_file"), metavar="FILE", help="A file with the token."),
    ]


def tls_options(section: str) -> list[click.Parameter]:
    """Return the flags of a client without a configuration file for TLS; their names are those of the keys."""
    helps = {
        "root_cas": "Trust these issuers, in PEM, instead of the system's.",
        "cert": "Show this certificate, in PEM.",
        "key": "Its private key, in PEM.",
        "server_name": "The name that the server's certificate must be for.",
    }
    options: list[click.Parameter] = [
        click.Option((f"--{section}.tls.{name.replace('_', '-')}", name), default="", metavar="TEXT", help=text)
        for name, text in helps.items()
    ]
    skip = f"--{section}.tls.insecure-skip-verify"
    options.append(click.Option((skip, "insecure_skip_verify"), is_flag=True, help="Accept any certificate."))
    return options


class KeyOption(click.Option):
    """The flag of one key. Its value stays text: the configuration's own parser reads it, as it reads the file."""

    def __init__(self, leaf: Leaf) -> None:
        from pico_core.config.declare import SWITCH, flag_name

        self.key = leaf.name
        self.flag = flag_name(leaf.name)
        self.is_switch = leaf.key.kind == SWITCH
        metavar = "[=true|false]" if self.is_switch else f" {leaf.key.kind.metavar}"
        default = f"  [default: {leaf.shown_default}]" if leaf.shown_default else ""
        self.row = (self.flag + metavar, leaf.key.help + default)
        super().__init__([leaf.name.replace(".", "__"), self.flag], multiple=leaf.key.kind.many, help=leaf.key.help)


class TeachingCommand(click.Command):
    """A command with examples, which its help shows."""

    def __init__(self, *arguments: Any, examples: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command is for, and the examples as they are, without filling lines."""
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            for line in self.examples.splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}".rstrip() + "\n")


class TeachingGroup(TeachingCommand, click.Group):
    """Commands with examples. Writes its help when no command is named, and suggests the nearest to an unknown one.

    ``elsewhere`` has functions that import a command: a start of a node spares the code of the others.
    """

    def __init__(
        self,
        *arguments: Any,
        examples: str,
        elsewhere: dict[str, Callable[[], click.Command]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, examples=examples, **settings)
        self._elsewhere = elsewhere or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted((*self.commands, *self._elsewhere))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, which may have to be imported first."""
        load = self._elsewhere.get(cmd_name)
        return super().get_command(ctx, cmd_name) if load is None else load()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; nothing at all asks for help."""
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an interrupt passes without the empty line that click prints for one."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command by its name."""
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:  # a word that a shell wants completed
            flag = f"; did you mean '{ctx.command_path} --{args[0]}'?" if args[0] in ("help", "version") else ""
            ctx.fail(f"there is no command {args[0]!r}{flag or did_you_mean(args[0], names)}")
        return super().resolve_command(ctx, args)


prints_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""The option of every command that prints a document."""


class ConfigCommand(TeachingCommand):
    """A command that takes the keys of ``keys()`` as flags and hands those given to its callback as ``flags``."""

    def __init__(
        self,
        *arguments: Any,
        keys: Callable[[], Groups],
        examples: str,
        aliases: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """``aliases`` are flags of Piko's under another name, and the flags that they stand for."""
        super().__init__(*arguments, examples=examples, **settings)
        self._keys = keys
        self.aliases = aliases or {}

    @cached_property
    def key_options(self) -> list[tuple[str, list[KeyOption]]]:
        """One flag for each key, by the titles of their sections."""
        return [(title, [KeyOption(leaf) for leaf in leaves]) for title, leaves in self._keys()]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command itself and one flag for every key."""
        return [*super().get_params(ctx), *(option for _, options in self.key_options for option in options)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a switch alone means true, and never takes the argument after it for its value."""
        switches = {option.flag for _, options in self.key_options for option in options if option.is_switch}
        return super().parse_args(ctx, [f"{arg}=true" if arg in switches else self._own(arg) for arg in args])

    def _own(self, arg: str) -> str:
        for option in self.params:
            if isinstance(option, ShortOption):
                arg = option.meant(arg)
        flag, equals, value = arg.partition("=")
        return self.aliases.get(flag, flag) + equals + value

    def invoke(self, ctx: click.Context) -> Any:
        """Gather the flags that were given, by key, and run the command."""
        flags: dict[str, str] = {}
        for _, options in self.key_options:
            for option in options:
                value = ctx.params.pop(option.name or "")
                if option.multiple and value:
                    flags[option.key] = ",".join(value)
                elif not option.multiple and value is not None:
                    flags[option.key] = value
        ctx.params["flags"] = flags
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags in groups, the command's own with the keys of no section."""
        own = [param for param in super().get_params(ctx) if isinstance(param, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl([row for option in own if (row := option.get_help_record(ctx)) is not None])
        for title, options in self.key_options:
            if options:
                with formatter.section(title):
                    formatter.write_dl([option.row for option in options])
