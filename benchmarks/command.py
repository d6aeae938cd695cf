"""What the command lines of benchmarks share: options that are checked at once, and an end that is told in one line."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

RUNTIMES = ("uvloop", "asyncio", "trio")

INTERRUPTED = 130
"""The exit code that shells give a program that was ended by Ctrl-C."""


def names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return the type of an option: some of these names, with commas between."""

    def read(text: str) -> list[str]:
        found = text.split(",")
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return read


def seconds(text: str) -> float:
    """Return a time above 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"wants a number above 0, found '{text}'")
    return found


def new_file(text: str) -> Path:
    """Return the path of a file that can be written, so that this does not fail at the end of a long run."""
    path = Path(text)
    try:
        with path.open("a"):
            pass
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {error.strerror}") from None
    return path


def end_with(main: Callable[[], int | None]) -> NoReturn:
    """End the program with what ``main`` returns, also where a user or a pipe ends it before."""
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # such as "| head": nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
