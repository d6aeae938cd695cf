"""``pico completion``: the lines that make a shell complete commands and flags. The generator is click's."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from pico_tunnel.flags import TeachingGroup

VARIABLE = "_PICO_COMPLETE"
"""By this variable click knows that a shell asks for words, not for the command to be run."""

HINTS = {
    "bash": "source <(pico completion bash)      in ~/.bashrc",
    "zsh": "source <(pico completion zsh)       in ~/.zshrc, after compinit",
    "fish": "pico completion fish | source       in ~/.config/fish/config.fish",
}


def script(shell: str, program: click.Command) -> str:
    """Return the lines for a shell, one of ``HINTS``, that complete a program. Raises ``click.UsageError``."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell!r}")
    # Not the method of ``kind``: the one for bash starts bash to ask for its version.
    return ShellComplete.source(kind(program, {}, "pico", VARIABLE))


@click.group(
    cls=TeachingGroup,
    short_help="Print the lines that complete commands in a shell.",
    examples="\n".join(f"In {shell}:\n  {hint}" for shell, hint in HINTS.items()),
)
def completion() -> None:
    """Print a script for a shell, which then completes the commands and flags of pico."""


def _command(shell: str) -> click.Command:
    def show() -> int:
        click.echo(script(shell, click.get_current_context().find_root().command))
        return 0

    summary = f"Print the script for {shell}."
    return click.Command(shell, callback=show, help=f"{summary}\n\n{HINTS[shell]}", short_help=summary)


for _shell in HINTS:
    completion.add_command(_command(_shell))
