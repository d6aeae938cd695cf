"""Text and flags to a configuration: a flag wins over the file, the file over the default.

Errors are one line: the place (file and line, or flag), the key, what was wanted and what was found. Unknown keys come
with the nearest known one.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pico_core.config.declare import Declared, Key, Kind, Section, SectionType, flag_name, leaves, members
from pico_core.config.expand import VariableValues, expand, unset_variable
from pico_core.config.nearest import did_you_mean, nearest
from pico_core.config.secrets import ReadText, read_nothing
from pico_core.config.tree import EMPTY, Items, Scalar, TreeItem
from pico_core.config.tree import Mapping as Tree
from pico_core.config.values import quote
from pico_core.errors import ConfigError

MAX_TEXT_LENGTH = 1 << 20
"""Characters in a file: a thousand listeners take a tenth of it; a log file given by mistake does not fit."""

EXTENSION = "x-"
"""The beginning of the names of further keys at the top. Nothing reads them: they hold blocks with an anchor."""

_PROTECTS = re.compile(
    r"(?:^|\.)(?:auth|tls|policies|tenants|keys|keys_file|token|token_file|basic_auth)(?:[.\[]|$)|cluster\.gossip$"
)
"""Keys and sections by which something is let in, or not, or shown, or not."""

_MAY_BE_EMPTY = re.compile(
    r"(?:proxy|upstream|admin)\.auth\.(?:(?:hmac_secret|rsa_public|ecdsa_public)_key|audience|issuer|jwks\.endpoint)"
    r"|.*\btls\.(?:client\.)?(?:cert|key|client_cas|root_cas|server_name)|connect\.token"
)
"""Those of them that Piko has: its files write them out where they are empty, so that says nothing."""

_EMPTY_RULES = re.compile(r"policies\[[0-9]+\]\.(?:allowed_networks|denied_networks|basic_auth)")
"""Rules whose empty list may be read as 'nobody' and means 'everybody'."""

_EXPLICIT = re.compile(r"\$\{[^}]*:\}")
"""A variable whose default is nothing, which is meant then."""


def load(
    cls: type[SectionType],
    text: str | None,
    flags: Mapping[str, str],
    source_name: str,
    read: ReadText = read_nothing,
    environ: Mapping[str, str] | None = None,
) -> SectionType:
    """Return the configuration ``cls`` from a file's ``text`` (``None``: no file) and ``flags``.

    ``flags`` maps dotted keys (``proxy.timeout``) to texts; lists are comma separated. ``source_name`` stands for the
    file in error texts. ``read`` reads the files that values name, such as keys. With ``environ`` the text may refer to
    these variables (``expand``). Raises ``ConfigError`` and nothing else. Next: hand the result to a node machine.
    """
    tree = EMPTY
    lines: list[str] = []
    if text is not None:
        if len(text) > MAX_TEXT_LENGTH:
            raise ConfigError(f"{source_name}: is longer than {MAX_TEXT_LENGTH} characters; is it the right file?")
        from pico_core.config.document import parse  # PyYAML takes 26 ms that only a file needs

        if environ is None:
            tree = parse(text, source_name)
        else:
            lines = text.splitlines()
            values = VariableValues(text, source_name)
            tree = parse(expand(text, environ, values.put), source_name, values.restore)
    known = [leaf.name for leaf in leaves(cls)]
    for name in flags:
        if name not in known:
            hint = did_you_mean(flag_name(name), map(flag_name, known))
            raise ConfigError(f"unknown flag {quote(flag_name(name))}{hint}")
    return _Loader(cls, flags, source_name, read, lines).section(cls, tree, "")


class _Loader:
    def __init__(
        self, root: type[Section], flags: Mapping[str, str], source_name: str, read: ReadText, lines: list[str]
    ) -> None:
        """``lines`` are those of the file before variables took their places; none where they do not."""
        self._root = root
        self._flags = flags
        self._source_name = source_name
        self._read = read
        self._lines = lines

    def section(self, cls: type[SectionType], tree: Tree, path: str) -> SectionType:
        declared = members(cls)
        prefix = f"{path}." if path else ""
        for alias, name in cls.aliases.items():
            if alias in tree.entries and name in tree.entries:
                raise ConfigError(f"{self._place('', tree)}{prefix}{alias} is {prefix}{name}; give one of them")
        known = {*declared, *cls.aliases}
        for name in tree.entries:
            if name not in known and not (cls is self._root and name.startswith(EXTENSION)):
                raise self._unknown(cls, prefix, name, tree)
        values: dict[str, Any] = {}
        nodes = {cls.aliases.get(name, name): node for name, node in tree.entries.items()}
        for name, member in declared.items():
            found = self._member(member, nodes.get(name), prefix + name)
            if found is not None:
                values[member.attribute] = found[0]
            elif member.required:
                raise ConfigError(f"{self._place('', tree)}{prefix}{name} is missing")
        for name, other in cls.needs.items():
            node = tree.entries.get(name)
            if (node is not None or prefix + name in self._flags) and not values.get(other):
                place = self._place(prefix + name, node) if node is not None else f"{flag_name(prefix + name)}: "
                raise ConfigError(f"{place}has no effect without {other}, which is not given")
        try:
            return cls(**values)
        except ConfigError as error:
            name, _, index = error.key.partition("[")
            items = tree.entries.get(name)
            node = items.items[int(index[:-1])] if isinstance(items, Items) else tree
            raise ConfigError(f"{self._place(prefix + error.key if error.key else path, node)}{error}") from None

    def _member(self, member: Declared, node: TreeItem | None, path: str) -> tuple[Any] | None:
        """Return the value of a member in a tuple, or ``None`` when the default holds."""
        if isinstance(node, Scalar) and not node.text and _PROTECTS.search(path):
            self._refuse_empty(member, node, path)
        elif isinstance(node, Items) and not node.items and _EMPTY_RULES.fullmatch(path):
            raise ConfigError(f"{self._place(path, node)}is empty, which would let everybody pass; remove the key")
        if member.key is not None:
            return self._value(member.key, node, path)
        if member.section is not None:
            return (self.section(member.section, self._mapping(node, path), path),)
        if member.items is not None and node is not None:
            return (tuple(self._list_of_sections(member.items, node, path)),)
        return None

    def _refuse_empty(self, member: Declared, node: Scalar, path: str) -> None:
        """Refuse a value that is empty, perhaps because a variable is: without it a port or endpoint would be open.

        Keys for which Piko writes ``""`` where they have the default may be that, and a section ``{}``. Nothing at all
        is refused for them too: a secret that begins with ``#`` or ``&``, and is not in quotes, is read as nothing.
        """
        if node.is_unset:
            raise self._unset(node, path)
        line = self._lines[node.line - 1] if node.line <= len(self._lines) else ""
        is_written_out = not node.is_null and _MAY_BE_EMPTY.fullmatch(path)
        if not is_written_out and not _EXPLICIT.search(line):
            many = member.items is not None or (member.key is not None and member.key.kind.many)
            hint = ", or [] where there are none" if many and not path.startswith("policies[") else ""
            written = "a value, or remove the key"
            if member.section is not None:
                written, hint = "keys below it, or remove it", ", or {} where there are none"
            raise ConfigError(f"{self._place(path, node)}is empty: write {written}{hint}")

    def _unset(self, node: Scalar, path: str) -> ConfigError:
        lines = self._lines[node.line - 1 :]  # a value in quotes, or in a block, may go over several
        variable = next(filter(None, map(unset_variable, lines)), "")
        hint = f"the variable {variable} is unset or empty; set it, or write ${{{variable}:}} where nothing is meant"
        return ConfigError(f"{self._place(path, node)}is empty, since {hint if variable else 'a variable is'}")

    def _list_of_sections(self, cls: type[Section], node: TreeItem, path: str) -> Iterator[Section]:
        for index, item in enumerate(self._items(node, path, "a list of mappings")):
            place = f"{path}[{index}]"
            yield self.section(cls, self._mapping(item, place), place)

    def _value(self, key: Key, node: TreeItem | None, path: str) -> tuple[Any] | None:
        """Read one value: the file's is checked even where a flag then wins."""
        value = self._from_file(key.kind, node, path) if node is not None else None
        if path not in self._flags:
            return value
        if not self._flags[path].strip(" ,") and _PROTECTS.search(path):
            raise ConfigError(f"{flag_name(path)}: is empty: give a value, or leave it out; is a variable unset?")
        try:
            return (self._from_flag(key.kind, self._flags[path]),)
        except ConfigError as error:
            raise ConfigError(f"{flag_name(path)}: {error}") from None

    def _from_file(self, kind: Kind, node: TreeItem, path: str) -> tuple[Any]:
        if kind.or_one and isinstance(node, Scalar) and node.text:
            return ((self._scalar(kind, node, path),),)
        if kind.many:
            nodes = self._items(node, path, f"a list, each item {kind.wanted}")
            return (tuple(self._scalar(kind, item, f"{path}[{index}]") for index, item in enumerate(nodes)),)
        return (self._scalar(kind, node, path),)

    def _scalar(self, kind: Kind, node: TreeItem, path: str) -> Any:
        if not isinstance(node, Scalar):
            raise self._wrong(node, path, kind.wanted)
        try:
            return self._parse(kind, node.text)
        except ConfigError as error:
            raise ConfigError(f"{self._place(path, node)}{error}") from None

    def _from_flag(self, kind: Kind, text: str) -> Any:
        if not kind.many:
            return self._parse(kind, text)
        return tuple(self._parse(kind, item.strip()) for item in text.split(",") if item.strip())

    def _parse(self, kind: Kind, text: str) -> Any:
        return kind.parse(text, self._read) if kind.reads else kind.parse(text)

    def _items(self, node: TreeItem, path: str, wanted: str) -> tuple[TreeItem, ...]:
        if isinstance(node, Scalar) and not node.text:
            return ()
        if not isinstance(node, Items):
            raise self._wrong(node, path, wanted)
        unset = [item for item in node.items if isinstance(item, Scalar) and item.is_unset and not item.text]
        if unset and _PROTECTS.search(path):
            raise self._unset(unset[0], path)
        return tuple(item for item in node.items if item not in unset)

    def _mapping(self, node: TreeItem | None, path: str) -> Tree:
        if node is None:
            return EMPTY
        if isinstance(node, Scalar) and not node.text:
            return Tree({}, {}, node.line)
        if not isinstance(node, Tree):
            raise self._wrong(node, path, "keys and values below it")
        return node

    def _wrong(self, node: TreeItem, path: str, wanted: str) -> ConfigError:
        """Build the error for a value of another shape. It is not shown: where it was meant to be is not known."""
        if isinstance(node, Scalar):
            return ConfigError(f"{self._place(path, node)}wants {wanted}, found one value")
        found = "a list" if isinstance(node, Items) else "a mapping"
        return ConfigError(f"{self._place(path, node)}wants {wanted}, found {found}")

    def _place(self, path: str, node: TreeItem) -> str:
        """Say where something wrong stands; a section that no file gave has a path only, and the root not even that."""
        line = "" if node is EMPTY else f"{self._source_name}:{node.line}: "
        return line + (f"{path}: " if path else "")

    def _unknown(self, cls: type[Section], prefix: str, name: str, tree: Tree) -> ConfigError:
        hint = self._hint(cls, prefix, name)
        if not hint and cls is self._root and not isinstance(tree.entries[name], Scalar):
            hint = f"; a block that is there for its anchor has a name that begins with {EXTENSION}"
        word = re.split("[:=]", name, maxsplit=1)[0]
        if word != name:  # perhaps a key and its secret: {hmac_secret_key:SECRET}
            hint = "; write a colon and a blank between a key and its value"
        return ConfigError(f"{self._source_name}:{tree.key_lines[name]}: unknown key {quote(prefix + word)}{hint}")

    def _hint(self, cls: type[Section], prefix: str, name: str) -> str:
        """Return which key may be meant: one of this section, one that is nested, or the only one of this name."""
        near = nearest(name, members(cls))
        if near:
            return f"; did you mean {quote(prefix + near)}?"
        below = list(_names(cls, ""))
        if "." in name:
            section, _, leaf = nearest(name, (each for each in below if "." in each)).rpartition(".")
            where = quote(prefix + section + ":")
            return f"; keys are nested in a file: did you mean {quote(leaf)} below {where}?" if leaf else ""
        places = [prefix + each for each in below] + list(_names(self._root, ""))
        same = {each for each in places if each.rpartition(".")[2] == name}
        return f"; did you mean {quote(same.pop())}?" if len(same) == 1 else ""


def _names(cls: type[Section], prefix: str) -> Iterator[str]:
    """Every key below a section that a file may hold, sections included."""
    for name, member in members(cls).items():
        yield prefix + name
        if member.section is not None:
            yield from _names(member.section, f"{prefix}{name}.")
