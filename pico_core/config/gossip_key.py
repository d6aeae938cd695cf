"""The keys of ``cluster.gossip.keys``: text to bytes. No error text repeats any part of a key."""

import base64
import binascii
import re
from collections.abc import Sequence

import msgspec

from pico_core.bounds import GOSSIP_KEY_BYTES
from pico_core.config.values import refuse_reference
from pico_core.errors import ConfigError

MAX_GOSSIP_KEYS = 8
"""The key in use, the next and the last one, with room for a rotation that was left half done."""
GOSSIP_KEY = f"a key of {GOSSIP_KEY_BYTES} bytes, in base64 or as {2 * GOSSIP_KEY_BYTES} hexadecimal digits"
_HINT = "make one with 'pico server key'"
_HEX = re.compile(f"[0-9A-Fa-f]{{{2 * GOSSIP_KEY_BYTES}}}")


class GossipKey(msgspec.Struct, frozen=True):
    """A secret that is not printed by accident: neither ``repr`` nor ``str`` shows it."""

    secret: bytes

    def __repr__(self) -> str:
        return "GossipKey(...)"

    __str__ = __repr__


def gossip_key(text: str) -> GossipKey:
    """Parse one key: base64 with either alphabet (RFC 4648, sections 4 and 5), padded or not, or hexadecimal digits.

    Raises ``ConfigError`` that says how long the text or the key is, and nothing else of it.
    """
    if _HEX.fullmatch(text):
        return _checked(bytes.fromhex(text))
    refuse_reference(text)
    try:
        characters = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        secret = base64.b64decode(characters + "=" * (-len(characters) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError(f"wants {GOSSIP_KEY}, found {len(text)} characters that are neither: {_HINT}") from None
    if len(secret) != GOSSIP_KEY_BYTES:
        raise ConfigError(f"wants {GOSSIP_KEY}, found {len(secret)} bytes: {_HINT}")
    return _checked(secret)


def _checked(secret: bytes) -> GossipKey:
    if len(set(secret)) == 1:
        raise ConfigError(f"wants {GOSSIP_KEY}, found the same byte again and again: {_HINT}")
    return GossipKey(secret)


def gossip_keys(text: str, name: str) -> tuple[GossipKey, ...]:
    """Parse the content of the file ``name``: one key a line, empty lines and those that begin with ``#`` aside.

    Raises ``ConfigError`` that names the file and the line.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            try:
                keys.append(gossip_key(line))
            except ConfigError as error:
                raise ConfigError(f"{name}:{number}: {error}") from None
    if not keys:
        raise ConfigError(f"{name}: has no key: write one a line, and {_HINT}")
    repeated = repeated_key(keys)
    if repeated:
        raise ConfigError(f"{name}: {repeated}")
    return tuple(keys)


def repeated_key(keys: Sequence[GossipKey]) -> str:
    """Return what is wrong with a list that has a key twice; empty for one that does not."""
    for place, key in enumerate(keys):
        if key in keys[:place]:
            return f"key {place + 1} is key {keys.index(key) + 1} again; a rotation needs another one"
    return ""
