"""The keys that verify tokens, and which algorithms each of them permits (RFC 7518 section 3, RFC 8037 section 3.1).

The key decides the algorithm, never the token. A public key in PEM is refused as an HMAC secret. A token that names an
algorithm of another family is refused whatever it is signed with. The first key imports cryptography.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from pico_core.errors import ConfigError

HASH_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""An HMAC key must be at least as long as the hash (RFC 7518 section 3.2)."""

MIN_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""

MAX_RSA_BITS: Final = 16_384
"""A verification takes 2 ms with this many; no issuer has more."""

CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

FAMILIES: Final = {
    "hmac": tuple(HASH_BYTES),
    "rsa": ("RS256", "RS384", "RS512"),
    "ecdsa": tuple(CURVES.values()),
    "eddsa": ("EdDSA",),
}

PEM_LABEL: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,60})-----")
_OTHER_KEY = re.compile(r"\s*(?:(?:ssh|ecdsa|sk)-\S+ AAAA|----[ -]BEGIN |\{[^{}]*\"kty\")", re.IGNORECASE)
"""The beginning of a key in the formats of ssh (RFC 4253 section 6.6, RFC 4716), and of a JSON Web Key."""

_WANTED = {
    "rsa": "an RSA public key in PEM (-----BEGIN PUBLIC KEY-----)",
    "ecdsa": "an ECDSA public key of P-256, P-384 or P-521 in PEM (-----BEGIN PUBLIC KEY-----)",
    "eddsa": "an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)",
}


class VerifyingKey:
    """One key. ``material`` is what PyJWT takes; ``kid`` names the key in a set, empty for a key outside of one.

    ``repr()`` does not show the key.
    """

    __slots__ = ("algorithms", "kid", "material")

    def __init__(self, material: Any, algorithms: tuple[str, ...], kid: str = "") -> None:
        self.material = material
        self.algorithms = algorithms
        self.kid = kid

    def __repr__(self) -> str:
        return f"VerifyingKey({'/'.join(self.algorithms)}, kid={self.kid!r})"


def hmac_key(secret: str | bytes, kid: str = "") -> VerifyingKey:
    """Return the key of a shared secret. Raises ``ConfigError``, which never repeats it."""
    try:
        material = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ConfigError("wants a secret text, found characters that have no bytes") from None
    if PEM_LABEL.search(material.decode("latin-1")):
        raise ConfigError("wants a secret text, found a key in PEM: a public key must never be an HMAC secret")
    if _OTHER_KEY.match(material.decode("latin-1")):
        raise ConfigError("wants a secret text, found a key of ssh or a JSON Web Key, which may be public")
    algorithms = tuple(name for name, size in HASH_BYTES.items() if len(material) >= size)
    if not algorithms:
        raise ConfigError(
            f"wants a secret of at least {HASH_BYTES['HS256']} bytes, found {len(material)}; "
            "make one with 'pico token key'"
        )
    if len(set(secret)) == 1:
        raise ConfigError("wants a secret, found the same character again and again")
    return VerifyingKey(material, algorithms, kid)


def public_key(family: str, pem: str) -> VerifyingKey:
    """Return the public key of a family (``rsa``, ``ecdsa``, ``eddsa``). Raises ``ConfigError`` without the text."""
    wanted = _WANTED[family]
    label = PEM_LABEL.search(pem)
    if label is None:
        raise ConfigError(f"wants {wanted}, found no PEM")
    if "PRIVATE" in label[1]:
        raise ConfigError(f"wants {wanted}, found a private key; a server needs the public one only")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        loaded = load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"wants {wanted}, found a {label[1]} that cannot be read") from None
    found, algorithms = _described(loaded)
    if found != family:
        other = f"; that is for {found}_public_key" if found in _WANTED else ""
        raise ConfigError(f"wants {wanted}, found another kind of key{other}")
    return VerifyingKey(loaded, algorithms)


def key_of(loaded: Any, kid: str) -> VerifyingKey:
    """Return the key of a public key that cryptography has read. Raises ``ConfigError`` for one that is not secure."""
    _, algorithms = _described(loaded)
    return VerifyingKey(loaded, algorithms, kid)


def _described(loaded: Any) -> tuple[str, tuple[str, ...]]:
    """Return the family of a public key and the algorithms that it permits."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(loaded, RSAPublicKey):
        if not MIN_RSA_BITS <= loaded.key_size <= MAX_RSA_BITS:
            raise ConfigError(
                f"wants an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, found one of {loaded.key_size}"
            )
        return "rsa", FAMILIES["rsa"]
    if isinstance(loaded, EllipticCurvePublicKey):
        algorithm = CURVES.get(loaded.curve.name)
        if algorithm is None:
            raise ConfigError(f"wants a key of P-256, P-384 or P-521, found one of {loaded.curve.name}")
        return "ecdsa", (algorithm,)
    if isinstance(loaded, (Ed25519PublicKey, Ed448PublicKey)):
        return "eddsa", FAMILIES["eddsa"]
    return "", ()


READERS: Final[dict[str, Callable[[str], VerifyingKey]]] = {
    "hmac_secret_key": hmac_key,
    "rsa_public_key": lambda pem: public_key("rsa", pem),
    "ecdsa_public_key": lambda pem: public_key("ecdsa", pem),
    "eddsa_public_key": lambda pem: public_key("eddsa", pem),
}
"""The function that reads the value of each key of the configuration that names a key."""
