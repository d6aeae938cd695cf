"""YAML text to a tree, without a single YAML type: what a value means is decided by the key it belongs to.

So ``off`` may be an ID, ``0123`` keeps its zero and no text becomes a date. Only the event parser of PyYAML is
used, the one written in Python: a file has a few dozen lines, and its messages are the same on every installation.
Refused on purpose: tags, several documents, duplicate keys, and more nesting or aliases than any real file has.
"""

from collections.abc import Callable, Iterator
from typing import cast

import yaml

from pico_core.config.expand import UNSET
from pico_core.config.tree import EMPTY, Items, Mapping, Scalar, TreeItem
from pico_core.config.values import quote
from pico_core.errors import ConfigError

MAX_DEPTH = 16
"""The deepest key is in the fifth level; this keeps the recursion here shallow."""

MAX_ALIASES = 100
"""Room for one shared block per listener of a large agent."""

MERGE = "<<"
"""The key that takes over the entries of another mapping (YAML's merge key)."""

_NULLS = ("", "~", "null", "Null", "NULL")


def parse(text: str, source_name: str, restore: Callable[[str], str] | None = None) -> Mapping:
    """Parse a whole file; an empty one is an empty mapping. Raises ``ConfigError`` with source and line.

    ``restore`` returns what a key or value is, by what it is in ``text``, where ``UNSET`` is nothing.
    """
    builder = _Builder(yaml.parse(text, Loader=yaml.SafeLoader), source_name, restore)
    try:
        return builder.document()
    except yaml.YAMLError as error:
        raise ConfigError(f"{source_name}{_place(error)}: is not YAML: {_problem(error)}") from None
    except (ValueError, OverflowError):
        # PyYAML's scanner converts escapes and version numbers without checking their range.
        raise ConfigError(f"{source_name}: is not YAML: an escape or version number is out of range") from None


def _place(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f":{mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
    return problem or "it contains a character that is not allowed"


class _Builder:
    def __init__(self, events: Iterator[yaml.Event], source_name: str, restore: Callable[[str], str] | None) -> None:
        self._events = events
        self._restore = restore
        self._source_name = source_name
        self._anchors: dict[str, TreeItem] = {}
        self._aliases = 0

    def document(self) -> Mapping:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return EMPTY
        root = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise self._error(following, "a second document begins here; a file holds one")
        if isinstance(root, Scalar) and not root.text:
            return EMPTY
        if not isinstance(root, Mapping):
            raise ConfigError(f"{self._source_name}:{root.line}: wants keys such as 'log:' at the top level")
        return root

    def _node(self, event: yaml.Event, depth: int) -> TreeItem:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        event = cast("yaml.ScalarEvent | yaml.CollectionStartEvent", event)  # the grammar of events leaves nothing else
        if event.tag is not None:
            raise self._error(
                event, "a tag is not supported: leave it out, or write a value that begins with ! in quotes"
            )
        if depth > MAX_DEPTH:
            raise self._error(event, "is nested too deeply")
        line = _line(event)
        node: TreeItem
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Items(tuple(self._items(depth + 1)), line)
        else:
            node = self._mapping(line, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        text, is_plain = event.value, event.style is None
        is_unset = self._restore is not None and UNSET in text
        if is_unset:
            text = text.replace(UNSET, "")
            text = text.strip() if is_plain or not text.strip() else text
        if is_plain and text in _NULLS:  # before restoring: what a variable holds is text, whatever it is
            return Scalar("", line, is_null=True, is_unset=is_unset)
        return Scalar(text if self._restore is None else self._restore(text), line, is_unset=is_unset)

    def _items(self, depth: int) -> Iterator[TreeItem]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth)

    def _mapping(self, line: int, depth: int) -> Mapping:
        entries: dict[str, TreeItem] = {}
        key_lines: dict[str, int] = {}
        merged: list[Mapping] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth)
            if not isinstance(key, Scalar):
                raise self._error(event, "a key must be a plain word")
            if isinstance(event, yaml.ScalarEvent) and event.value == MERGE and event.style is None:
                merged += self._merged(next(self._events), depth)
                continue
            if key.text in entries:
                first = key_lines[key.text]
                raise self._error(event, f"the key {quote(key.text)} is here a second time, first in line {first}")
            key_lines[key.text] = _line(event)
            entries[key.text] = self._node(next(self._events), depth)
        for mapping in merged:  # what is written here wins, then the mapping that is named first
            for name, node in mapping.entries.items():
                if name not in entries:
                    entries[name] = node
                    key_lines[name] = mapping.key_lines[name]
        return Mapping(entries, key_lines, line)

    def _merged(self, event: yaml.Event, depth: int) -> list[Mapping]:
        """Return the mappings that a merge key names: one, or a list of them."""
        node = self._node(event, depth)
        nodes = node.items if isinstance(node, Items) else (node,)
        mappings = [each for each in nodes if isinstance(each, Mapping)]
        if len(mappings) != len(nodes):
            raise self._error(event, "<< wants a mapping with an anchor, such as '<<: *name', or a list of those")
        return mappings

    def _alias(self, event: yaml.AliasEvent) -> TreeItem:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._error(event, f"more than {MAX_ALIASES} aliases")
        name = str(event.anchor)
        if name not in self._anchors:
            raise self._error(
                event, "an alias has no anchor before it; a value that begins with * is written in quotes"
            )
        return self._anchors[name]

    def _error(self, event: yaml.Event, problem: str) -> ConfigError:
        return ConfigError(f"{self._source_name}:{_line(event)}: {problem}")


def _line(event: yaml.Event) -> int:
    return cast("yaml.Mark", event.start_mark).line + 1  # the parser always sets it
