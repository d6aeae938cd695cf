"""Fetching a key set for one gate: in the background, and when a token names a key that the set does not have.

A set that cannot be fetched, or is not one, keeps the last good one.
"""

from typing import Protocol

from pico_core.access.gate import Gate
from pico_core.access.key_set import MAX_SET_BYTES, read_key_set
from pico_core.access.keys import VerifyingKey
from pico_core.config.auth import AuthConfig
from pico_core.config.secrets import KeySetSource
from pico_core.config.tls import jwks_profile
from pico_core.errors import ConfigError
from pico_core.machine.parts import Connector, FileReader, Logger
from pico_core.plain.client import PlainRequest, PlainResponse
from pico_core.timers import NEVER, Timer

FILE_CHECK_S = 10.0
"""How often a file is read at least: it is cheap, and an operator wants to use a new key soon."""

UNKNOWN_KEY_S = 10.0
"""The time between two fetches because of a ``kid`` that is not known: a stranger may name any."""

FETCH_RETRY_S = 5.0
MAX_FETCH_RETRY_S = 60.0
"""Pauses after a failed fetch: doubled each time up to this, or to ``jwks.cache_ttl`` where that is shorter."""


class KeySetHost(Connector, FileReader, Logger, Protocol):
    """The part of the machine that fetching needs."""


class KeySet:
    """Keeps the keys of ``gate`` up to date. ``key`` is the section of the configuration. Next: ``start``, ``stop``."""

    def __init__(self, host: KeySetHost, key: str, config: AuthConfig, source: KeySetSource, gate: Gate) -> None:
        self.known = bool(source.path)
        """Whether the set was ever there."""
        self._host = host
        self._key = key
        self._config = config
        self.source = source
        self._gate = gate
        self.content = source.content.reveal().encode()
        self._fetching = False
        self._fetched_at = -NEVER
        self._retry_s = FETCH_RETRY_S
        self._timer: Timer | None = None
        self._stopped = False

    def start(self, now: float) -> None:
        """Fetch the set, and again and again. A file was read with the configuration."""
        if self.known:
            self._wait(self._pause_s, now)
        else:
            self._fetch(now)

    def stop(self) -> None:
        """Leave the gate alone from now on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def take_over(self, older: "KeySet") -> None:
        """Begin with what was known of the same set."""
        if older.known and older.source.url == self.source.url and not self.source.path:
            self.known = True
            self.content = older.content
            self._gate.replace_keys(self._keys(older.content))

    def look_again(self, now: float) -> bool:
        """Fetch the set because a token names an unknown key, unless that was done lately.

        Return whether an answer is on its way, or was never there.
        """
        if not self._fetching and now - self._fetched_at >= UNKNOWN_KEY_S:
            self._fetch(now)
        return self._fetching or not self.known

    # --- the answers ---

    def on_response(self, response: PlainResponse, now: float) -> None:
        """Take the set from an issuer."""
        if response.status == 200:
            self._take(response.body, now)
        else:
            self._failed(f"the answer was {response.status}", now)

    def on_no_response(self, reason: str, now: float) -> None:
        """The issuer did not answer: the keys of the last answer stay, and the set is fetched again later."""
        self._failed(reason, now)

    def on_file(self, content: bytes, error: str, now: float) -> None:
        """Take the set from a file."""
        if error:
            self._failed(error, now)
        else:
            self._take(content, now)

    # --- inside ---

    @property
    def _pause_s(self) -> float:
        ttl_s = self._config.jwks.cache_ttl_s
        return min(ttl_s, FILE_CHECK_S) if self.source.path else ttl_s

    def _keys(self, content: bytes) -> tuple[VerifyingKey, ...]:
        """Return the keys of the configuration and those of the set. Raises ``ConfigError``."""
        return (*self._config.own_keys(), *read_key_set(content, secrets=bool(self.source.path)))

    def _wait(self, pause_s: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._host.timers.schedule(now + pause_s, self._fetch)

    def _fetch(self, now: float) -> None:
        if self._stopped or self._fetching:
            return
        self._fetching = True
        self._fetched_at = now
        source = self.source
        if source.origin is None:
            self._host.read_file(source.path, MAX_SET_BYTES, self)
            return
        jwks = self._config.jwks
        tls, timeout_s = jwks_profile(jwks.root_cas) if jwks.is_secure else "", jwks.timeout_s
        PlainRequest(
            self._host, source.origin, source.target, self, timeout_s, now, tls=tls, max_body_bytes=MAX_SET_BYTES
        )

    def _take(self, content: bytes, now: float) -> None:
        """Use a set that has changed; one that is as it was leaves the memory of verified tokens alone."""
        self._fetching = False
        if self._stopped:
            return
        if content != self.content or not self.known:
            try:
                keys = self._keys(content)
            except ConfigError as error:
                self._failed(f"it {error}", now)
                return
            self.content = content
            self._gate.replace_keys(keys)
            names = ", ".join(key.kid or "(no kid)" for key in keys)
            self._host.log("info", "access", "key set read", key=self._key, url=str(self.source), kids=names)
        self.known = True
        self._retry_s = FETCH_RETRY_S
        self._wait(self._pause_s, now)

    def _failed(self, reason: str, now: float) -> None:
        self._fetching = False
        if self._stopped:
            return
        use = "the last one is used" if self.known else "no token can be verified with it yet"
        message = f"the key set cannot be read: {use}"
        self._host.warn("access", message, key=self._key, url=str(self.source), reason=reason)
        self._wait(min(self._retry_s, self._pause_s), now)
        self._retry_s = min(2 * self._retry_s, MAX_FETCH_RETRY_S)
