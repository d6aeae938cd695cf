"""The configuration of policies: what clients may do with the endpoints of a pattern."""

import math
import re
from collections.abc import Collection
from typing import Annotated

import msgspec

from pico_core.config.declare import NETWORKS, Key, Kind, Section, decimal_number, one_of, whole_number
from pico_core.config.networks import NamedNetwork
from pico_core.config.values import TENANT_SEPARATOR, identifier, quote, refuse_reference, tenant, wrong
from pico_core.errors import ConfigError
from pico_core.tchar import TCHAR

# --- endpoints -------------------------------------------------------------------------------------------------------

ENDPOINT_PATTERN = (
    "an endpoint such as my-endpoint, or the beginning of some and a star such as billing-*; of one tenant such as "
    "acme/billing-*"
)


def endpoint_pattern(text: str) -> str:
    """Parse an endpoint ID, or its beginning and a star, perhaps behind a tenant; in lower case, as IDs are.

    Raises ``ConfigError``.
    """
    of, slash, name = text.rpartition(TENANT_SEPARATOR)
    prefix = name.removesuffix("*")
    if "*" in of + prefix:
        raise wrong(ENDPOINT_PATTERN, text, "a star is the last character")
    if slash and not (of and name):
        raise wrong(ENDPOINT_PATTERN, text, "a slash stands between a tenant and an endpoint")
    pattern = name if name == "*" else identifier(prefix).lower() + name[len(prefix) :]
    return f"{tenant(of)}{slash}{pattern}" if slash else pattern


def covers(pattern: str, other: str) -> bool:
    """Say whether every endpoint of the pattern ``other`` is one of ``pattern`` too.

    A pattern without a tenant holds for the endpoints of all tenants.
    """
    if TENANT_SEPARATOR not in pattern:
        other = other.rpartition(TENANT_SEPARATOR)[2]
    return pattern == other or (pattern.endswith("*") and other.startswith(pattern[:-1]))


# --- users -----------------------------------------------------------------------------------------------------------

USER = "NAME:PASSWORD, or a line of 'pico server password'"
HASH = "sha256"

_HASHED = re.compile(r"sha256:([0-9a-f]{16}):([0-9a-f]{64})")
_NAME = re.compile(r"[^:\x00-\x1f\x7f]{1,255}")


class User(msgspec.Struct, frozen=True):
    """A user of HTTP Basic authentication. Only a digest of the password is kept, and ``repr()`` does not show it."""

    name: str
    salt: str
    digest: bytes

    def __repr__(self) -> str:
        return f"User({self.name!r})"

    def has(self, password: bytes) -> bool:
        """Say whether the password is right, in a time that does not depend on how much of it is."""
        from hmac import compare_digest

        return compare_digest(self.digest, digest_of(self.salt, password))


def digest_of(salt: str, password: bytes) -> bytes:
    """Return what is kept of a password: SHA-256 of the salt, a colon and the password.

    Why one round: ``docs/decisions/policies.md``.
    """
    from hashlib import sha256  # 8 ms that a start needs only later, and a file without users never

    return sha256(salt.encode() + b":" + password).digest()


def user(text: str) -> User:
    """Parse a user. Raises ``ConfigError`` whose text repeats nothing but the name, since the rest is a secret."""
    name, colon, password = text.partition(":")
    if not colon or not _NAME.fullmatch(name) or not password:
        raise ConfigError(f"wants {USER}, found something else, which is not shown as it may be a secret")
    if not password.strip():
        raise ConfigError(f"user {quote(name)}: the password is only blanks")
    try:
        refuse_reference(password)
    except ConfigError as error:
        raise ConfigError(f"user {quote(name)}: {error}") from None
    if not password.startswith(f"{HASH}:"):
        return User(name, "", digest_of("", password.encode(errors="surrogatepass")))
    match = _HASHED.fullmatch(password)
    if match is None:
        raise ConfigError(f"the hash of user {quote(name)} is not one that 'pico server password' prints")
    return User(name, match[1], bytes.fromhex(match[2]))


# --- field lines -----------------------------------------------------------------------------------------------------

FIELD_NAME = "the name of a header field such as X-Frame-Options"
FIELD_LINE = "a header field such as 'X-Frame-Options: DENY'"

_TOKEN = re.compile(TCHAR + r"{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e]{0,8192}")
_OWN = re.compile(
    r"host|connection|keep-alive|te|trailer|upgrade|expect|date|content-length|transfer-encoding|proxy-.*"
    r"|sec-websocket-.*|forwarded|x-real-ip|x-forwarded|x-forwarded-.*|x-pi[ck]o-.*"
)
"""Fields on which framing, routes or the client's identity depend: Pico writes, keeps or removes them itself."""


def field_name(text: str) -> str:
    """Parse the name of a field that may be added or removed (RFC 9110 section 5.1). Raises ``ConfigError``."""
    if not _TOKEN.fullmatch(text):
        name, colon, _ = text.partition(":")
        raise wrong(FIELD_NAME, name, "a value does not belong here" if colon else "")
    if _OWN.fullmatch(text.lower().replace("_", "-")):
        raise wrong(FIELD_NAME, text, "the server takes care of this one itself")
    return text


