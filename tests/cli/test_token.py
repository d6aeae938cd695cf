"""``pico token``: keys and tokens that servers take, and explanations in words."""

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pico_core.access.gate import Gate
from pico_core.access.issuing import SigningKey, any_key
from pico_core.access.token import TokenRules, read_claims
from pico_tunnel.cli import main
from tests.core.access.keys import KINDS, part, signed

Capture = pytest.CaptureFixture[str]
TYPES = {"hmac": "hmac", "rsa": "rsa", "ecdsa": "ecdsa", "eddsa": "ed25519"}


def run(capsys: Capture, *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(("token", *arguments)) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def key(tmp_path: Path, capsys: Capture) -> str:
    file = str(tmp_path / "pico.key")
    run(capsys, "key", file)
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_a_token_and_its_explanation(kind: str, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "issuer.key"
    _, said = run(capsys, "key", "--type", TYPES[kind], str(file))
    public = file if kind == "hmac" else Path(f"{file}.pub")
    section = "hmac_secret_key" if kind == "hmac" else f"{kind}_public_key"
    assert said == f"pico: made {file}; servers take it as upstream.auth.{section}_file: {public}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text, _ = run(capsys, "create", "--key", str(file), "--endpoint", "one", "--endpoint", "two-*", "--expires", "1h")
    grant = Gate(any_key(public.read_text()), TokenRules()).check(b"Bearer " + text.strip().encode(), time.time())
    assert [grant.permits(name) for name in ("one", "two-2", "three")] == [True, True, False]
    for verifying in {str(file), str(public)}:
        said, problems = run(capsys, "inspect", "--key", verifying, text.strip())
        assert "endpoints:  one, two-*\n" in said
        assert f"signature:  by {verifying}\n" in said
        assert problems == ""


def test_a_new_secret_is_enough_for_every_hash(key: str) -> None:
    assert SigningKey(Path(key).read_text()).verifying.algorithms == ("HS256", "HS384", "HS512")


def test_claims(key: str, capsys: Capture) -> None:
    flags = ("--tenant", "acme", "--audience", "a", "--issuer", "i", "--subject", "s", "--kid", "k")
    text, _ = run(capsys, "create", "--key", key, "--expires", "never", *flags)
    claims = read_claims(text.strip())
    del claims["iat"]
    assert claims == {"piko": {"tenant": "acme"}, "aud": "a", "iss": "i", "sub": "s"}
    said, _ = run(capsys, "inspect", f"Bearer {text}")
    for line in (
        "key ID:     k",
        "subject:    s",
        "issuer:     i",
        "audience:   a",
        "endpoints:  all",
        "tenant:     acme",
    ):
        assert line in said.splitlines()
    assert "expires:    never" in said
    assert "signature:  not checked; give the key with --key" in said


def test_why_a_server_refuses_it(key: str, tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "other"
    other.write_text("other-" * 8)
    text, _ = run(capsys, "create", "--key", key, "--expires", "1h")
    said, problems = run(capsys, "inspect", "--key", str(other), text.strip(), code=1)
    assert f"signature:  NOT by {other}" in said
    assert problems == f"pico: {other} does not verify it: it was made with another key, or changed\n"
    for claims, header, problem in (
        ({"exp": 1_000}, {}, "servers refuse it now: expired token"),
        ({"nbf": 4e9}, {}, "servers refuse it now: invalid token"),
        ({"exp": "soon"}, {}, "servers refuse it now: invalid token"),
        ({"pico": {"endpoints": "a"}}, {}, 'servers refuse its claim "piko"'),
        ({}, {"alg": "none"}, "servers never accept its algorithm"),
        ({}, {"crit": ["x"]}, "servers refuse a token with 'crit' in its header"),
    ):
        _, problems = run(capsys, "inspect", signed(claims, header), code=1)
        assert problem in problems
    said, _ = run(capsys, "inspect", signed({"exp": 1_000}), code=1)
    assert "expires:    1970-01-01 00:16:40 UTC (" in said
    assert " ago)" in said


def test_a_token_from_standard_input(key: str, capsys: Capture) -> None:
    text, _ = run(capsys, "create", "--key", key, "--expires", "1h")
    command = [sys.executable, "-m", "pico_tunnel", "token", "inspect", "--key", key, "-"]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=True)
    assert f"signature:  by {key}" in ended.stdout


def test_nothing_in_a_token_reaches_the_terminal_as_it_is(capsys: Capture) -> None:
    odd = "\x1b[31m\n\u202e"
    said, _ = run(capsys, "inspect", signed({"sub": odd, "pico": {"endpoints": [odd], "tenant": odd}}, {"kid": odd}))
    assert said.isascii()
    assert "\x1b" not in said


def test_what_cannot_be_done_is_one_line(key: str, tmp_path: Path, capsys: Capture) -> None:
    public = tmp_path / "public"
    run(capsys, "key", "--type", "ed25519", str(tmp_path / "pair"))
    public.write_text((tmp_path / "pair.pub").read_text())
    for arguments, line in (
        (("key", key), f"'{key}' exists already; choose another name, or remove it"),
        (("key", str(tmp_path / "no" / "where")), "cannot write "),
        (("create", "--expires", "1h", "--key", str(tmp_path / "no")), "--key: "),
        (("create", "--expires", "1h", "--key", str(public)), "tokens are made with the private key"),
        (("create", "--expires", "soon", "--key", key), "--expires: wants a duration such as"),
        (("create", "--key", key), "missing option '--expires'"),
        (("inspect", "nonsense"), "it is not a token: three parts"),
        (("inspect", f"{part([])}.{part({})}.AA"), "it is not a token: three parts"),
        (("inspect", "x" * 9_000), "it is longer than 8192 bytes"),
        (("inspect", "--key", str(tmp_path / "no"), signed({})), "--key: "),
    ):
        out, said = run(capsys, *arguments, code=2)
        assert out == ""
        assert said.count("\n") == 1
        assert line in said


def test_bad_keys_refuse_to_start_with_one_line(tmp_path: Path, capsys: Capture) -> None:
    public = tmp_path / "public.pem"
    run(capsys, "key", "--type", "rsa", str(tmp_path / "rsa"))
    public.write_bytes((tmp_path / "rsa.pub").read_bytes())
    (tmp_path / "set.json").write_text('{"keys": []}')
    section = "upstream.auth"
    for flag, value, wanted in (
        ("hmac-secret-key", "short", f"{section}: hmac_secret_key: wants a secret of at least 32 bytes, found 5"),
        ("hmac-secret-key-file", str(public), f"{section}: hmac_secret_key_file: '{public}' wants a secret text"),
        (
            "rsa-public-key-file",
            str(tmp_path / "rsa"),
            f"rsa_public_key_file: '{tmp_path / 'rsa'}' wants an RSA public",
        ),
        ("ecdsa-public-key-file", str(public), "that is for rsa_public_key"),
        ("rsa-public-key-file", str(tmp_path / "no"), f"--{section}.rsa-public-key-file: cannot read"),
        ("jwks.endpoint", f"file://{tmp_path}/set.json", "has no key that can verify a token"),
        ("jwks.endpoint", f"file://{tmp_path}/no.json", f"--{section}.jwks.endpoint: cannot read"),
        ("jwks.endpoint", "ftp://x/y", f"--{section}.jwks.endpoint: wants the URL of a key set"),
    ):
        assert main(("server", f"--{section}.{flag}", value)) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert wanted in said
        assert "PRIVATE" not in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--endpoint", ""], "--endpoint: wants an ID of 1 to 255"),
        (["--endpoint", "*x"], "--endpoint: wants an endpoint"),
        (["--endpoint", "a/b"], "--endpoint: 'a/b' names a tenant; give that with --tenant"),
        (["--endpoint", "ok", "--tenant", "a b"], "--tenant: wants"),
    ],
)
def test_a_token_that_no_server_could_mean_is_not_made(
    key: str, capsys: Capture, flags: list[str], message: str
) -> None:
    assert main(["token", "create", "--key", key, "--expires", "1h", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
