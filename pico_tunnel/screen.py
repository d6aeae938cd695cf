"""The lines of a terminal about a running process: a block that says what can be done now, then a line for each event.

Nothing is drawn over: lines scroll, so that copying, searching and terminal multiplexers work. Start at ``Screen``.
"""

import json
import time
from collections.abc import Iterable, Sequence

from pico_core import __version__
from pico_core.records import Log
from pico_tunnel.access_lines import plain, readable
from pico_tunnel.colours import GREEN, RED, RESET, YELLOW

INDENT = "  "

_COLOURS = {"good": GREEN, "warn": YELLOW, "bad": RED}

FOLD_S = 5.0
"""How long equal failures are counted in silence after one of them was shown."""

NARROWEST, WIDEST = 16, 96
"""Characters of a path in the lines of requests."""

BESIDE_PATH = 56
"""The columns that the rest of such a line takes."""


class Screen:
    """The screen of one kind of process. A subclass fills in ``event``.

    ``title`` says what runs, ``width`` how many characters a line has. What peers sent reaches the terminal as visible
    ASCII only.
    """

    def __init__(self, title: str, *, colour: bool, width: int) -> None:
        self.colour = colour
        self.has_many = False
        """Whether the lines of requests name the endpoint."""
        self._title = title
        self._path_width = min(max(width - BESIDE_PATH, NARROWEST), WIDEST)
        self._last: tuple[object, ...] | None = None
        self._last_fields: dict[str, object] = {}
        self._shown_at = 0.0
        self._folded = 0

    def event(self, record: Log, now: float) -> str | None:
        """Return the lines for a record, perhaps none; ``None`` for one that is shown as any other process shows it."""
        raise NotImplementedError

    # --- requests ---

    def request(self, line: bytes, now: float) -> str:
        """Return the line of one request; of equal failures in a row only the first, and then how many there were."""
        fields = json.loads(b"{" + line + b"}")
        key = tuple(fields.get(name) for name in ("status", "reason", "endpoint", "method", "path"))
        if "reason" in fields and key == self._last and now - self._shown_at < FOLD_S:
            self._folded += 1
            return ""
        text = self.rest(now)
        self._last, self._last_fields, self._shown_at = key, fields, now
        return text + readable(
            line, now, colour=self.colour, with_endpoint=self.has_many, path_width=self._path_width, columns=True
        )

    def rest(self, now: float) -> str:
        """Return the line for the failures that were counted in silence, if there were any."""
        count, self._folded = self._folded, 0
        if not count:
            return ""
        fields = self._last_fields
        what = " ".join(plain(str(fields[name])) for name in ("method", "path") if name in fields)
        return f"{clock(now)}  {self.paint(str(fields['status']), 'bad')}  {what}  {count} more, {fields['reason']}\n"

    # --- pieces ---

    def heading(self) -> str:
        """Return the first line of a block."""
        return f"{INDENT}{f'pico {__version__}   {self._title}':<48}Ctrl-C stops it"

    def block(self, rows: Iterable[tuple[str, str]], notes: Sequence[str] = ()) -> str:
        """Return the block: rows of a name and what is said of it, and notes below."""
        lines = ["", self.heading(), "", *(f"{INDENT}{name:<11}  {said}".rstrip() for name, said in rows)]
        if notes:
            lines += ["", *(f"{INDENT}{self.paint('!', 'warn')} {note}" for note in notes)]
        return "\n".join([*lines, "", ""])

    def line(self, now: float, text: str, kind: str = "") -> str:
        """Return the line of an event, which has no status."""
        return f"{self.rest(now)}{clock(now)}       {self.paint(text, kind)}\n"

    def paint(self, text: str, kind: str) -> str:
        """Return text in the colour of its kind: ``good``, ``warn``, ``bad`` or none."""
        colour = _COLOURS.get(kind, "")
        return f"{colour}{text}{RESET}" if self.colour and colour and text else text


def clock(now: float) -> str:
    """Return the local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(now))


def said(record: Log, name: str) -> str:
    """Return a field of a record as text for a terminal, empty where it is absent."""
    return plain(str(record.fields.get(name, "")))
