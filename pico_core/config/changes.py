"""The difference between two configurations, and a third one that takes over some of it. Pure; see ``taken_over``."""

from collections.abc import Collection, Iterator
from typing import Any

from msgspec.structs import replace

from pico_core.config.declare import Section, SectionType, members


def changed_keys(old: Section, new: Section, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the keys whose values differ. A list of mappings counts as one key."""
    for name, member in members(type(old)).items():
        before, after = getattr(old, member.attribute), getattr(new, member.attribute)
        if member.section is not None:
            yield from changed_keys(before, after, f"{prefix}{name}.")
        elif before != after:
            yield prefix + name


def is_among(key: str, names: Collection[str]) -> bool:
    """Say whether ``names`` has a key, or a section that it belongs to."""
    return any(key == name or key.startswith(name + ".") for name in names)


def taken_over(old: SectionType, new: SectionType, names: Collection[str], prefix: str = "") -> SectionType:
    """Return ``old`` with the values of ``new`` for the keys and sections among ``names``."""
    values: dict[str, Any] = {}
    for name, member in members(type(old)).items():
        before, after = getattr(old, member.attribute), getattr(new, member.attribute)
        if is_among(prefix + name, names):
            values[member.attribute] = after
        elif member.section is not None:
            values[member.attribute] = taken_over(before, after, names, f"{prefix}{name}.")
    return replace(old, **values)
