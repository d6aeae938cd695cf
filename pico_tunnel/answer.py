"""The answer that a command prints on standard output."""

from __future__ import annotations

import os
import sys
from typing import Any

from pico_tunnel.complaints import EXIT_FAILURE


class Unanswered(Exception):  # noqa: N818 - named after what happened
    """No answer was printed. ``str()`` says why, in one line; ``code`` is the exit code."""

    def __init__(self, message: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.code = code


def write_json(document: Any) -> None:
    """Write a document for programs. Raises ``Unanswered`` as ``write`` does."""
    write(json_text(document))


def json_text(document: Any) -> str:
    """Return a document for programs."""
    import json

    return json.dumps(document, indent=2) + "\n"


def write(text: str) -> bool:
    """Write the answer. Raises ``Unanswered`` if it cannot be written; a pipe that its reader closed early is fine.

    Return whether somebody may read more.
    """
    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        message = unwritten(error)
        if not isinstance(error, BrokenPipeError):
            raise Unanswered(message) from None
        return False
    return True


def unwritten(error: OSError) -> str:
    """Say that standard output does not take the answer, and throw away what is left of it: it would fail at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return f"cannot write the answer: {error.strerror}"
