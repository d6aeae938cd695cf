"""The TLS profiles of a process: keys, certificates and trust by name, loaded from files, and loaded again.

The core names a profile when it listens or connects (``boundary``); what is behind the name stays here. Start at
``Profiles``.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pico_core.errors import ConfigError
from pico_driver.files import unreadable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from pico_core.config.tls import ClientTlsConfig, ServerTlsConfig

PROTOCOLS: Final = ["http/1.1"]
"""The protocol of every port and every client after the handshake (RFC 7301)."""

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone (RFC 9325, section 4.2). TLS 1.3 has no others."""

MAX_SESSIONS: Final = 64
"""Sessions that a client keeps, one for each server name: more servers than an agent or a node talks to at once."""


class Profile:
    """One name's keys and trust. Next: ``wrap`` for each connection."""

    __slots__ = ("_sessions", "context", "handshake_timeout_s", "key", "max_handshakes", "server_name", "server_side")

    def __init__(
        self, key: str, context: ssl.SSLContext, section: ServerTlsConfig | None = None, server_name: str = ""
    ) -> None:
        """``key`` is the name of the section; a client has no ``section``, and may expect another ``server_name``."""
        self.key = key
        self.context = context
        self.server_side = section is not None
        self.handshake_timeout_s = section.handshake_timeout_s if section else 0.0
        self.max_handshakes = section.max_handshakes if section else 0
        self.server_name = server_name
        self._sessions: dict[str, ssl.SSLSession] = {}

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_name: str) -> ssl.SSLObject:
        """Return the TLS side of a connection. Raises ``ValueError`` for a name that no certificate can have."""
        if self.server_side:
            return self.context.wrap_bio(incoming, outgoing, server_side=True)
        session = self._sessions.get(server_name)
        return self.context.wrap_bio(incoming, outgoing, server_hostname=server_name, session=session)

    def remember(self, tls: ssl.SSLObject, server_name: str) -> None:
        """Keep the session for the next connection to the same server."""
        if self.server_side or tls.session is None:
            return
        self._sessions.pop(server_name, None)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[server_name] = tls.session


class Profiles:
    """All profiles of a process by name, made from their sections of the configuration.

    Raises ``ConfigError`` that names key and file. Next: give it to ``drive``; ``reload`` when files have changed.
    """

    def __init__(
        self,
        servers: Mapping[str, tuple[str, ServerTlsConfig]],
        clients: Mapping[str, tuple[str, ClientTlsConfig]],
    ) -> None:
        """The keys are the profiles' names, the values the section's dotted name and the section."""
        self._servers = servers
        self._clients = clients
        self._files = self._stamp()
        self._profiles = self._load()

    @property
    def names(self) -> set[str]:
        """The names of all profiles."""
        return set(self._profiles)

    def get(self, name: str) -> Profile | None:
        """Return the profile of this name, as it was loaded last."""
        return self._profiles.get(name)

    def reload(self) -> None:
        """Load all files again. Raises ``ConfigError`` and keeps what was loaded before if one of them is not good."""
        self._files = self._stamp()
        self._profiles = self._load()

    def replace(
        self,
        servers: Mapping[str, tuple[str, ServerTlsConfig]],
        clients: Mapping[str, tuple[str, ClientTlsConfig]],
        is_fixed: Callable[[str], bool],
    ) -> None:
        """Take over other sections, or raise ``ConfigError`` and change nothing.

        Profiles whose names are fixed neither come nor go: one that is gone stays as it is, and a new one is left out.
        One that goes is there until files change, for connections that are still to be opened with it.
        """
        known = {**self._servers, **self._clients}
        servers = {name: section for name, section in servers.items() if name in known or not is_fixed(name)}
        clients = {name: section for name, section in clients.items() if name in known or not is_fixed(name)}
        servers |= {name: each for name, each in self._servers.items() if is_fixed(name) and name not in servers}
        clients |= {name: each for name, each in self._clients.items() if is_fixed(name) and name not in clients}
        fresh = Profiles(servers, clients)
        self._servers, self._clients = servers, clients
        self._files, self._profiles = fresh._files, {**self._profiles, **fresh._profiles}

    @property
    def changed(self) -> bool:
        """Whether a file is another one than at the last load, or has other times or another size.

        Kubernetes changes a secret by exchanging a symbolic link above the files, so the links are followed.
        """
        return self._stamp() != self._files

    def expiring(self) -> list[str]:
        """Return one clause for each of our own certificates that is not valid now."""
        now = time.time()
        found = []
        for key, path in self._certificates():
            begins, ends = _validity(path)
            if not begins <= now <= ends:
                state = "has expired" if now > ends else "is not valid yet"
                found.append(f"{key}: the certificate in '{path}' {state}")
        return found

    # --- inside ---

    def _certificates(self) -> list[tuple[str, str]]:
        servers = [(f"{key}.cert", path) for key, section in self._servers.values() for path in section.cert]
        clients = [(f"{key}.cert", section.cert) for key, section in self._clients.values() if section.cert]
        return servers + clients

    def _stamp(self) -> list[tuple[str, int, int, int]]:
        paths = []
        for _, server in self._servers.values():
            paths += [*server.cert, *server.key, server.client_cas]
        for _, client in self._clients.values():
            paths += [client.cert, client.key, client.root_cas]
        stamps = []
        for path in filter(None, paths):
            try:
                found = os.stat(path)
                stamps.append((path, found.st_ino, found.st_mtime_ns, found.st_size))
            except OSError:  # the load, or the next one, says what is wrong
                stamps.append((path, 0, 0, 0))
        return stamps

    def _load(self) -> dict[str, Profile]:
        profiles = {name: _server(*section) for name, section in self._servers.items()}
        profiles.update({name: _client(*section) for name, section in self._clients.items()})
        return profiles


