"""The gate of one port: which tokens it accepts, and the memory of those that it has verified.

A signature takes 30 to 200 us, so a verified token is remembered until it expires. The memory is keyed by a hash: it
holds no token, and how long a look-up takes says nothing about one.
"""

import re
from typing import Final

from pico_core.access.grant import EXPIRED_TOKEN, INVALID_AUTHORIZATION, INVALID_TOKEN, UNSUPPORTED_TYPE, Denied, Grant
from pico_core.access.keys import VerifyingKey
from pico_core.access.token import MAX_TOKEN_BYTES, TokenRules, algorithms, verify

MAX_VERIFIED: Final = 4_096
"""Tokens; each takes about 600 bytes. Beyond it the one that was verified first is forgotten, and verified again."""

_SCHEME = re.compile(rb"([!-~]+) +([!-~]+)")


class Gate:
    """Checks tokens against ``keys``. ``era`` is a new object whenever what was verified must be verified again."""

    __slots__ = ("_sha256", "era", "keys", "remembered", "rules")

    def __init__(self, keys: tuple[VerifyingKey, ...], rules: TokenRules) -> None:
        from hashlib import sha256  # 2 ms that a port without tokens does not need before it is open

        self._sha256 = sha256
        algorithms()  # now, and not when the first client waits for it
        self.rules = rules
        self.keys = keys
        self.era = object()
        self.remembered: dict[bytes, Grant] = {}
        """The verified grants, by the hash of the field that had the token."""

    def replace_keys(self, keys: tuple[VerifyingKey, ...]) -> None:
        """Take over other keys: a token that only the old ones verify is not accepted any more."""
        self.keys = keys
        self.era = object()
        self.remembered.clear()

    def check(self, authorization: bytes, wall_s: float) -> Grant:
        """Return the grant by the value of an Authorization field. Raises ``Denied``."""
        if len(authorization) > MAX_TOKEN_BYTES + len(b"Bearer "):
            raise Denied(INVALID_TOKEN)
        digest = self._sha256(authorization).digest()
        grant = self.remembered.get(digest)
        if grant is None:
            grant = verify(token_of(authorization), self.keys, self.rules, wall_s, self.era)
            if len(self.remembered) >= MAX_VERIFIED:
                del self.remembered[next(iter(self.remembered))]
            self.remembered[digest] = grant
        elif grant.expires_at <= wall_s:
            del self.remembered[digest]
            raise Denied(EXPIRED_TOKEN)
        return grant


def token_of(authorization: bytes) -> str:
    """Return the token of ``Bearer <token>`` (RFC 6750 section 2.1). Raises ``Denied``."""
    match = _SCHEME.fullmatch(authorization)
    if match is None:
        raise Denied(INVALID_AUTHORIZATION)
    if match[1].lower() != b"bearer":
        raise Denied(UNSUPPORTED_TYPE)
    return match[2].decode("ascii")
