"""The log sink: what machines have to say, as lines for people or for log pipelines.

Log records go to standard error: readable lines on a terminal, else one JSON object a line. Access logs go to standard
output, always JSON. Nothing a peer sent can break a line or reach a terminal as a control sequence: everything outside
visible ASCII is escaped. A batch is one write; when it fails (the reader is gone, the disk is full) its lines are lost
and the node lives on.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from pico_core.boundary import AccessLog, Log
from pico_core.config.logs import LogConfig

_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"


class RawStream(Protocol):
    """An unbuffered binary stream: ``write`` returns how much it took, ``None`` when it would block."""

    def write(self, data: memoryview, /) -> int | None:
        """Write what fits."""


class Output:
    """Whole batches of lines to one stream; errors cost the batch and nothing else."""

    def __init__(self, stream: RawStream | None) -> None:
        self._stream = stream
        self._in_line = False

    def write(self, batch: bytes) -> None:
        """Write lines that end in a newline; a line cut off by an error before is ended first."""
        if self._stream is None:
            return
        rest = memoryview(b"\n" + batch if self._in_line else batch)
        try:
            while rest:
                taken = self._stream.write(rest)
                if not taken:
                    break
                self._in_line = rest[taken - 1] != ord("\n")
                rest = rest[taken:]
        except OSError:
            return


class Sink:
    """Takes ``Log`` and ``AccessLog`` records from a driver and writes them, filtered by ``config``.

    ``wall_clock`` gives seconds since the epoch. With ``terminal`` log records become readable lines in local time,
    with ``colour`` their levels are coloured.
    """

    def __init__(
        self,
        config: LogConfig,
        events: Output,
        access: Output,
        *,
        terminal: bool = False,
        colour: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._events = events
        self._access = access
        self._format = self._readable if terminal else self._json
        self._colour = colour
        self._wall_clock = wall_clock

    def __call__(self, record: Log | AccessLog) -> None:
        """Write one record; never raises, whatever its texts contain."""
        if isinstance(record, AccessLog):
            self._write_access(record)
        elif self._config.passes(record.level, record.subsystem):
            self._events.write(self._format(record, self._wall_clock()).encode("ascii"))

    def _write_access(self, record: AccessLog) -> None:
        if record.lines:
            start = b'{"time":"%b",' % utc_time(self._wall_clock()).encode("ascii")
            self._access.write(start + (b"}\n" + start).join(record.lines) + b"}\n")

    def _json(self, record: Log, now: float) -> str:
        fixed = {
            "time": utc_time(now),
            "level": record.level,
            "subsystem": record.subsystem,
            "message": record.message,
        }
        # The fixed fields come first and cannot be replaced by the record's own.
        return json.dumps({**fixed, **record.fields, **fixed}, separators=(",", ":")) + "\n"

    def _readable(self, record: Log, now: float) -> str:
        level = f"{record.level.upper():7}"
        if self._colour:
            level = f"{_COLOURS[record.level]}{level}{_RESET}"
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


def standard_sink(config: LogConfig) -> Sink:
    """Return the sink that writes to this process's standard error and output. Next: hand it to ``runtime.run``."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Sink(
        config,
        Output(_unbuffered(sys.stderr)),
        Output(_unbuffered(sys.stdout)),
        terminal=terminal,
        colour=terminal and not os.environ.get("NO_COLOR"),
    )


def _unbuffered(stream: TextIO | None) -> RawStream | None:
    """Write to the descriptor itself: a buffer would keep what failed and fail again when the process ends.

    ``None``: the process was started with this stream closed, and its descriptor may belong to another file by now.
    """
    return None if stream is None else io.FileIO(stream.fileno(), "w", closefd=False)
