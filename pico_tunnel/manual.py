"""The man pages, made from the help of the command line: ``python -m pico_tunnel.manual DIR`` writes one a command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from pico_core.errors import EXIT_INTERRUPTED
from pico_tunnel import __version__
from pico_tunnel.commands import pico
from pico_tunnel.complaints import EXIT_FAILURE, EXIT_USAGE, complain
from pico_tunnel.flags import ConfigCommand, KeyOption

Definition = tuple[str, str]

EXIT_CODES = {
    "0": "It did what was asked.",
    str(EXIT_FAILURE): "It failed, as one line on standard error says.",
    str(EXIT_USAGE): "The command line or the configuration cannot be used.",
    str(EXIT_INTERRUPTED): "It was interrupted.",
}


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    return {f"{context.command_path.replace(' ', '-')}.1": page(context) for context in contexts()}


def contexts(parent: click.Context | None = None, name: str = "pico") -> Iterator[click.Context]:
    """Yield a context of every command, each group before what is in it."""
    command: click.Command = pico
    if parent is not None:
        assert isinstance(parent.command, click.Group)
        found = parent.command.get_command(parent, name)
        assert found is not None
        command = found
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from contexts(context, each)


def page(context: click.Context) -> str:
    """Return the page of one command."""
    command, path = context.command, context.command_path
    summary = command.get_short_help_str(limit=200).rstrip(".")
    lines = [f'.TH "{path.upper().replace(" ", "-")}" 1 "" "Pico {__version__}" "Pico"']
    lines += [".SH NAME", f"{escaped(path.replace(' ', '-'))} \\- {escaped(summary)}"]
    lines += [".SH SYNOPSIS", f"\\fB{escaped(path)}\\fR {escaped(' '.join(command.collect_usage_pieces(context)))}"]
    lines += [".SH DESCRIPTION", *_paragraphs(inspect.cleandoc(command.help or summary))]
    if isinstance(command, click.Group):
        rows = [(name, each.get_short_help_str(limit=200)) for name, each in _below(context, command)]
        lines += [".SH COMMANDS", *_list(rows)]
    lines.append(".SH OPTIONS")
    for title, options in _options(context):
        lines += [*([f".SS {escaped(title)}"] if title else []), *_list(options)]
    examples = getattr(command, "examples", "")
    if examples:
        lines += [".SH EXAMPLES", ".nf", *(escaped(line) for line in examples.splitlines()), ".fi"]
    lines += [".SH EXIT STATUS", *_list(EXIT_CODES.items())]
    others = [context.parent.command_path] if context.parent else []
    if isinstance(command, click.Group):
        others += [f"{path} {name}" for name, _ in _below(context, command)]
    lines += [".SH SEE ALSO", ",\n".join(f"\\fB{escaped(each.replace(' ', '-'))}\\fR(1)" for each in others)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return one line as roff has it: a backslash, a dash and a dot at the beginning mean themselves."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{text}" if text.startswith((".", "\\(aq")) else text


def _below(context: click.Context, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            yield name, command


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield from (escaped(line.strip()) for line in paragraph.splitlines() if line.strip() != "\b")


def _options(context: click.Context) -> Iterator[tuple[str, list[Definition]]]:
    """Yield the flags by title: the command's own without one, then those of the configuration."""
    params = context.command.get_params(context)
    own = [param for param in params if isinstance(param, click.Option) and not isinstance(param, KeyOption)]
    yield "", [row for option in own if (row := option.get_help_record(context)) is not None]
    if isinstance(context.command, ConfigCommand):
        for title, options in context.command.key_options:
            if options:
                yield title, [option.row for option in options]


def _list(rows: Iterable[Definition]) -> Iterator[str]:
    for term, meaning in rows:
        yield ".TP"
        yield f"\\fB{escaped(term)}\\fR"
        yield escaped(" ".join(meaning.split()))


def write(folder: Path) -> int:
    """Write the pages into a folder, which is made; return how many. Raises ``OSError``."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for name, text in written.items():
        (folder / name).write_text(text)
    return len(written)


def main(arguments: list[str]) -> int:
    """Run the module; the one argument is the folder."""
    if len(arguments) != 1:
        complain("give one folder: python -m pico_tunnel.manual DIR")
        return EXIT_USAGE
    try:
        count = write(Path(arguments[0]))
    except OSError as error:
        complain(f"cannot write to {arguments[0]!r}: {error}")
        return EXIT_FAILURE
    click.echo(f"{count} pages in {arguments[0]}; read one with: man -l {arguments[0]}/pico.1")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
