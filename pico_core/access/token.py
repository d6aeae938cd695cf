"""Verifying one token: a JWT in compact form (RFC 7519, RFC 7515 section 7.1).

PyJWT's algorithms check the signature, and that alone: what a token may look like is checked before it, and what it
says is read after it, because PyJWT would read the clock, and wall time is an input of ours.
"""

import math
import re
from base64 import urlsafe_b64decode
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from pico_core.access.grant import EXPIRED_TOKEN, INVALID_TOKEN, Denied, Grant
from pico_core.access.keys import VerifyingKey

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

MAX_TOKEN_BYTES = 8_192
"""A longer token is refused before anything of it is read. Those of large issuers have 2 KiB."""

MAX_PATTERNS = 1_000
"""Endpoints that one token may name; 8 KiB have hardly room for more."""

MEMBERS = ("endpoints", "tenant")
"""The members that the claim may have."""

MAX_CANDIDATES = 8
"""Keys that are tried for a token without ``kid``: each costs a signature."""

CLAIMS = ("pico", "piko")
"""The claim with what a token permits, in both spellings."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class Unverified(Denied):
    """No key that is known verifies the signature. ``kid_unknown`` says that the token names a key that is not known.

    A key set may have it by now.
    """

    def __init__(self, *, kid_unknown: bool) -> None:
        super().__init__(INVALID_TOKEN)
        self.kid_unknown = kid_unknown


class Malformed(Denied):
    """A token whose signature is right, and whose claim has another form. ``problem`` is for the log."""

    def __init__(self, problem: str) -> None:
        super().__init__(INVALID_TOKEN)
        self.problem = problem


class TokenRules(msgspec.Struct, frozen=True):
    """The claims that a token must have beside its signature. Empty texts ask for nothing."""

    audience: str = ""
    issuer: str = ""
    leeway_s: float = 0.0
    require_expiry: bool = False


def read_header(token: str) -> dict[str, Any]:
    """Return the header of a token that has the form of one. Raises ``Denied``."""
    match = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
    if match is None:
        raise Denied(INVALID_TOKEN)
    return _json_object(match[1])


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token without verifying them. Raises ``Denied``."""
    read_header(token)
    return _json_object(token.split(".")[1])


def _json_object(part: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(_decoded(part))
    except (ValueError, RecursionError):  # of base64, UTF-8 and msgspec
        raise Denied(INVALID_TOKEN) from None
    if not isinstance(document, dict):
        raise Denied(INVALID_TOKEN)
    return document


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(token: str, keys: tuple[VerifyingKey, ...], rules: TokenRules, wall_s: float, era: object) -> Grant:
    """Return the grant of a token at the wall time ``wall_s``. Raises ``Denied``, or ``Unverified`` of that."""
    header = read_header(token)
    signed, _, signature = token.rpartition(".")
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(kid, str) or "crit" in header or "b64" in header:
        raise Denied(INVALID_TOKEN)
    named = [key for key in keys if not kid or not key.kid or key.kid == kid]
    candidates = [key for key in named if algorithm in key.algorithms]
    if not any(_is_signed_by(key, algorithm, signed, signature) for key in candidates[:MAX_CANDIDATES]):
        raise Unverified(kid_unknown=bool(kid) and all(key.kid != kid for key in keys))
    return read_grant(read_claims(token), rules, wall_s, era)


def _is_signed_by(key: VerifyingKey, algorithm: str, signed: str, signature: str) -> bool:
    """Check a signature (RFC 7515 section 5.2). The caller has seen to it that the key permits the algorithm."""
    try:
        return bool(algorithms()[algorithm].verify(signed.encode(), key.material, _decoded(signature)))
    except (ValueError, TypeError):  # a signature of another length, or what else cryptography does not take
        return False


@cache
def algorithms() -> "dict[str, Algorithm]":
    """Return PyJWT's algorithms by name. The first call imports them, which takes a tenth of a second."""
    from jwt.algorithms import get_default_algorithms

    return get_default_algorithms()


def read_grant(claims: dict[str, Any], rules: TokenRules, wall_s: float, era: object) -> Grant:
    """Return the grant of claims whose signature was verified (RFC 7519 section 4.1). Raises ``Denied``."""
    expires_at = _instant(claims, "exp")
    not_before = _instant(claims, "nbf")
    if expires_at is None and rules.require_expiry:
        raise Denied(INVALID_TOKEN)
    if not_before is not None and not_before - rules.leeway_s > wall_s:
        raise Denied(INVALID_TOKEN)
    if rules.issuer and claims.get("iss") != rules.issuer:
        raise Denied(INVALID_TOKEN)
    if rules.audience:
        audience = claims.get("aud")
        if rules.audience not in (audience if isinstance(audience, list) else [audience]):
            raise Denied(INVALID_TOKEN)
    patterns, tenant = read_permission(claims)
    until = math.inf if expires_at is None else expires_at + rules.leeway_s
    if until <= wall_s:
        raise Denied(EXPIRED_TOKEN)
    return Grant(
        until,
        bool(patterns),
        frozenset(pattern for pattern in patterns if not pattern.endswith("*")),
        tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*")),
        tenant,
        _subject(claims),
        era,
    )


def _subject(claims: dict[str, Any]) -> str:
    """Return the subject (RFC 7519 section 4.1.2), empty where it is absent."""
    subject = claims.get("sub", "")
    if not isinstance(subject, str):
        raise Denied(INVALID_TOKEN)
    return subject


def _instant(claims: dict[str, Any], name: str) -> float | None:
    """Return a NumericDate (RFC 7519 section 2), ``None`` where it is absent."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Denied(INVALID_TOKEN)
    try:
        instant = float(value)
    except OverflowError:
        raise Denied(INVALID_TOKEN) from None
    if not math.isfinite(instant):
        raise Denied(INVALID_TOKEN)
    return instant


def read_permission(claims: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """Return the endpoints of ``{"pico": {"endpoints": [...], "tenant": "..."}}`` in lower case, and the tenant.

    Both are empty where the claim does not limit them. Names have no case, as for Piko. Raises ``Malformed`` if it is
    not of that form, has a member that is not known, since a misspelt limit must not permit everything, or is given in
    both spellings with different content.
    """
    found = [_members(name, claim) for name, claim in claims.items() if name.lower() in CLAIMS and claim is not None]
    if not found:
        return (), ""
    claim = found[0]
    if any(other != claim for other in found):
        raise Malformed(f"it has the claim {' and '.join(CLAIMS)} with different content")
    patterns, tenant = claim.get("endpoints"), claim.get("tenant")
    patterns = [] if patterns is None else patterns
    tenant = "" if tenant is None else tenant
    if not isinstance(tenant, str):
        raise Malformed("the tenant in its claim is not a text")
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise Malformed("the endpoints in its claim are not a list of names")
    if len(patterns) > MAX_PATTERNS:
        raise Malformed(f"its claim has {len(patterns)} endpoints, more than {MAX_PATTERNS}")
    return tuple(pattern.lower() for pattern in patterns), tenant.lower()


def _members(name: str, claim: object) -> dict[str, Any]:
    """Return the members of a claim by their names in lower case. Raises ``Malformed``."""
    if not isinstance(claim, dict):
        raise Malformed(f"its claim {name!r} is not an object")
    members: dict[str, Any] = {}
    for member, value in claim.items():
        known = member.lower()
        if known not in MEMBERS:
            raise Malformed(f"its claim {name!r} has the member {member[:40]!r}; known are {' and '.join(MEMBERS)}")
        if known in members:
            raise Malformed(f"its claim {name!r} has the member {known!r} twice")
        members[known] = value
    return members
