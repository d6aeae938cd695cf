"""How a configuration is declared: once, in structs whose annotations say what a key is for and why its default is so.

File loading, flags, ``--help`` and the reference page all read the same declaration through ``members`` and ``leaves``.
A field whose value is a duration has its unit in its name (``timeout_s``) and its key without it (``timeout``).
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

import msgspec
from msgspec.structs import FieldInfo, fields

from pico_core.bounds import MAX_ID_CHARACTERS
from pico_core.config import gossip_key, networks, proxy, secrets, values


class Kind(msgspec.Struct, frozen=True):
    """A kind of value: how it reads, how it is written, and what to call it.

    ``parse`` takes the user's text and raises ``ConfigError``; with ``many`` the value is a tuple of such items: a list
    in a file, comma separated or repeated as a flag. A kind that ``reads`` names a file, whose content is the value:
    its ``parse`` takes ``ReadText`` too. No error text repeats a value that is ``secret``. With
    ``or_one`` a list of one may be written as its item.
    """

    metavar: str
    wanted: str
    parse: Callable[..., Any]
    show: Callable[[Any], str] = str
    many: bool = False
    reads: bool = False
    secret: bool = False
    or_one: bool = False


def _show_switch(value: bool) -> str:
    return "true" if value else "false"


def _show_optional(value: object) -> str:
    return "" if value is None else str(value)


RANDOM_LENGTH = 7
"""Random characters of a node ID: with 36 to choose from, ten thousand starts collide once in 1,500 tries."""

MAX_PREFIX_CHARACTERS = MAX_ID_CHARACTERS - RANDOM_LENGTH


def _optional_identifier(text: str) -> str:
    return values.identifier(text) if text else ""


def _prefix(text: str) -> str:
    if len(text) > MAX_PREFIX_CHARACTERS:
        raise values.wrong(f"a prefix of at most {MAX_PREFIX_CHARACTERS} characters", text)
    return _optional_identifier(text)


DURATION = Kind("DURATION", values.DURATION, values.duration, values.show_duration)
DURATION_OR_ZERO = Kind("DURATION", values.DURATION, values.duration_or_zero, values.show_duration)
BIND_ADDRESS = Kind("[HOST]:PORT", values.BIND_ADDRESS, values.bind_address)
HEALTH_PATH = Kind("PATH", values.REQUEST_PATH, values.request_path)
OPTIONAL_BIND_ADDRESS = Kind(
    "[HOST]:PORT", values.BIND_ADDRESS, lambda text: values.bind_address(text) if text else None, _show_optional
)
LOCAL_ADDRESS = Kind("ADDR", values.LOCAL_ADDRESS, values.local_address)
OPTIONAL_LOCAL_ADDRESS = Kind(
    "ADDR", values.LOCAL_ADDRESS, lambda text: values.local_address(text) if text else None, _show_optional
)
ADVERTISED_ADDRESS = Kind("HOST:PORT", values.ADVERTISED_ADDRESS, values.advertised_address, _show_optional)
MEMBERS = Kind("NODE,...", values.MEMBER, values.member, many=True)
ORIGIN = Kind("ADDR", values.ORIGIN, values.origin)
CONNECT_URL = Kind("URL", values.SERVER_URL, values.connect_url)
CLIENTS_URL = Kind("URL", values.CLIENTS_URL, partial(values.connect_url, wanted=values.CLIENTS_URL))
PROXY_URL = Kind("URL", proxy.PROXY_URL, proxy.proxy_url, _show_optional)
HOST_HEADER = Kind("[keep|rewrite|HOST]", values.HOST_HEADER, values.host_header)
IDENTIFIER = Kind("ID", values.IDENTIFIER, values.identifier)
OPTIONAL_IDENTIFIER = Kind("ID", values.IDENTIFIER, _optional_identifier)
TENANT = Kind("ID", values.IDENTIFIER, values.tenant)
OPTIONAL_TENANT = Kind("ID", values.IDENTIFIER, lambda text: values.tenant(text) if text else "")
PREFIX = Kind("TEXT", values.IDENTIFIER, _prefix)
NETWORKS = Kind("NETWORK,...", networks.NETWORK, networks.network, many=True)
NAMES = Kind("NAME,...", "a name such as proxy", values.identifier, many=True)
FILE = Kind("FILE", "the path of a file", values.file_path)
FILES = Kind("FILE,...", "the path of a file", values.file_path, many=True, or_one=True)
SERVER_NAME = Kind("NAME", values.SERVER_NAME, values.server_name)
NAME = Kind("TEXT", "a text without blanks", secrets.name)
SECRET = Kind("SECRET", "a secret", secrets.secret, _show_optional)
TOKEN = Kind("TOKEN", secrets.TOKEN, secrets.token, _show_optional)
SECRET_FILE = Kind("FILE", "the path of a file", secrets.secret_file, _show_optional, reads=True)
TOKEN_FILE = Kind("FILE", secrets.TOKEN_FILE, secrets.token_file, _show_optional, reads=True)
KEY_SET = Kind("URL", secrets.KEY_SET, secrets.key_set, _show_optional, reads=True)
SWITCH = Kind("[true|false]", "true or false", values.switch, _show_switch)


GOSSIP_KEYS = Kind("KEY,...", gossip_key.GOSSIP_KEY, gossip_key.gossip_key, many=True, secret=True)


def one_of(*choices: str) -> Kind:
    """Return the kind of a value that is one of a few words."""
    parse = partial(values.choice, choices=choices)
    return Kind("[" + "|".join(choices) + "]", f"one of {', '.join(choices)}", parse)


def whole_number(lowest: int, highest: int) -> Kind:
    """Return the kind of whole numbers within bounds, both included."""
    parse = partial(values.whole_number, lowest=lowest, highest=highest)
    return Kind("NUMBER", f"a whole number from {lowest} to {highest}", parse)


def number_or_auto(highest: int) -> Kind:
    """Return the kind of whole numbers from 1; ``auto`` is 0."""
    parse = partial(values.number_or_auto, highest=highest)
    return Kind(
        "NUMBER|auto", f"a whole number from 1 to {highest}, or auto", parse, lambda value: str(value or "auto")
    )


def decimal_number(lowest: float, highest: float) -> Kind:
    """Return the kind of decimal numbers within bounds, both included."""
    parse = partial(values.decimal_number, lowest=lowest, highest=highest)
    return Kind("NUMBER", f"a number from {lowest:g} to {highest:g}", parse, "{:g}".format)


class Key(msgspec.Struct, frozen=True):
    """The annotation of a key: its kind, one line of help, and the reason for its default."""

    kind: Kind
    help: str
    why: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every mapping of keys. The first line of its docstring is its title in help and reference.

    ``needs`` has keys that mean something only where another one is given too. ``aliases`` has other names of entries,
    which Piko uses, with the names that they stand for.
    """

    aliases: ClassVar[dict[str, str]] = {}

    needs: ClassVar[dict[str, str]] = {}


