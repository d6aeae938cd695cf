"""How a command fails: one line on standard error, and an exit code."""

from __future__ import annotations

import sys

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""128 plus the number of SIGINT, as shells count it."""


def complain(message: str) -> None:
    """Write one line to standard error, however ``message`` is spelt and whether or not it is read."""
    line = " ".join("".join(character if character.isprintable() else " " for character in message).split())
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"pico: {line}\n")
            sys.stderr.flush()
        except OSError:
            return
