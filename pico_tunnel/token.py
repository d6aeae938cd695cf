"""``pico token``: keys, tokens made with them, and what a token says, so that trying tokens needs no other tool."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pico_tunnel.answer import Unanswered, write
from pico_tunnel.complaints import EXIT_FAILURE, complain
from pico_tunnel.flags import TeachingCommand, TeachingGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pico_core.errors import ConfigError

KINDS = ("hmac", "rsa", "ecdsa", "ed25519")
FAMILY_NAMES = {"hmac": "a secret", "rsa": "an RSA key", "ecdsa": "an ECDSA key", "eddsa": "an Ed25519 key"}
"""The keys that verify a token, by the family of its algorithm."""

MIN_HIDDEN_LENGTH = 16
"""Shorter texts are not tokens."""

SECRET_BYTES = 48
"""Of a new secret: as text it has 64 characters, enough for every HMAC of ours."""


@click.group(
    cls=TeachingGroup,
    short_help="Make and explain tokens.",
    examples="""\
A secret, a server that asks for tokens, an agent and a client that have one:
  pico token key pico.key
  pico server --upstream.auth.hmac-secret-key-file pico.key --proxy.auth.hmac-secret-key-file pico.key
  pico token create --key pico.key --endpoint my-endpoint --expires 24h > token
  pico agent http my-endpoint 3000 --connect.token-file token
  curl -H "Authorization: Bearer $(cat token)" -H 'x-pico-endpoint: my-endpoint' http://localhost:8000/
What a token says, and why a server refuses it:
  pico token inspect --key pico.key "$(cat token)\"""",
)
def token() -> None:
    """Make keys and tokens, and find out what a token says.

    A server that has a key asks for a token that was made with it; a token may be limited to endpoints and in time.
    """


# --- pico token key --------------------------------------------------------------------------------------------------


@token.command(
    cls=TeachingCommand,
    short_help="Make a key.",
    examples="""\
A secret that makes tokens and verifies them, for upstream.auth.hmac_secret_key_file:
  pico token key pico.key
A pair: tokens are made with issuer.key, and servers verify them with issuer.key.pub, which may be known:
  pico token key --type ed25519 issuer.key""",
)
@click.option("--type", "kind", type=click.Choice(KINDS), default="hmac", show_default=True, help="The kind of key.")
@click.argument("file", metavar="FILE")
def key(kind: str, file: str) -> int:
    """Make a new key in FILE, which only its owner can read. FILE must not exist.

    Except for hmac, the public key goes into FILE.pub.
    """
    from pico_core.errors import ConfigError

    secret, public = _new_key(kind)
    for path in (file, f"{file}.pub") if public else (file,):
        if os.path.lexists(path):
            raise ConfigError(f"{path!r} exists already; choose another name, or remove it")
    _write(file, secret, 0o600)
    section = {"hmac": "hmac_secret_key", "rsa": "rsa_public_key", "ecdsa": "ecdsa_public_key"}.get(
        kind, "eddsa_public_key"
    )
    if public:
        _write(f"{file}.pub", public, 0o644)
    complain(f"made {file}; servers take it as upstream.auth.{section}_file: {file}{'.pub' if public else ''}")
    return 0


def _new_key(kind: str) -> tuple[bytes, bytes]:
    """Return a new secret or private key, and its public key or nothing."""
    if kind == "hmac":
        import secrets

        return secrets.token_urlsafe(SECRET_BYTES).encode() + b"\n", b""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa":
        private = rsa.generate_private_key(65537, 3072)
    elif kind == "ecdsa":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    return (
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def _write(path: str, content: bytes, mode: int) -> None:
    from pico_core.errors import ConfigError

    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"cannot write {path!r}: {error.strerror}") from None


# --- pico token create -----------------------------------------------------------------------------------------------


