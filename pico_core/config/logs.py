"""What is logged: levels, subsystems, access logs."""

from typing import Annotated

from pico_core.config.declare import NAMES, SWITCH, Key, Kind, Section, one_of

LEVELS = ("debug", "info", "warning", "error")
"""Levels of ``boundary.Log`` records, least important first."""

_CHOICE = one_of(*LEVELS)
LEVEL = Kind(_CHOICE.metavar, _CHOICE.wanted, lambda text: _CHOICE.parse("warning" if text == "warn" else text))
"""A level; ``warn``, as Piko spells it, is ``warning``."""


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
            NAMES,
            "Subsystems logged at debug whatever the level, each with those below it: proxy also means proxy.access.",
            "Debug output is for the one part that is examined, never for everything at once.",
        ),
    ] = ()

    def passes(self, level: str, subsystem: str) -> bool:
        """Say whether a record of this level and subsystem is logged."""
        if LEVELS.index(level) >= LEVELS.index(self.level):
            return True
        return any(subsystem == name or subsystem.startswith(f"{name}.") for name in self.subsystems)


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
            "A line per request is what operators expect of a proxy; it costs well under a microsecond.",
        ),
    ] = False

    def is_enabled(self, log: LogConfig, subsystem: str) -> bool:
        """Say whether access log lines of ``subsystem`` (``proxy.access``, ``agent.access``) are to be made at all."""
        return not self.disable and log.passes(self.level, subsystem)
