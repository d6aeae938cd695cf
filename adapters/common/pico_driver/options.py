"""The options of a driver beside its machine and its sink, whatever its loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import msgspec

if TYPE_CHECKING:
    from pico_core.config.logs import LogConfig
    from pico_core.records import Spans
    from pico_driver.early import EarlyListeners
    from pico_driver.inbox import Inbox
    from pico_driver.tls_profiles import Profiles

Reload: TypeAlias = Callable[[], msgspec.Struct]
"""Reads the configuration again; raises ``ConfigError`` if it is not valid."""

UseLog: TypeAlias = "Callable[[LogConfig], None]"

TakeSpans: TypeAlias = "Callable[[Spans], int]"
"""Takes spans without waiting, and returns how many it has lost so far."""


class DriverOptions(TypedDict, total=False):
    """All of them may be left out.

    ``inbox`` brings inputs of the embedding program. ``early`` has listeners that are open already; those that the
    machine does not ask for are closed at the end. ``profiles`` are the TLS profiles that the machine names. ``reload``
    reads the configuration again at SIGHUP, ``use_log_config`` takes what a machine says of the levels of logs,
    ``take_spans`` its spans.
    """

    inbox: Inbox | None
    early: EarlyListeners | None
    profiles: Profiles | None
    reload: Reload | None
    use_log_config: UseLog | None
    take_spans: TakeSpans | None
