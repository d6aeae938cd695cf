"""Values of a configuration that still name a variable of the environment: nothing has expanded it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pico_core.config.declare import Section


def unexpanded(config: Section) -> dict[str, str]:
    """Return the values that have a ``${VARIABLE}`` in them, by their keys; secrets are not looked at."""
    from pico_core.config.declare import leaves

    shown = {leaf.name: _shown(config, leaf.name) for leaf in leaves(type(config))}
    return {key: value for key, value in shown.items() if "${" in value}


def _shown(config: object, name: str) -> str:
    value = config
    for part in name.split("."):
        value = getattr(value, part, getattr(value, f"{part}_s", ""))
    return value if isinstance(value, str) else ""