def field_line(text: str) -> str:
    """Parse a field that may be added, and return it as ``Name: value``.

    Raises ``ConfigError``, also for a value of more than 8,192 characters, or with one that is not visible ASCII, a
    blank or a tab.
    """
    name, colon, value = text.partition(":")
    if not colon:
        found = _TOKEN.match(text.partition("=")[0])  # what follows may be a secret
        raise wrong(FIELD_LINE, found[0] if found else "", "the colon is missing")
    if not _VALUE.fullmatch(value):
        raise wrong(FIELD_LINE, field_name(name), "its value has a character that is not visible ASCII, or is too long")
    return f"{field_name(name)}: {value.strip()}"


ENDPOINT_PATTERNS = Kind("ENDPOINT,...", ENDPOINT_PATTERN, endpoint_pattern, many=True)
USERS = Kind("USER,...", USER, user, many=True)
FIELD_NAMES = Kind("NAME,...", FIELD_NAME, field_name, many=True)
FIELD_LINES = Kind("FIELD,...", FIELD_LINE, field_line, many=True)


class FieldsConfig(Section, frozen=True, kw_only=True):
    """Header fields that are changed."""

    add: Annotated[
        tuple[str, ...],
        Key(
            FIELD_LINES,
            "Fields to add, each as 'Name: value'; one of the same name that came is removed.",
            "Empty: messages pass as they are.",
        ),
    ] = ()
    remove: Annotated[
        tuple[str, ...],
        Key(FIELD_NAMES, "Names of fields to remove, also where '_' stands for '-'.", "Empty: nothing is hidden."),
    ] = ()

    def __repr__(self) -> str:
        """Show names only: a value that a service is given may be a key."""
        return f"FieldsConfig(add={[line.partition(':')[0] for line in self.add]}, remove={list(self.remove)})"


class PolicyConfig(Section, frozen=True, kw_only=True):
    """The rules for clients of some endpoints. Of several policies, the first that has the endpoint holds alone."""

    endpoints: Annotated[
        tuple[str, ...],
        Key(
            ENDPOINT_PATTERNS,
            "The endpoints: names, or beginnings of names with a star; * is every endpoint. A name holds for that "
            "endpoint of every tenant, and TENANT/NAME for one tenant's.",
        ),
    ]
    allowed_networks: Annotated[
        tuple[NamedNetwork, ...],
        Key(NETWORKS, "Networks whose clients are let in; others get 403.", "Empty: all networks."),
    ] = ()
    denied_networks: Annotated[
        tuple[NamedNetwork, ...],
        Key(NETWORKS, "Networks whose clients get 403, also where they are allowed.", "Empty: none."),
    ] = ()
    requests_per_second: Annotated[
        float,
        Key(
            decimal_number(0, 1_000_000),
            "How many requests a second one client may send in the long run, to all endpoints of the policy together; "
            "more get 429. 0: any number.",
            "0: what is much depends on the service.",
        ),
    ] = 0.0
    burst: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many requests one client may send at once, within requests_per_second.",
            "0: as many as requests_per_second, and at least one.",
        ),
    ] = 0
    max_in_flight: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000_000),
            "How many requests and connections one client may have in progress; more get 429. 0: any number.",
            "0: what a tunnel carries is shared out anyway.",
        ),
    ] = 0
    max_body_bytes: Annotated[
        int,
        Key(
            whole_number(0, 1 << 39),
            "The longest request body; longer ones get 413, before they are read where they say their length. 0: any.",
            "0: bodies are never kept whole, so their length costs nothing here.",
        ),
    ] = 0
    basic_auth: Annotated[
        tuple[User, ...],
        Key(
            USERS,
            "Users with their passwords; requests without one get 401. The service is not told the password.",
            "Empty: everybody.",
        ),
    ] = ()
    second_agent: Annotated[
        str,
        Key(
            one_of("warn", "allow", "refuse"),
            "A second agent that registers one of the endpoints is let and both sides log a warning, is let, or is "
            "refused with 409.",
            "warn: several agents are a way to scale, and also how somebody takes half of another one's requests.",
        ),
    ] = "warn"
    request_headers: FieldsConfig = FieldsConfig()
    response_headers: FieldsConfig = FieldsConfig()

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ConfigError("endpoints is empty; write '*' for every endpoint")
        if self.burst and not self.requests_per_second:
            raise ConfigError("burst has no meaning without requests_per_second")
        names = [each.name for each in self.basic_auth]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"basic_auth has the user {quote(name)} twice")

    @property
    def most_at_once(self) -> int:
        """How many requests one client may send at once, where there is a rate."""
        return self.burst or max(math.ceil(self.requests_per_second), 1)


def check_reach(policies: tuple[PolicyConfig, ...]) -> None:
    """Raise ``ConfigError`` for a policy that never holds, because others before it have all of its endpoints."""
    for index, policy in enumerate(policies):
        before = [pattern for each in policies[:index] for pattern in each.endpoints]
        if all(any(covers(pattern, own) for pattern in before) for own in policy.endpoints):
            raise ConfigError("never holds, because policies before it have all of its endpoints", f"policies[{index}]")


def check_tenants(policies: tuple[PolicyConfig, ...], known: Collection[str]) -> None:
    """Raise ``ConfigError`` for a policy about a tenant that the configuration does not have."""
    for index, policy in enumerate(policies):
        for pattern in policy.endpoints:
            of, slash, _ = pattern.rpartition(TENANT_SEPARATOR)
            if slash and of not in known:
                raise ConfigError(
                    f"endpoints has {quote(pattern)}, but upstream.tenants has no tenant {quote(of)}",
                    f"policies[{index}]",
                )