def _server(key: str, section: ServerTlsConfig) -> Profile:
    contexts = [
        _server_context(key, section, cert, private_key)
        for cert, private_key in zip(section.cert, section.key, strict=True)
    ]
    if len(contexts) > 1:
        contexts[0].sni_callback = _chooser([_names(path) for path in section.cert], contexts)
    return Profile(key, contexts[0], section)


def _server_context(key: str, section: ServerTlsConfig, cert: str, private_key: str) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 1  # a second one costs 24 us, and serves only clients that use each one once
    _load_chain(context, key, cert, private_key)
    if section.client_cas:
        _load_trust(context, f"{key}.client_cas", section.client_cas)
        context.verify_mode = ssl.CERT_OPTIONAL if section.client_cert == "optional" else ssl.CERT_REQUIRED
    return context


def _client(key: str, section: ClientTlsConfig) -> Profile:
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if section.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif section.root_cas:
        _load_trust(context, f"{key}.root_cas", section.root_cas)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if section.cert:
        _load_chain(context, key, section.cert, section.key)
    return Profile(key, context, server_name=section.server_name)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    return context


def _load_chain(context: ssl.SSLContext, key: str, cert: str, private_key: str) -> None:
    _readable(f"{key}.cert", cert)
    _readable(f"{key}.key", private_key)

    def refuse_password() -> str:
        raise ConfigError(f"{key}.key: '{private_key}' is encrypted; write the key without a password")

    try:
        context.load_cert_chain(cert, private_key, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{key}.key: '{private_key}' is not the key of the certificate in '{cert}'") from None
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
            raise ConfigError(f"{key}.cert: the key of '{cert}' is too weak: take 2048 bits or more") from None
        wrong = ("cert", cert, "certificate") if not _has(cert, b"CERTIFICATE") else ("key", private_key, "private key")
        raise ConfigError(f"{key}.{wrong[0]}: '{wrong[1]}' has no {wrong[2]} in PEM form") from None


def _load_trust(context: ssl.SSLContext, key: str, path: str) -> None:
    _readable(key, path)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise ConfigError(f"{key}: '{path}' has no certificate in PEM form") from None
    if not context.cert_store_stats()["x509_ca"]:
        _refuse_leaves(key, path)


def _refuse_leaves(key: str, path: str) -> None:
    """Refuse a file without an issuer. A certificate that is its own issuer is one, whatever else it says."""
    from cryptography import x509

    with open(path, "rb") as file:
        found = x509.load_pem_x509_certificates(file.read())
    if all(each.issuer != each.subject for each in found):
        of, issuer = found[0].subject.rfc4514_string(), found[0].issuer.rfc4514_string()
        raise ConfigError(
            f"{key}: '{path}' has no certificate of an issuer: that of '{of}' is of none; give that of '{issuer}'"
        )


def _readable(key: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{key}: {unreadable(path, error.strerror)}") from None


def _has(path: str, kind: bytes) -> bool:
    with open(path, "rb") as file:
        return b"-----BEGIN %b-----" % kind in file.read(1 << 20)


def _names(path: str) -> list[str]:
    from cryptography import x509

    try:
        alternatives = _certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)]


def _validity(path: str) -> tuple[float, float]:
    found = _certificate(path)
    return found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()


def _certificate(path: str) -> Certificate:
    from cryptography import x509

    with open(path, "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def _chooser(
    names: list[list[str]], contexts: list[ssl.SSLContext]
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Return a function to choose a certificate by the client's name for us (RFC 6066, section 3), else the first."""
    exact = {name: context for found, context in zip(names, contexts, strict=True) for name in reversed(found)}

    def choose(tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name:
            lower = name.lower()
            chosen = exact.get(lower) or exact.get("*." + lower.partition(".")[2])
            if chosen is not None:
                tls.context = chosen

    return choose
