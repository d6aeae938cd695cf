"""``/log-levels`` of every admin port: what is logged of each subsystem, changed while the process runs."""

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec
from msgspec.structs import replace

from pico_core.config.logs import LEVELS, SUBSYSTEMS, LogConfig
from pico_core.config.nearest import did_you_mean
from pico_core.config.values import is_loopback
from pico_core.machine.parts import Logger
from pico_core.plain.server import CHANGEABLE, JSON, PlainConnection, Question

ALL = "all"
"""The name that stands for ``log.level``, the level of every subsystem without its own."""

REMOTE = "changes without a token are taken from this machine only; ask there, or have the port ask for a token"


OF_PROGRAM = "a program runs this and decides what it logs: by default with the logger '{}'"
ACCESS = ".access"
"""The end of the names whose lines are made or not, whichever part gets them."""


def is_log_levels(path: str) -> bool:
    """Say whether a path is that of the levels, or of one of them."""
    return path == CHANGEABLE or path.startswith(f"{CHANGEABLE}/")


def may_change(question: Question, *, has_token: bool) -> bool:
    """Say whether a question that the port answers may change something if it is a change."""
    return question.method == "GET" or has_token or is_loopback(question.client)


class LevelsAnswer(msgspec.Struct, frozen=True):
    """The levels that a process logs at, and those of its configuration."""

    level: str
    subsystems: dict[str, str]
    configured_level: str
    configured_subsystems: dict[str, str]

    @property
    def log_config(self) -> LogConfig:
        """The same as a configuration."""
        return LogConfig(level=self.level, subsystems=tuple(f"{name}={own}" for name, own in self.subsystems.items()))


class LogLevels:
    """Answers questions for the levels, and changes: ``use`` has a process go by another configuration of its log.

    A change lasts until it is undone, the configuration is read again, or the process ends. ``is_embedded`` says that a
    program gets the records and decides which of them it writes: then only access logs can be changed here.
    """

    def __init__(self, config: LogConfig, use: Callable[[LogConfig], None], logger: Logger) -> None:
        self.is_embedded = False
        self._configured = self._current = config
        self._use = use
        self._logger = logger

    def configure(self, config: LogConfig) -> None:
        """The configuration was read again: what was changed since is undone."""
        self._configured = self._current = config

    def answer(self, connection: PlainConnection, question: Question, *, has_token: bool, now: float) -> None:
        """Answer a question, or make the change that it asks for: 400, 403 or 404 where that cannot be done."""
        if not may_change(question, has_token=has_token):
            connection.refuse(403, REMOTE, now)
            return
        name = question.path.removeprefix(CHANGEABLE).removeprefix("/")
        if question.method != "GET" and self.is_embedded and not _unknown(name) and not name.endswith(ACCESS):
            logger = "pico" if name == ALL else f"pico.{name}"
            connection.refuse(409, OF_PROGRAM.format(logger), now)
            return
        if question.method != "GET" or name:
            problem = _unknown(name) or self._change(question, name)
            if problem:
                connection.refuse(404 if _unknown(name) else 400, problem, now)
                return
        connection.respond(200, JSON, msgspec.json.encode(self._document()), now)

    def _change(self, question: Question, name: str) -> str:
        """Change the level of a subsystem if that is asked for; return why it cannot be."""
        if question.method == "GET":
            return ""
        if question.method == "DELETE":
            wanted = (
                self._configured if name == ALL else self._current.with_level(name, self._configured.levels.get(name))
            )
        else:
            (level,) = parse_qs(question.query).get("level", [""])[:1]
            if level not in LEVELS:
                return f"level must be one of {', '.join(LEVELS)}, as in {CHANGEABLE}/{name}?level=debug"
            wanted = replace(self._current, level=level) if name == ALL else self._current.with_level(name, level)
        self._logger.log(
            "info",
            "log",
            "log levels changed",
            least=wanted.level,
            subsystems=",".join(wanted.subsystems),
            client=question.client,
        )
        self._current = wanted
        self._use(wanted)
        return ""

    def _document(self) -> LevelsAnswer:
        current, configured = self._current, self._configured
        return LevelsAnswer(current.level, current.levels, configured.level, configured.levels)


def _unknown(name: str) -> str:
    """Return why a name is not that of a subsystem, with the nearest one."""
    if name == ALL or name in SUBSYSTEMS:
        return ""
    return f"unknown subsystem '{name}'{did_you_mean(name, (ALL, *SUBSYSTEMS))}"
