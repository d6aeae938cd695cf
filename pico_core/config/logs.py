"""The keys of logs: levels, subsystems, access logs."""

from typing import Annotated

from msgspec.structs import replace

from pico_core.config import values
from pico_core.config.declare import SWITCH, Key, Kind, Section, one_of

LEVELS = ("debug", "info", "warning", "error")
"""Levels of ``boundary.Log`` records, least important first."""

_CHOICE = one_of(*LEVELS)
LEVEL = Kind(_CHOICE.metavar, _CHOICE.wanted, lambda text: _CHOICE.parse("warning" if text == "warn" else text))
"""A level; ``warn``, as Piko spells it, is ``warning``."""

SUBSYSTEMS = (
    "access",
    "admin",
    "agent",
    "agent.access",
    "cluster",
    "config",
    "connections",
    "control",
    "driver",
    "forward",
    "gossip",
    "gossip-streams",
    "inspect",
    "join",
    "log",
    "peers",
    "process",
    "proxy",
    "proxy.access",
    "reload",
    "server",
    "tls",
    "tracing",
    "upstream",
    "workers",
)
"""All that log, in any process."""


def _named_level(text: str) -> str:
    """Check a name and perhaps a level. Below a known subsystem any name is taken: Piko has finer ones."""
    name, equals, level = text.partition("=")
    if values.identifier(name).partition(".")[0] not in SUBSYSTEMS:
        raise values.wrong(f"one of {', '.join(SUBSYSTEMS)}", name)
    return f"{name}={LEVEL.parse(level)}" if equals else name


NAMED_LEVELS = Kind("NAME[=LEVEL],...", "a name such as proxy, or proxy=warning", _named_level, many=True)


class LogConfig(Section, frozen=True, kw_only=True):
    """Logs: what is written to standard error."""

    level: Annotated[
        str,
        Key(
            LEVEL,
            "The least important level that is logged.",
            "info tells what an operator acts on: starts, stops, members and tunnels that come and go.",
        ),
    ] = "info"
    subsystems: Annotated[
        tuple[str, ...],
        Key(
            NAMED_LEVELS,
            "Subsystems with a level of their own, as proxy=warning, or debug where none is given; proxy also means "
            "proxy.access, unless that has one itself.",
            "Empty: debug output is for the one part that is examined, never for everything at once.",
        ),
    ] = ()

    format: Annotated[
        str,
        Key(
            one_of("auto", "text", "json"),
            "The form of the lines: text, for people, or json, one object a line.",
            "auto: text where a stream is a terminal, and json where it is not.",
        ),
    ] = "auto"

    def passes(self, level: str, subsystem: str) -> bool:
        """Say whether a record of this level and subsystem is logged."""
        return LEVELS.index(level) >= LEVELS.index(self.level_of(subsystem))

    def level_of(self, subsystem: str) -> str:
        """Return the least important level that is logged of a subsystem: that of the longest name that it is below."""
        if not self.subsystems:
            return self.level
        levels = self.levels
        name = subsystem
        while name:
            if name in levels:
                return levels[name]
            name = name.rpartition(".")[0]
        return self.level

    @property
    def levels(self) -> dict[str, str]:
        """The levels of the subsystems that have their own."""
        pairs = (each.partition("=") for each in self.subsystems)
        return {name: level or LEVELS[0] for name, _, level in pairs}

    def with_level(self, subsystem: str, level: str | None) -> "LogConfig":
        """Return a copy in which a subsystem has ``level``; with ``None`` it has the level of all others again."""
        levels = {name: own for name, own in self.levels.items() if name != subsystem}
        if level is not None:
            levels[subsystem] = level
        return replace(self, subsystems=tuple(f"{name}={own}" for name, own in levels.items()))


class AccessLogConfig(Section, frozen=True, kw_only=True):
    """Access log: one JSON line a request on standard output."""

    level: Annotated[
        str,
        Key(
            LEVEL,
            "The level of access log lines: they are written when log.level lets it through.",
            "info writes them unless the operator asks for warnings only.",
        ),
    ] = "info"
    disable: Annotated[
        bool,
        Key(
            SWITCH,
            "Write no access log.",
            "A line per request is what operators expect of a proxy; it costs about 3 us of CPU.",
        ),
    ] = False

    def is_enabled(self, log: LogConfig, subsystem: str) -> bool:
        """Say whether access log lines of ``subsystem`` (``proxy.access``, ``agent.access``) are to be made at all."""
        return not self.disable and log.passes(self.level, subsystem)
