"""The permissions of a verified token."""

import msgspec

from pico_core.errors import RemoteProtocolError


class Denied(RemoteProtocolError):  # noqa: N818 - named after what happened
    """A request that is not let in. ``status`` is 401, or 503 where the next attempt may be; ``reason`` is its text.

    The reasons are the texts below, which clients of Piko know; they never repeat anything of a token.
    """

    def __init__(self, reason: str, status: int = 401) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.code = "keys-unknown" if status == 503 else ""


NO_CREDENTIALS = "missing authorization"
INVALID_AUTHORIZATION = "invalid authorization"
UNSUPPORTED_TYPE = "unsupported auth type"
INVALID_TOKEN = "invalid token"  # noqa: S105 - a text for people
EXPIRED_TOKEN = "expired token"  # noqa: S105 - a text for people
UNKNOWN_TENANT = "unknown tenant"
NOT_PERMITTED = "endpoint not permitted"
KEYS_UNKNOWN = "the keys that verify tokens are being fetched"
CLOCK_UNKNOWN = "the time is not known yet"
"""Both are said with 503."""

ADVICE = {
    NO_CREDENTIALS: "give a token with connect.token or connect.token_file",
    INVALID_AUTHORIZATION: "is connect.token a whole token?",
    UNSUPPORTED_TYPE: "something on the way replaces the Authorization field",
    INVALID_TOKEN: "its key, audience or issuer is not what the server wants: see 'pico token inspect'",
    EXPIRED_TOKEN: "give a new one with connect.token or connect.token_file",
    UNKNOWN_TENANT: "give a tenant of the server with connect.tenant_id",
    NOT_PERMITTED: "the token is for other endpoints, or for another tenant: see 'pico token inspect'",
}
"""The advice for the user of an agent or a forwarder about each reason."""


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The claims of a verified token that matter.

    ``expires_at`` is in seconds since the epoch, the leeway included, and infinite for a token that never expires.
    ``names`` and ``prefixes`` are the endpoints of a ``limited`` token. ``subject`` is the
    claim ``sub``, or empty. ``era`` is the ``Gate.era`` it belongs to.
    """

    expires_at: float
    limited: bool
    names: frozenset[str]
    prefixes: tuple[str, ...]
    tenant: str
    subject: str
    era: object

    def permits(self, endpoint: str) -> bool:
        """Say whether the token permits an endpoint, given in its one spelling."""
        return not self.limited or endpoint in self.names or endpoint.startswith(self.prefixes)