@token.command(
    cls=TeachingCommand,
    short_help="Make a token.",
    examples="""\
For an agent of one endpoint, for a day:
  pico token create --key pico.key --endpoint my-endpoint --expires 24h
For all endpoints whose names begin with 'shop-', in a file that an agent reads again:
  pico token create --key issuer.key --endpoint 'shop-*' --expires 1h > /run/pico/token
For an operator (the admin port takes only tokens for everything), for life:
  pico token create --key pico.key --expires never""",
)
@click.option("--key", "key_file", required=True, metavar="FILE", help="The secret, or the private key in PEM.")
@click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="NAME",
    help="An endpoint that it is for; a * at the end stands for the rest of the name. May be repeated.  [default: all]",
)
@click.option("--expires", required=True, metavar="DURATION", help="How long it is valid, such as 24h; or never.")
@click.option("--tenant", default="", metavar="ID", help="The tenant that it is for.")
@click.option("--audience", default="", metavar="TEXT", help="Its audience (aud), where servers want one.")
@click.option("--issuer", default="", metavar="TEXT", help="Its issuer (iss), where servers want one.")
@click.option("--subject", default="", metavar="TEXT", help="Whom it was made for (sub); servers ignore it.")
@click.option("--kid", default="", metavar="ID", help="The ID of the key, where servers have a set of them.")
def create(key_file: str, endpoints: tuple[str, ...], expires: str, **claims: str) -> int:
    """Print a new token, signed with a key."""
    import time

    from pico_core.access.issuing import Claims, SigningKey
    from pico_core.config.policies import endpoint_pattern
    from pico_core.config.values import TENANT_SEPARATOR, duration, tenant
    from pico_core.errors import ConfigError

    for endpoint in endpoints:
        _check("--endpoint", endpoint_pattern, endpoint)
        if TENANT_SEPARATOR in endpoint:
            raise ConfigError(f"--endpoint: {endpoint!r} names a tenant; give that with --tenant")
    if claims["tenant"]:
        _check("--tenant", tenant, claims["tenant"])
    kid = claims.pop("kid")
    now = time.time()
    try:
        expires_at = None if expires == "never" else now + duration(expires)
    except ConfigError as error:
        raise ConfigError(f"--expires: {error}; or never") from None
    try:
        signing = SigningKey(_key_text(key_file))
    except ConfigError as error:
        raise _unusable_key(key_file, error) from None
    return _print(signing.sign(Claims(endpoints, expires_at=expires_at, **claims), now, kid))


def _key_text(path: str) -> str:
    """Return the content of the file with a key. Raises ``ConfigError``.

    Nothing is said of a path without a file: it may be the key, given in its place.
    """
    from pico_core.errors import ConfigError
    from pico_driver.files import NOT_SHOWN, read_secret
    from pico_tunnel.process import hide_arguments

    if not os.path.lexists(path.replace("\0", "")):
        hide_arguments([path] if len(path) >= MIN_HIDDEN_LENGTH else [])
        raise ConfigError(f"there is no such file; {NOT_SHOWN}", "key")
    return read_secret(path)


def _unusable_key(path: str, error: ConfigError) -> ConfigError:
    """Return ``error`` as one of ``--key``: with the path, unless the path may be the key itself (``_key_text``)."""
    from pico_core.errors import ConfigError

    return ConfigError(f"--key: {error}" if error.key else f"--key: {path!r}: {error}")


def _check(flag: str, parse: Callable[[str], object], text: str) -> None:
    """Raise ``ConfigError`` that names the flag for what no server could mean."""
    from pico_core.errors import ConfigError

    try:
        parse(text)
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from None


# --- pico token inspect ----------------------------------------------------------------------------------------------


