"""The nearest known name to a mistyped one, for error texts that help."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most like ``name``, or nothing when none is like it."""
    import difflib  # 5 ms that only an error needs

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name most like ``name``, or nothing when none is like it."""
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else ""
