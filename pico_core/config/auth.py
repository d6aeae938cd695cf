"""The rules for the tokens of a port: its keys, and the claims that it wants. Off unless a key is configured."""

from typing import Annotated

from msgspec.structs import fields

from pico_core.access.gate import Gate
from pico_core.access.key_set import read_key_set
from pico_core.access.keys import READERS, VerifyingKey
from pico_core.access.secret import Secret
from pico_core.access.token import TokenRules
from pico_core.config.declare import (
    DURATION,
    DURATION_OR_ZERO,
    FILE,
    KEY_SET,
    NAME,
    SECRET,
    SECRET_FILE,
    SWITCH,
    Key,
    Section,
)
from pico_core.config.secrets import KeySetSource, SecretFile
from pico_core.errors import ConfigError

_OFF = "Empty: no such key; without any key the port asks for no token."
_FILE_WHY = "Empty. A file is neither in the process list nor in the configuration."


class KeySetConfig(Section, frozen=True, kw_only=True):
    """A set of keys (JWKS) that an issuer publishes, or a file that has several keys."""

    endpoint: Annotated[
        KeySetSource | None,
        Key(
            KEY_SET,
            "The URL of the set: http, https or file. Only a file may have secrets (oct).",
            "Empty: no set. A file is checked at the start; a set that cannot be fetched is tried again for ever.",
        ),
    ] = None
    cache_ttl_s: Annotated[
        float,
        Key(
            DURATION,
            "How often the set is fetched again, beside when a token names a key that it does not have.",
            "10 m: a key that its issuer withdraws is refused that much later.",
        ),
    ] = 600.0
    timeout_s: Annotated[
        float,
        Key(DURATION, "How long one fetch may take.", "10 s: agents and clients wait for none of it."),
    ] = 10.0
    root_cas: Annotated[
        str,
        Key(FILE, "The issuers to trust at an https endpoint, in PEM.", "Empty: those that the system trusts."),
    ] = ""

    def __post_init__(self) -> None:
        if self.root_cas and not self.is_secure:
            raise ConfigError("root_cas has no effect on an endpoint that is not https://")

    @property
    def is_secure(self) -> bool:
        """Whether the set is fetched over TLS."""
        return self.endpoint is not None and self.endpoint.origin is not None and self.endpoint.origin.is_secure


class AuthConfig(Section, frozen=True, kw_only=True):
    """Tokens: the keys that verify them, and what they must say."""

    hmac_secret_key: Annotated[
        Secret | None, Key(SECRET, "The secret of tokens with HS256, HS384 or HS512: at least 32 bytes.", _OFF)
    ] = None
    hmac_secret_key_file: Annotated[SecretFile | None, Key(SECRET_FILE, "A file with hmac_secret_key.", _FILE_WHY)] = (
        None
    )
    rsa_public_key: Annotated[
        Secret | None, Key(SECRET, "The public key (PEM) of tokens with RS256, RS384 or RS512.", _OFF)
    ] = None
    rsa_public_key_file: Annotated[SecretFile | None, Key(SECRET_FILE, "A file with rsa_public_key.", _FILE_WHY)] = None
    ecdsa_public_key: Annotated[
        Secret | None, Key(SECRET, "The public key (PEM) of tokens with ES256, ES384 or ES512.", _OFF)
    ] = None
    ecdsa_public_key_file: Annotated[
        SecretFile | None, Key(SECRET_FILE, "A file with ecdsa_public_key.", _FILE_WHY)
    ] = None
    eddsa_public_key: Annotated[
        Secret | None, Key(SECRET, "The public key (PEM, Ed25519) of tokens with EdDSA.", _OFF)
    ] = None
    eddsa_public_key_file: Annotated[
        SecretFile | None, Key(SECRET_FILE, "A file with eddsa_public_key.", _FILE_WHY)
    ] = None
    audience: Annotated[
        str, Key(NAME, "What a token must have as its audience, or among several (aud).", "Empty: any, or none.")
    ] = ""
    issuer: Annotated[str, Key(NAME, "What a token must have as its issuer (iss).", "Empty: any, or none.")] = ""
    leeway_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "How much the clock of the issuer may differ: a token is valid that much earlier and longer.",
            "5 s: hosts whose clocks are kept right differ by less than one.",
        ),
    ] = 5.0
    require_expiry: Annotated[
        bool,
        Key(
            SWITCH,
            "Refuse tokens that never expire.",
            "false: devices in the field often have a token for life; true limits what a stolen one is worth.",
        ),
    ] = False
    disable_disconnect_on_expiry: Annotated[
        bool,
        Key(
            SWITCH,
            "Keep what was opened with a token after it has expired: tunnels, TCP connections and WebSockets.",
            "false: otherwise a token that expires, or is not renewed, stays good for as long as its holder likes.",
        ),
    ] = False
    jwks: KeySetConfig = KeySetConfig()

    def __post_init__(self) -> None:
        self.own_keys()
        if not self.is_on:
            given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
            if given:
                name = given[0].removesuffix("_s")
                keys = ", ".join((*READERS, "jwks.endpoint"))
                raise ConfigError(
                    f"{name} has no effect without a key of its own: no token is checked by it; give {keys}"
                )

    @property
    def is_on(self) -> bool:
        """Whether any key is configured."""
        return self.jwks.endpoint is not None or any(self._value(name) for name in READERS)

    @property
    def rules(self) -> TokenRules:
        """The claims that a token must have."""
        return TokenRules(self.audience, self.issuer, self.leeway_s, self.require_expiry)

    def own_keys(self) -> tuple[VerifyingKey, ...]:
        """Return the keys outside of a set. Raises ``ConfigError``, which names the key or file."""
        keys = []
        for name, read in READERS.items():
            value = self._value(name)
            if value is None:
                continue
            place = name if isinstance(value, Secret) else f"{name}_file: '{value.path}'"
            try:
                keys.append(read((value if isinstance(value, Secret) else value.content).reveal()))
            except ConfigError as error:
                raise ConfigError(f"{place}{':' if place is name else ''} {error}") from None
        return tuple(keys)

    def gate(self) -> Gate | None:
        """Return a new gate for the keys that are known before any is fetched; ``None`` without any key."""
        if not self.is_on:
            return None
        source = self.jwks.endpoint
        content = source.content.reveal().encode() if source is not None and source.path else b""
        return Gate((*self.own_keys(), *(read_key_set(content, secrets=True) if content else ())), self.rules)

    def _value(self, name: str) -> Secret | SecretFile | None:
        text: Secret | None = getattr(self, name)
        file: SecretFile | None = getattr(self, f"{name}_file")
        if text is not None and file is not None:
            raise ConfigError(f"{name} and {name}_file exclude each other; give one of them")
        return text or file
