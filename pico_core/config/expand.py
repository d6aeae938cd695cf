"""Environment variables in a configuration text: the rules of Go's ``os.Expand``, with ``${VAR:default}``.

A reference is ``$name``, ``${anything}`` or ``$`` and one of the shell's special characters. What is between braces is
taken up to the next closing brace, whatever it is, and split at its first colon into a name and a default, which stands
in for a variable that is undefined or empty. Malformed references (``${}``, ``${`` never closed) are removed; a
dollar that does not start a reference stays.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\{|([*#$@!?0-9-]|[A-Za-z_][A-Za-z0-9_]*))")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with its references replaced from ``environ``; never raises. Next: ``load``."""
    pieces: list[str] = []
    last_brace = text.rfind("}")
    position = 0
    while reference := _REFERENCE.search(text, position):
        pieces.append(text[position : reference.start()])
        position = reference.end()
        if name := reference[1]:
            pieces.append(environ.get(name, ""))
        elif position <= last_brace:
            closing = text.index("}", position)
            pieces.append(_braced(text[position:closing], environ))
            position = closing + 1
    pieces.append(text[position:])
    return "".join(pieces)


def _braced(reference: str, environ: Mapping[str, str]) -> str:
    name, _, default = reference.partition(":")
    return environ.get(name, "") or default
