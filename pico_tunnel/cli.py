"""The ``pico`` command's entry point, and the one place that turns every failure into a message and an exit code.

The message is one line on standard error that says what failed and what to do. The exit code is 2 for usage and
configuration, 1 for what fails later. This module imports next to nothing, so that an interrupt while a command is
imported is handled here too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from pico_core.errors import EXIT_INTERRUPTED
from pico_tunnel.complaints import EXIT_FAILURE, EXIT_USAGE, complain
from pico_tunnel.early_signals import is_long_running, kept_early
from pico_tunnel.standard_descriptors import fill_standard_descriptors

if TYPE_CHECKING:
    from click import ClickException


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process by default) and return the exit code; never raises."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        fill_standard_descriptors()
        with kept_early() if is_long_running(given) else nullcontext():
            return _run(given)
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a bug of ours: an operator gets its kind and place, not a traceback
        complain(f"internal error, please report it: {error!r} in {_place(error)}")
        return EXIT_FAILURE


def _run(arguments: Sequence[str]) -> int:
    import click

    from pico_core.errors import ConfigError
    from pico_tunnel.commands import pico

    try:
        return int(pico.main(arguments, prog_name="pico", standalone_mode=False) or 0)
    except click.Abort:  # what click makes of an interrupt
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        complain(_usage(error))
        return EXIT_USAGE
    except ConfigError as error:
        complain(str(error))
        return EXIT_USAGE
    except OSError as error:
        if not _is_of_echo(error):
            raise
        from pico_tunnel.answer import unwritten

        complain(unwritten(error))
        return EXIT_FAILURE


def _is_of_echo(error: OSError) -> bool:
    """Return whether click could not print, as help on a full disk."""
    import traceback

    import click.utils

    return traceback.extract_tb(error.__traceback__)[-1].filename == click.utils.__file__


def _usage(error: ClickException) -> str:
    """Return click's error as one line, with the nearest flag and where to read on."""
    import re

    import click

    from pico_core.config.nearest import did_you_mean
    from pico_driver.files import looks_secret

    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if context is None:
        return message
    if isinstance(error, click.NoSuchOption):
        flags = [flag for param in context.command.get_params(context) for flag in param.opts if flag.startswith("--")]
        name = _without_value(error.option_name, flags)
        places = _commands_with(name)
        hint = f" here: it is a flag of {' and '.join(places)}" if places else did_you_mean(name, flags)
        message = f"there is no flag {name}{hint}"
    elif message.startswith(("got unexpected extra argument", "there is no command")):
        message = re.sub(r"[^\s()']{16,}", lambda word: "***" if looks_secret(word[0]) else word[0], message)
    return f"{message} (see '{context.command_path} --help')"


def _commands_with(flag: str) -> list[str]:
    """Return the long-running commands that have the flag, quoted."""
    from pico_core.config.declare import flag_name
    from pico_tunnel.flags import agent_keys, forward_keys, server_keys

    keys = {"'pico server'": server_keys, "'pico agent'": agent_keys, "'pico forward'": forward_keys}
    return [
        command
        for command, groups in keys.items()
        if any(flag == flag_name(leaf.name) for _, leaves in groups() for leaf in leaves)
    ]


def _without_value(name: str, flags: Iterable[str]) -> str:
    """Return a flag that is not known, without what may be its value: ``--connect.token:SECRET``."""
    for flag in sorted(flags, key=len, reverse=True):
        if name.startswith(flag) and len(name) >= len(flag) + 16:
            return f"{flag}..."
    return name


def _place(error: Exception) -> str:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}, {frame.filename}:{frame.lineno}"