SectionType = TypeVar("SectionType", bound=Section)


class Declared(msgspec.Struct, frozen=True):
    """One entry of a section: a ``key`` (a value), a ``section`` (a mapping) or ``items`` (a list of mappings)."""

    attribute: str
    default: Any = None
    required: bool = False
    key: Key | None = None
    section: type[Section] | None = None
    items: type[Section] | None = None


class Leaf(msgspec.Struct, frozen=True):
    """One value of a whole configuration: its dotted name, its key, and its default (``required``: none)."""

    name: str
    key: Key
    default: Any
    required: bool

    @property
    def shown_default(self) -> str:
        """The default as a user would write it; empty where the key has no default."""
        if self.required:
            return ""
        if self.key.kind.many:
            return ",".join(self.key.kind.show(item) for item in self.default)
        return self.key.kind.show(self.default)


def flag_name(name: str) -> str:
    """Return the flag of a key: ``proxy.bind_addr`` is ``--proxy.bind-addr``."""
    return "--" + name.replace("_", "-")


@cache
def members(section: type[Section]) -> dict[str, Declared]:
    """Return the entries of a section by the name they have in a file, in the order of their declaration."""
    hints = get_type_hints(section, include_extras=True)
    result: dict[str, Declared] = {}
    for field in fields(section):
        member = _member(field, hints[field.name])
        is_duration = member.key is not None and member.key.kind.metavar == DURATION.metavar
        result[field.name.removesuffix("_s") if is_duration else field.name] = member
    return result


def _member(field: FieldInfo, hint: Any) -> Declared:
    if isinstance(hint, type) and issubclass(hint, Section):
        return Declared(field.name, section=hint)
    key = next((extra for extra in get_args(hint) if isinstance(extra, Key)), None)
    if key is None:
        return Declared(field.name, items=get_args(hint)[0])
    return Declared(field.name, field.default, field.required, key)


def leaves(section: type[Section], prefix: str = "") -> Iterator[Leaf]:
    """Walk all values below a section that have one place (those inside lists have none, and no flag)."""
    for name, member in members(section).items():
        if member.key is not None:
            yield Leaf(prefix + name, member.key, member.default, member.required)
        elif member.section is not None:
            yield from leaves(member.section, f"{prefix}{name}.")
