"""The limits that have no key, each with its value, what happens at it, and why it needs no change.

A value names its constants by module, those of ``pico_core`` without it: ``{mux.budget.RESET_BURST}``. Every constant
of ``pico_core`` and ``pico_driver`` whose name says that it is a limit has to be in a row here, or in
``pico_core.server.admin.limits``; a test looks.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from pico_tunnel.limit_rows import clients, cluster, drivers, inspecting, remembered, serving, workers
from pico_tunnel.limit_rows.row import Rows

DRIVERS: Final = "pico_driver."

ROWS: Final[Rows] = (
    serving.ROWS | cluster.ROWS | remembered.ROWS | clients.ROWS | inspecting.ROWS | drivers.ROWS | workers.ROWS
)


def lines() -> Iterator[str]:
    """Yield the tables."""
    for heading, rows in ROWS.items():
        yield f"\n### {heading}\n\n| what | value | at the limit | why it has no key |\n|---|---|---|---|"
        for what, value, then, why in rows:
            yield f"| {what} | {_Values().format(value)} | {then} | {why} |"


class _Values(string.Formatter):
    """Takes the name of a field as that of a constant."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        module, _, name = field_name.rpartition(".")
        root = "" if module.startswith(DRIVERS) else "pico_core."
        return getattr(import_module(root + module), name), field_name
