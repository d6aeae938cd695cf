"""Making tokens, and explaining them: the other side of ``token``, for ``pico token`` and for tests."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pico_core.access.keys import FAMILIES, PEM_LABEL, VerifyingKey, hmac_key, key_of, public_key
from pico_core.errors import ConfigError


class Claims(msgspec.Struct, frozen=True):
    """The claims of a new token. Empty values are left out of it."""

    endpoints: Sequence[str] = ()
    tenant: str = ""
    subject: str = ""
    audience: str = ""
    issuer: str = ""
    expires_at: float | None = None
    """Seconds since the epoch; ``None`` for a token that never expires."""


class SigningKey:
    """A key that signs tokens: a secret, or a private key in PEM. ``repr()`` does not show it."""

    def __init__(self, text: str) -> None:
        """Raises ``ConfigError``, which never repeats the text."""
        label = PEM_LABEL.search(text)
        if label is None:
            secret = text.removesuffix("\n").removesuffix("\r")
            self.verifying = hmac_key(secret)
            self._material: Any = secret.encode()
        elif "PRIVATE" not in label[1]:
            raise ConfigError(f"is a {label[1]}: tokens are made with the private key")
        else:
            self._material = _private_key(text)
            self.verifying = key_of(self._material.public_key(), "")
        self.algorithm = self.verifying.algorithms[0]

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm})"

    def sign(self, claims: Claims, issued_at: float, kid: str = "") -> str:
        """Return a token with these claims."""
        from jwt.api_jws import PyJWS

        payload = msgspec.json.encode(_content(claims, issued_at))
        headers = {"typ": "JWT", **({"kid": kid} if kid else {})}
        return PyJWS().encode(payload, self._material, algorithm=self.algorithm, headers=headers)


def _private_key(text: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("is a private key that cannot be read; is it encrypted, or cut short?") from None


def _content(claims: Claims, issued_at: float) -> dict[str, Any]:
    permission = {"endpoints": list(claims.endpoints), "tenant": claims.tenant}
    content = {
        "sub": claims.subject,
        "iss": claims.issuer,
        "aud": claims.audience,
        "iat": int(issued_at),
        "exp": None if claims.expires_at is None else int(claims.expires_at),
        "piko": {name: value for name, value in permission.items() if value},  # the spelling that Piko reads as well
    }
    return {name: value for name, value in content.items() if value not in ("", None, {})}


def any_key(text: str) -> tuple[VerifyingKey, ...]:
    """Return the keys that verify tokens, from the content of a key file: secret, public key, private key or key set.

    Raises ``ConfigError``.
    """
    from pico_core.access.key_set import read_key_set

    if text.lstrip().startswith("{"):
        return read_key_set(text.encode(), secrets=True)
    label = PEM_LABEL.search(text)
    if label is None or "PRIVATE" in label[1]:
        return (SigningKey(text).verifying,)
    problem: ConfigError | None = None
    for family in ("rsa", "ecdsa", "eddsa"):
        try:
            return (public_key(family, text),)
        except ConfigError as error:
            problem = error if problem is None or "another kind" in str(problem) else problem
    raise ConfigError(str(problem))


def family_of(algorithm: object) -> str:
    """Return the family of keys that an algorithm belongs to, empty for one that is never accepted."""
    return next((family for family, names in FAMILIES.items() if algorithm in names), "")
