"""``pico server password``: draws a password for a user of a policy's ``basic_auth``."""

from __future__ import annotations

from pico_core.errors import ConfigError

PASSWORD_BYTES = 16
"""No one guesses 128 random bits, whatever a guess costs: so one round of a hash keeps them
(``docs/decisions/policies.md``)."""

SALT_BYTES = 8
"""Two users with equal passwords then have different hashes; that it is random for each of them is all it is for."""


def draw(name: str) -> tuple[str, str]:
    """Return a new password for a user, and the line of ``basic_auth`` that has its hash.

    Raises ``ConfigError`` if ``name`` cannot be that of a user.
    """
    import secrets

    from pico_core.config.policies import HASH, digest_of, user

    password = secrets.token_urlsafe(PASSWORD_BYTES)
    salt = secrets.token_hex(SALT_BYTES)
    line = f"{name}:{HASH}:{salt}:{digest_of(salt, password.encode()).hex()}"
    if user(line).name != name:
        raise ConfigError("a user's name has no colon")
    return password, line
