"""How a command fails: one line on standard error, and an exit code."""

from __future__ import annotations

import sys

EXIT_FAILURE = 1
EXIT_USAGE = 2


def complain(message: str) -> None:
    """Write one line to standard error, however ``message`` is spelt and whether or not it is read."""
    import time

    from pico_tunnel.output import LAST_WRITES_S, standard_output

    output = standard_output(sys.stderr)
    output.write(f"pico: {one_line(message)}\n".encode(errors="backslashreplace"), 1)
    output.close(time.monotonic() + LAST_WRITES_S)


def one_line(message: str) -> str:
    """Return a message without control characters, and without the credentials of a mistyped command."""
    import re

    message = re.sub(r"(?i)([a-z][a-z0-9+.-]*://)[^\s'\"]*@", r"\1***@", message)
    return " ".join("".join(character if character.isprintable() else " " for character in message).split())
