"""A configuration file after its syntax and before its meaning: mappings, lists and texts that know their line."""

from typing import TypeAlias

import msgspec


class Scalar(msgspec.Struct, frozen=True):
    """One value, as it was written; ``null``, ``~`` and nothing at all are the empty text, and ``is_null``.

    ``is_unset`` says that it refers to a variable without a value.
    """

    text: str
    line: int
    is_null: bool = False
    is_unset: bool = False


class Items(msgspec.Struct, frozen=True):
    """A list of nodes in the order of the file; ``line`` says where it begins."""

    items: "tuple[TreeItem, ...]"
    line: int


class Mapping(msgspec.Struct, frozen=True):
    """A mapping from keys to nodes; ``key_lines`` says where each key stands."""

    entries: "dict[str, TreeItem]"
    key_lines: dict[str, int]
    line: int


TreeItem: TypeAlias = Scalar | Items | Mapping

EMPTY = Mapping({}, {}, 1)
