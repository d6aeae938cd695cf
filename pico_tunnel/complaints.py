"""How a command fails: one line on standard error, and an exit code."""

from __future__ import annotations

import sys

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""128 plus the number of SIGINT, as shells count it."""


def complain(message: str) -> None:
    """Write ``message`` to standard error as one printable line; an error of writing is ignored."""
    line = " ".join("".join(character if character.isprintable() else " " for character in message).split())
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"pico: {line}\n")
            sys.stderr.flush()
        except OSError:
            return
