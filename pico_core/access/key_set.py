"""Key sets (RFC 7517 section 5): JSON in, the keys that can verify tokens out."""

from typing import Any

import msgspec

from pico_core.access.keys import VerifyingKey, hmac_key, key_of
from pico_core.errors import ConfigError

MAX_SET_BYTES = 262_144
"""A thousand times the usual: an issuer publishes two or three keys."""

MAX_SET_KEYS = 64
"""Of one set. One with more is refused: that is an error of its issuer."""

_PUBLIC_MEMBERS = {
    "RSA": ("kty", "n", "e"),
    "EC": ("kty", "crv", "x", "y"),
    "OKP": ("kty", "crv", "x"),
}


def read_key_set(text: bytes, *, secrets: bool) -> tuple[VerifyingKey, ...]:
    """Return the keys of a set that verify signatures; those of unknown types or for encryption are left out.

    ``secrets`` says whether the set may have shared secrets (``oct``), which must not be published. Raises
    ``ConfigError`` where the text is not a set, or has no key that can be used; it never repeats the text.
    """
    if len(text) > MAX_SET_BYTES:
        raise ConfigError(f"is longer than {MAX_SET_BYTES} bytes")
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError("is not a key set: it is not JSON") from None
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ConfigError("is not a key set: it has no list 'keys'")
    if len(members) > MAX_SET_KEYS:
        raise ConfigError(f"has {len(members)} keys, more than {MAX_SET_KEYS}")
    keys = []
    last_problem = ""
    for member in members:
        try:
            keys.append(_read(member, secrets=secrets))
        except ConfigError as error:
            last_problem = f": {error}"
    if not keys:
        raise ConfigError(f"has no key that can verify a token{last_problem}")
    return tuple(keys)


def _read(member: Any, *, secrets: bool) -> VerifyingKey:
    if not isinstance(member, dict) or not isinstance(member.get("kty"), str):
        raise ConfigError("a key without 'kty'")
    if member.get("use", "sig") != "sig":
        raise ConfigError("a key that is not for signatures")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not any(each in operations for each in ("verify", "sign")):
        raise ConfigError("a key whose 'key_ops' are not those of signatures")
    kid = member.get("kid", "")
    if not isinstance(kid, str):
        raise ConfigError("a 'kid' that is not a text")
    if not secrets and "d" in member:
        raise ConfigError("a private key in a set that is published: whoever reads the set can make tokens")
    key = _secret(member, kid, secrets=secrets) if member["kty"] == "oct" else _public(member, kid)
    wanted = member.get("alg")
    if wanted is not None:
        if wanted not in key.algorithms:
            raise ConfigError("a key for another algorithm than its type permits")
        key.algorithms = (wanted,)
    return key


def _secret(member: dict[str, Any], kid: str, *, secrets: bool) -> VerifyingKey:
    if not secrets:
        raise ConfigError("a secret ('oct') in a set that is published: only a file may have one")
    from jwt.utils import base64url_decode

    try:
        return hmac_key(base64url_decode(member["k"]), kid)
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ConfigError("a secret whose 'k' is not base64url") from None


def _public(member: dict[str, Any], kid: str) -> VerifyingKey:
    names = _PUBLIC_MEMBERS.get(member["kty"])
    if names is None:
        raise ConfigError("a key of an unknown type")
    public = {name: member.get(name) for name in names}
    if not all(isinstance(value, str) for value in public.values()):
        raise ConfigError("a key with missing members")
    from cryptography.exceptions import UnsupportedAlgorithm
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.exceptions import PyJWTError

    reader: Any = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}[member["kty"]]
    try:
        loaded = reader.from_jwk(public)
    except (ValueError, TypeError, OverflowError, PyJWTError, UnsupportedAlgorithm):
        raise ConfigError("a key that cannot be read") from None
    return key_of(loaded, kid)
