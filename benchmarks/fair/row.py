"""One row: a load, and the limits under it. A row is a function of the ``Stage``, with the decorator ``row``."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from benchmarks.fair.children import Child, Got
from benchmarks.fair.site import Node, Setup, Site

MIB = 1 << 20
KIB = 1 << 10

MS = " ms"

CHECK_S = 0.05


@dataclass(frozen=True)
class Check:
    """One limit, and the value under it."""

    text: str
    value: float
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def slowed(self, slowdown: float) -> "Check":
        """Return the check for a machine on which everything takes ``slowdown`` times as long."""
        return replace(self, limit=self.limit * slowdown)

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        return f"{self.text}: {self.value:.4g}{self.unit}, the limit is {bound} {self.limit:.4g}{self.unit}"


@dataclass(frozen=True)
class Limits:
    """The limits of a row beside those of every row; ``None`` sets none. ``judging.py`` applies them."""

    p50_ms: float | None = None
    """For honest requests of the other endpoint."""
    memory_mib: float = 64.0
    """How much any node may grow meanwhile."""
    kept_mib: float | None = None
    """How much any node may have grown afterwards."""
    agent_memory_mib: float = 64.0
    """How much any agent may grow meanwhile."""
    cpu_percent: float | None = None
    """How much of a core a node may use beyond what it uses for the honest load."""
    log_kib_per_s: float = 64.0
    """How much a node may log: 300 lines a second."""
    retry_after: bool = False
    """Whether a 503 for the endpoint under load must have Retry-After."""
    same_p50_times: float | None = None
    """The p50 of the endpoint under load, as a multiple of its p50 when idle."""


class Stage:
    """The means of a row: the site, its time, and its load generators."""

    def __init__(self, site: Site, seconds: float, *, short: bool) -> None:
        self.site = site
        self.seconds = seconds
        self.short = short
        self.got = Got()
        self.checks: list[Check] = []
        self.notes: list[str] = []
        """Lines for the reader of the table."""
        self.afterwards: Callable[[], None] = lambda: None
        """Called when the load has ended and ``got`` is whole: for limits of what the load got."""
        self._children: list[Child] = []

    @property
    def entry(self) -> Node:
        """The node that clients talk to."""
        return self.site.entry

    @property
    def home(self) -> Node:
        """The node that has the tunnels."""
        return self.site.home

    def attack(self, work: Callable[..., None], *arguments: object, times: int = 1) -> None:
        """Start load generators. Next: ``hold``, and perhaps ``finish``."""
        self._children += [Child(work, *arguments) for _ in range(times)]

    def hold(self, seconds: float | None = None, *, done_is_enough: bool = False) -> None:
        """Let time pass, ``Stage.seconds`` if nothing else is said; less if a node has ended.

        It can also end as soon as all load generators have ended by themselves.
        """
        until = time.monotonic() + (self.seconds if seconds is None else seconds)
        while time.monotonic() < until and all(node.alive for node in self.site.nodes):
            if done_is_enough and all(child.done for child in self._children):
                return
            time.sleep(CHECK_S)

    def finish(self) -> Got:
        """End the load generators and return what they got since the last ``finish``."""
        got = Got()
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            got.add(child.stop())
        self._children.clear()
        self.got.add(got)
        return got

    def require(
        self, text: str, value: float, *, at_most: float | None = None, at_least: float | None = None, unit: str = ""
    ) -> None:
        """Add a limit of the row's own."""
        if at_most is not None:
            self.checks.append(Check(text, value, at_most, unit=unit))
        if at_least is not None:
            self.checks.append(Check(text, value, at_least, at_least=True, unit=unit))


Load: TypeAlias = Callable[[Stage], None]


@dataclass(frozen=True)
class Row:
    """A load with its name, what is promised under it, and what it needs."""

    name: str
    promise: str
    load: Load
    limits: Limits
    setup: Setup = field(default_factory=Setup)


ROWS: dict[str, Row] = {}
"""All rows by name, in the order of their definition. ``fair.rows`` imports the modules that define them."""


def row(promise: str, limits: Limits | None = None, setup: Setup | None = None) -> Callable[[Load], Load]:
    """Make a function a row. Its name, with dashes, is that of the row."""

    def define(load: Load) -> Load:
        name = load.__name__.replace("_", "-")
        ROWS[name] = Row(name, promise, load, limits or Limits(), setup or Setup())
        return load

    return define
