"""The log records of machines, as lines for people or for log pipelines.

Log records go to standard error, access logs to standard output: readable lines on a terminal, else one JSON object a
line. Nothing a peer sent can break a line or reach a terminal as a control sequence: everything outside
visible ASCII is escaped. Lines that a stream does not take are dropped and counted (``pico_tunnel.output``).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from select import PIPE_BUF
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from pico_core.config.logs import LogConfig
from pico_core.records import AccessLog, Log
from pico_tunnel.colours import DIM, GREEN, RED, RESET, YELLOW
from pico_tunnel.complaints import one_line
from pico_tunnel.output import LAST_WRITES_S, OutputWriter, are_the_same, standard_output

if TYPE_CHECKING:
    from pico_core.boundary import Exit
    from pico_tunnel.screen import Screen

MakeScreen: TypeAlias = "Callable[[bool, int], Screen]"
"""Makes what a terminal shows: whether in colours, and how many characters wide."""

_COLOURS = {"debug": DIM, "info": GREEN, "warning": YELLOW, "error": RED}


class LogWriter:
    """The sink of a process: writes ``Log`` and ``AccessLog`` records as lines, filtered by ``config``.

    ``events`` and ``access`` may be the same output. ``wall_clock`` gives seconds since the epoch. With ``terminal``
    log records become readable lines in local time, with ``access_terminal`` those of requests, unless ``log.format``
    says otherwise; with ``colour`` levels and statuses are coloured. With ``worker`` they say which one writes, with
    ``node_id`` every JSON line says which node.
    ``screen`` has other lines for some of them.
    Next: hand it to a driver, and ``close`` it when the driver has ended.
    """

    def __init__(
        self,
        config: LogConfig,
        events: OutputWriter,
        access: OutputWriter,
        *,
        terminal: bool = False,
        access_terminal: bool = False,
        colour: bool = False,
        worker: int = 0,
        node_id: str = "",
        screen: Screen | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._events = events
        self._access = access
        self._outputs = {events, access}
        self._is_terminal = terminal
        self._is_access_terminal = access_terminal
        self._colour = colour
        self._worker = worker
        own = {"node_id": node_id} if node_id else {}
        self._json = partial(_json, own=own)
        self._access_own = b'"node_id":%b,' % json.dumps(node_id).encode("ascii") if own else b""
        self._all_screen = screen
        self._wall_clock = wall_clock
        self.configure(config)

    def __call__(self, record: Log | AccessLog) -> int:
        """Write one record; never raises, whatever its texts contain. Return how many lines were dropped so far."""
        if isinstance(record, AccessLog):
            self._write_access(record)
        elif self._config.passes(record.level, record.subsystem):
            if self._worker:
                record = Log(record.level, record.subsystem, record.message, {"worker": self._worker, **record.fields})
            now = self._wall_clock()
            text = None if self._screen is None else self._screen.event(record, now)
            if text is None:
                text = self._format(record, now)
            if text:
                self._events.write(text.encode("ascii"), 1)
        return sum([output.dropped for output in self._outputs])

    def configure(self, config: LogConfig) -> None:
        """Filter and write by another configuration from now on."""
        self._config = config
        wanted = {"text": True, "json": False}
        people = partial(_readable, colour=self._colour)
        self._as_text = wanted.get(config.format, self._is_terminal)
        self._format = people if self._as_text else self._json
        self._access_as_text = wanted.get(config.format, self._is_access_terminal)
        self._screen = None if config.format == "json" else self._all_screen
        self._access.describe_gap = partial(self._gap, people if self._access_as_text else self._json)
        self._events.describe_gap = partial(self._gap, self._format)

    def take_last_words(self, end: Exit) -> Exit:
        """Write why the process ends where events are JSON, so that all of standard error is.

        Return the end with the message that is left for the command to tell.
        """
        if self._as_text or not end.message:
            return end
        self(Log("error", "process", "ended", {"reason": one_line(end.message), "code": end.code}))
        return replace(end, message="")

    def close(self) -> None:
        """Wait a bounded time until the streams have taken what was written."""
        give_up_at = time.monotonic() + LAST_WRITES_S
        rest = "" if self._screen is None else self._screen.rest(self._wall_clock())
        if rest:
            self._access.write(rest.encode("ascii"), 1)
        for output in self._outputs:
            output.close(give_up_at)

    def _write_access(self, record: AccessLog) -> None:
        if self._access_as_text:
            from pico_tunnel.access_lines import readable  # terminals only

            now = self._wall_clock()
            show = partial(readable, colour=self._colour) if self._screen is None else self._screen.request
            text = "".join(show(line, now) for line in record.lines)
            if text:
                self._access.write(text.encode("ascii"), len(record.lines))
        elif record.lines:
            start = b'{"time":"%b",%b' % (utc_time(self._wall_clock()).encode("ascii"), self._access_own)
            self._access.write(start + (b"}\n" + start).join(record.lines) + b"}\n", len(record.lines))

    def _gap(self, form: Callable[[Log, float], str], lines: int) -> bytes:
        """Return the line that stands where lines are missing."""
        return form(Log("warning", "log", "lines dropped", {"lines": lines}), self._wall_clock()).encode("ascii")


def _json(record: Log, now: float, own: dict[str, str]) -> str:
    fixed = {
        "time": utc_time(now),
        "level": record.level,
        "subsystem": record.subsystem,
        "message": record.message,
    }
    # The fixed fields come first and cannot be replaced by the record's own. A worker's start names its node.
    return json.dumps({**fixed, **own, **record.fields, **fixed}, separators=(",", ":")) + "\n"


def _readable(record: Log, now: float, *, colour: bool) -> str:
    level = f"{record.level.upper():7}"
    if colour:
        level = f"{_COLOURS[record.level]}{level}{RESET}"
    fields = "".join(f" {_plain(name)}={_plain_value(value)}" for name, value in record.fields.items())
    seconds, milliseconds = divmod(round(now * 1000), 1000)
    clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{milliseconds:03d}"
    return f"{clock} {level} {_plain(record.subsystem)}  {_plain(record.message)}{' ' if fields else ''}{fields}\n"


def utc_time(now: float) -> str:
    """Return an instant as RFC 3339 in UTC, to the millisecond."""
    seconds, milliseconds = divmod(round(now * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def _plain(text: str) -> str:
    """Return text that is safe on a terminal and in one line: ASCII, control characters escaped."""
    return json.dumps(text)[1:-1].replace('\\"', '"')


def _plain_value(value: str | float | bool) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = json.dumps(value)
    return quoted if not value or " " in value or '"' in value or "=" in value else quoted[1:-1]


def people_look_on() -> bool:
    """Say whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def standard_log_writer(
    config: LogConfig, worker: int = 0, make_screen: MakeScreen | None = None, node_id: str = ""
) -> LogWriter:
    """Return the writer to this process's standard error and output. Next: hand it to ``runtime.run``.

    A ``worker`` shares them with others, so it writes no more at once than a pipe takes in one piece. ``make_screen``
    is called where standard error is a terminal. JSON lines say ``node_id``, unless it is empty.
    """
    terminal = people_look_on()
    colour_wanted = not os.environ.get("NO_COLOR")
    is_one = are_the_same(sys.stderr, sys.stdout)
    access_terminal = sys.stdout is not None and sys.stdout.isatty()
    at_once = PIPE_BUF if worker else 0
    events = standard_output(sys.stderr, at_once)
    screen = None
    if terminal and make_screen is not None:
        screen = make_screen(colour_wanted, shutil.get_terminal_size().columns)
    return LogWriter(
        config,
        events,
        events if is_one else standard_output(sys.stdout, at_once),
        terminal=terminal,
        access_terminal=access_terminal,
        colour=(terminal or access_terminal) and colour_wanted,
        worker=worker,
        node_id=node_id,
        screen=screen,
    )
