"""Keys and tokens for tests, made once: each kind of key takes milliseconds to draw."""

import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pico_core.access.issuing import Claims, SigningKey

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"
OTHER_SECRET = "another-0123456789abcdefghijklmnopqrstuvwxyz"
NOW_S = 1_700_000_000.0
KINDS = ("hmac", "rsa", "ecdsa", "eddsa")


@cache
def drawn(kind: str) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def private_pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def public_pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@cache
def signing(kind: str) -> SigningKey:
    return SigningKey(SECRET if kind == "hmac" else private_pem(drawn(kind)))


def part(content: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def token(*endpoints: str, lasts_s: float | None = 600, tenant: str = "", kind: str = "hmac", kid: str = "") -> str:
    expires_at = None if lasts_s is None else NOW_S + lasts_s
    return signing(kind).sign(Claims(endpoints, tenant, expires_at=expires_at), NOW_S, kid)


def signed(claims: object, header: dict[str, Any] | None = None, secret: str = SECRET) -> str:
    """Return a token with any header and claims at all, signed with HS256."""
    import hashlib
    import hmac

    text = f"{part({'alg': 'HS256', **(header or {})})}.{part(claims)}"
    return f"{text}.{part(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


def bearer(text: str) -> bytes:
    return b"Bearer " + text.encode()
