"""Values that are secret, or that name a file with one: keys, tokens, key sets.

No error text here repeats a value that may be secret; it says how long it is, or names the file.
"""

import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote

import msgspec

from pico_core.access.key_set import MAX_SET_BYTES, read_key_set
from pico_core.access.secret import Secret
from pico_core.access.token import MAX_TOKEN_BYTES
from pico_core.config.values import DEFAULT_PORTS, Origin, quote, refuse_reference, server_url, wrong
from pico_core.errors import ConfigError

ReadText: TypeAlias = Callable[[str], str]
"""Returns the text of a file by its path, or raises ``ConfigError`` that names the path."""

MAX_SECRET_FILE_BYTES = MAX_SET_BYTES
"""Of a file that a value names, in bytes. The longest is a key set."""

TOKEN = "a token such as eyJhbGciOi..., see 'pico token create'"  # noqa: S105 - says what is wanted
TOKEN_FILE = "the path of a file that holds a token"  # noqa: S105 - says what is wanted
KEY_SET = "the URL of a key set such as https://issuer.example.com/keys.json or file:///etc/pico/keys.json"


_TOKEN_LOOK = re.compile(r"[!-~]+")
_NAME_LOOK = re.compile(r"[!-~]{0,255}")


class SecretFile(msgspec.Struct, frozen=True):
    """A file with a secret: where it is, and what it said when the configuration was read. ``str()`` is its path."""

    path: str
    content: Secret

    def __str__(self) -> str:
        return self.path


class KeySetSource(msgspec.Struct, frozen=True):
    """Where a key set comes from: ``origin`` and ``target`` of a URL, or a file by its ``path``.

    ``content`` is what the file said when the configuration was read. ``str()`` and ``repr()`` are the URL without its
    query, which may have a key of the issuer's.
    """

    url: str
    origin: Origin | None = None
    target: str = ""
    path: str = ""
    content: Secret = Secret("")

    def __str__(self) -> str:
        before, query, _ = self.url.partition("?")
        return f"{before}?***" if query else before

    def __repr__(self) -> str:
        return f"KeySetSource({str(self)!r})"


def read_nothing(path: str) -> str:
    """Raise ``ConfigError``: there are no files where a configuration is made from texts alone."""
    raise ConfigError(f"cannot read {quote(path)} here")


def name(text: str) -> str:
    """Check the text of an audience or issuer (RFC 7519 section 4.1): it may be empty. Raises ``ConfigError``."""
    if not _NAME_LOOK.fullmatch(text):
        raise wrong("a text of at most 255 visible characters", text)
    return text


def secret(text: str) -> Secret | None:
    """Take a secret as it is; empty text means none.

    Raises ``ConfigError`` for a text that is only the name of a variable, such as ``${PASSWORD}``.
    """
    refuse_reference(text)
    if text and not text.strip():
        raise ConfigError("wants a secret, found only blanks")
    return Secret(text) if text else None


def secret_file(path: str, read: ReadText) -> SecretFile | None:
    """Read a file with a key: without the line end behind it. An empty path means none.

    Raises ``ConfigError`` for a file that cannot be read, or that is empty.
    """
    if not path:
        return None
    content = read(path)
    if not content.strip():
        raise ConfigError(f"{quote(path)} is empty")
    text = content.removesuffix("\n").removesuffix("\r")
    try:
        refuse_reference(text)
    except ConfigError as error:
        raise ConfigError(f"{quote(path)}: {error}") from None
    return SecretFile(path, Secret(text))


def token(text: str) -> Secret | None:
    """Check the form of a token that is sent, not what it says; empty text means none.

    Raises ``ConfigError`` that tells the length of what cannot be a token.
    """
    if not text:
        return None
    refuse_reference(text)
    if len(text) > MAX_TOKEN_BYTES or not _TOKEN_LOOK.fullmatch(text):
        raise ConfigError(f"wants {TOKEN}, found {len(text)} characters that cannot be one")
    return Secret(text)


def token_file(path: str, read: ReadText) -> SecretFile | None:
    """Read a file with a token; blanks around it do not count. An empty path means none.

    Raises ``ConfigError`` for a file that cannot be read, or that does not hold a token.
    """
    if not path:
        return None
    return SecretFile(path, token_in(path, read(path)))


def token_in(path: str, content: str) -> Secret:
    """Return the token that a file holds. Raises ``ConfigError``, which names the file."""
    try:
        found = token(content.strip())
    except ConfigError as error:
        raise ConfigError(f"{quote(path)} {error}") from None
    if found is None:
        raise ConfigError(f"{quote(path)} is empty")
    return found


def key_set(text: str, read: ReadText) -> KeySetSource | None:
    """Parse the URL of a key set, and read and check one in a file. Empty text means none.

    Raises ``ConfigError`` for another scheme, for credentials in the URL, and for a file that holds no key set.
    """
    if not text:
        return None
    scheme, _, rest = text.partition("://")
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise wrong(KEY_SET, text, "write three slashes, file:///path")
        path = "/" + unquote(path)
        content = read(path)
        try:
            read_key_set(content.encode(), secrets=True)
        except ConfigError as error:
            raise ConfigError(f"{quote(path)} {error}") from None
        return KeySetSource(text, path=path, content=Secret(content))
    if scheme not in ("http", "https"):
        raise wrong(KEY_SET, text)
    authority, slash, target = rest.partition("/")
    if "@" in authority:
        raise ConfigError(f"wants {KEY_SET}, found one with credentials; they would be shown")
    if not re.fullmatch(r"[!-\"$-~]*", target):
        raise wrong(KEY_SET, text)
    return KeySetSource(text, origin=_origin(scheme, authority, text), target=slash + target or "/")


def _origin(scheme: str, authority: str, text: str) -> Origin:
    has_port = re.search(r":[0-9]+\Z", authority) is not None
    try:
        origin = server_url(f"http://{authority}" if has_port else f"http://{authority}:{DEFAULT_PORTS[scheme]}")
    except ConfigError:
        raise wrong(KEY_SET, text) from None
    return Origin(origin.host, origin.port, scheme)
