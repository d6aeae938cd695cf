"""Environment variables in a configuration text: the rules of Go's ``os.Expand``, with ``${VAR:default}``.

A reference is ``$name``, ``${anything}`` or ``$`` and one of the shell's special characters. What is between braces is
taken up to the next closing brace, whatever it is, and split at its first colon into a name and a default, which stands
in for a variable that is undefined or empty. Malformed references (``${}``, ``${`` never closed) are removed; a
dollar that does not start a reference stays.

A default is text of the file, as if it were written in the place of the reference. The value of a variable is not: it
is one piece of a key or value, whatever it holds. So a marker takes its place while the text is read as YAML
(``VariableValues``).
"""

import re
from collections.abc import Callable, Mapping

from pico_core.errors import ConfigError

_REFERENCE = re.compile(r"\$(?:\{|([*#$@!?0-9-]|[A-Za-z_][A-Za-z0-9_]*))")

_WITHOUT_DEFAULT = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


MARK = "\ue000"
UNSET = f"{MARK};"
"""The marker for a variable without a value: so what is between two commas of a list stays an item of it."""

_marker = re.compile(f"{MARK}([0-9]+);")


class VariableValues:
    """The values of variables outside the text that refers to them. Next: ``expand`` with ``put``, then ``restore``.

    Raises ``ConfigError`` if the text has what begins a marker.
    """

    def __init__(self, text: str, source_name: str) -> None:
        if MARK in text:
            raise ConfigError(
                f"{source_name}: contains the character U+E000, which --config.expand-env needs for itself"
            )
        self._values: list[str] = []

    def put(self, value: str) -> str:
        """Keep a value and return the marker for it; for an empty one that is ``UNSET``.

        A line end at its end is dropped: it comes from a file that became a variable.
        """
        self._values.append(value.rstrip("\r\n"))
        return f"{MARK}{len(self._values) - 1};" if self._values[-1] else UNSET

    def restore(self, text: str) -> str:
        """Return ``text``, a key or a value, with all values in the place of their markers."""
        return _marker.sub(lambda marker: self._values[int(marker[1])], text) if MARK in text else text


def expand(text: str, environ: Mapping[str, str], put: Callable[[str], str] = str) -> str:
    """Return ``text`` with its references replaced from ``environ``; never raises.

    ``put`` returns what stands for the value of a variable.
    """
    pieces: list[str] = []
    last_brace = text.rfind("}")
    position = 0
    while reference := _REFERENCE.search(text, position):
        pieces.append(text[position : reference.start()])
        position = reference.end()
        if name := reference[1]:
            pieces.append(put(environ.get(name, "")))
        elif position <= last_brace:
            closing = text.index("}", position)
            pieces.append(_braced(text[position:closing], environ, put))
            position = closing + 1
    pieces.append(text[position:])
    return "".join(pieces)


def unset_variable(line: str) -> str:
    """Return the first variable that a line refers to without a default; empty if there is none.

    For a line whose value came out empty: that variable is the reason.
    """
    found = _WITHOUT_DEFAULT.search(line)
    return found[1] or found[2] if found else ""


def _braced(reference: str, environ: Mapping[str, str], put: Callable[[str], str]) -> str:
    name, colon, default = reference.partition(":")
    value = environ.get(name, "")
    return put(value) if name and (value or not colon) else default