@token.command(
    cls=TeachingCommand,
    short_help="Explain a token.",
    examples="""\
What it says:
  pico token inspect eyJhbGciOi...
Whether a server with this key accepts it:
  pico token inspect --key pico.key "$(cat token)"
Without its text in the process list:
  pico token inspect --key pico.key - < token""",
)
@click.option(
    "--key", "key_file", metavar="FILE", help="A secret, a key in PEM, or a key set: does it verify the token?"
)
@click.argument("text", metavar="TOKEN|-")
def inspect(key_file: str | None, text: str) -> int:
    """Say in words what TOKEN permits, until when, and whether a key verifies it. '-' reads it from standard input.

    Leaves with 1 if the token is not valid now, or if the key does not verify it.
    """
    import time

    from pico_core.access.grant import Denied
    from pico_core.access.token import MAX_TOKEN_BYTES, read_claims, read_header
    from pico_core.errors import ConfigError
    from pico_tunnel.process import hide_arguments

    hide_arguments([text] if len(text) >= MIN_HIDDEN_LENGTH else [])
    if text == "-":
        text = sys.stdin.buffer.read(4 * MAX_TOKEN_BYTES).decode("latin-1")
    text = text.strip().removeprefix("Bearer ").strip()
    if len(text) > MAX_TOKEN_BYTES:
        raise ConfigError(f"it is longer than {MAX_TOKEN_BYTES} bytes: servers refuse it unread")
    try:
        header, claims = read_header(text), read_claims(text)
    except Denied:
        raise ConfigError("it is not a token: three parts in base64url with dots between them are wanted") from None
    problems: list[str] = []
    lines = [*_about_key(header, problems), *_about_claims(claims, time.time(), problems)]
    if key_file is not None:
        lines.append(_about_signature(text, key_file, time.time(), problems))
    else:
        lines.append("signature:  not checked; give the key with --key")
    _print("\n".join(lines))
    for problem in problems:
        complain(problem)
    return EXIT_FAILURE if problems else 0


def _about_key(header: dict[str, Any], problems: list[str]) -> Iterator[str]:
    from pico_core.access.issuing import family_of

    algorithm = header.get("alg")
    family = family_of(algorithm)
    yield f"algorithm:  {_plain(algorithm)}" + (f" ({FAMILY_NAMES[family]})" if family else "")
    if header.get("kid"):
        yield f"key ID:     {_plain(header['kid'])}"
    if not family:
        problems.append("servers never accept its algorithm")
    for name in ("crit", "b64"):
        if name in header:
            problems.append(f"servers refuse a token with {name!r} in its header")


def _about_claims(claims: dict[str, Any], now: float, problems: list[str]) -> Iterator[str]:
    from pico_core.access.grant import Denied
    from pico_core.access.token import Malformed, TokenRules, read_grant, read_permission

    for name, title in (("sub", "subject:"), ("iss", "issuer:"), ("aud", "audience:")):
        if name in claims:
            yield f"{title:11} {_plain(claims[name])}"
    try:
        patterns, tenant = read_permission(claims)
        yield f"endpoints:  {', '.join(map(_plain, patterns)) or 'all'}"
        yield f"tenant:     {_plain(tenant) or 'any'}"
    except Malformed as error:
        wanted = '"piko": {"endpoints": [names], "tenant": id} is wanted'
        problems.append(f'servers refuse its claim "piko": {error.problem}; {wanted}')
    for name, title in (("iat", "issued:"), ("nbf", "valid from:"), ("exp", "expires:")):
        if name in claims:
            yield f"{title:11} {_instant(claims[name], now)}"
    if "exp" not in claims:
        yield "expires:    never"
    try:
        read_grant(claims, TokenRules(), now, None)
    except Denied as denied:
        problems.append(f"servers refuse it now: {denied.reason}")


def _about_signature(token: str, key_file: str, now: float, problems: list[str]) -> str:
    from pico_core.access.grant import Denied
    from pico_core.access.issuing import any_key
    from pico_core.access.token import TokenRules, Unverified, verify
    from pico_core.errors import ConfigError

    try:
        keys = any_key(_key_text(key_file))
    except ConfigError as error:
        raise _unusable_key(key_file, error) from None
    try:
        verify(token, keys, TokenRules(), now, None)
    except Unverified:
        problems.append(f"{key_file} does not verify it: it was made with another key, or changed")
        return f"signature:  NOT by {key_file}"
    except Denied:
        pass  # the signature is right; what else is wrong is said already
    return f"signature:  by {key_file}"


def _plain(value: object) -> str:
    """Return what a token says as text that is safe on a terminal."""
    import json

    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text)[1:-1][:500]


def _instant(value: object, now: float) -> str:
    import time

    from pico_core.config.values import show_duration
    from pico_core.http.date import LAST_S

    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LAST_S + 1:
        return f"{_plain(value)}, which is not a time"
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(value))
    distance = show_duration(float(round(abs(value - now))))
    return f"{shown} ({f'in {distance}' if value > now else f'{distance} ago'})"


def _print(text: str) -> int:
    from pico_core.errors import ConfigError

    try:
        write(text + "\n")
    except Unanswered as error:
        raise ConfigError(str(error)) from None
    return 0
