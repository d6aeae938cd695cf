"""Records that mean something by themselves, wherever they pass: log lines, and the identity of a peer."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of every input and command: immutable, and not tracked by the garbage collector (42 ns to create)."""


class PeerIdentity(Record, frozen=True, gc=False):
    """The content of a peer's certificate that was verified: ``name`` is the subject's common name, or empty.

    ``names`` are its DNS names and IP addresses (subjectAltName, RFC 5280, section 4.2.1.6), in their order.
    """

    name: str
    names: tuple[str, ...]


class Log(Record, frozen=True, gc=False):
    """One event for people and for log pipelines; ``fields`` are scalars and never hold secrets.

    ``level`` is ``debug``, ``info``, ``warning`` or ``error``.
    """

    level: str
    subsystem: str
    message: str
    fields: dict[str, str | int | float | bool]


class AccessLog(Record, frozen=True, gc=False):
    """A batch of access log lines: each is the inside of a JSON object, without braces and time."""

    lines: tuple[bytes, ...]


Sink: TypeAlias = Callable[[Log | AccessLog], int | None]
"""Where a driver hands log records; it is called on the loop's thread, so it must not block.

It returns how many lines it has dropped since the start, or ``None`` if it does not count them. When the number has
grown, the driver tells the machine with ``LogLinesDropped``.
"""
