"""Which keys are accepted, and what is said of the others; sets of keys."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from pico_core.access.issuing import SigningKey, any_key
from pico_core.access.key_set import MAX_SET_BYTES, MAX_SET_KEYS, read_key_set
from pico_core.access.keys import hmac_key, key_of, public_key
from pico_core.errors import ConfigError
from tests.core.access.keys import SECRET, drawn, part, private_pem, public_pem, signing


@pytest.mark.parametrize(
    ("size", "algorithms"),
    [
        (32, ("HS256",)),
        (47, ("HS256",)),
        (48, ("HS256", "HS384")),
        (63, ("HS256", "HS384")),
        (64, ("HS256", "HS384", "HS512")),
        (500, ("HS256", "HS384", "HS512")),
    ],
)
def test_a_secret_is_as_long_as_the_hash(size: int, algorithms: tuple[str, ...]) -> None:
    assert hmac_key(("xy" * size)[:size]).algorithms == algorithms


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


def test_what_is_not_a_secret() -> None:
    assert "characters that have no bytes" in refusal(hmac_key, "\ud800" * 40)
    assert "at least 32 bytes, found 31; make one with 'pico token key'" in refusal(hmac_key, "x" * 31)
    for pem in (public_pem(drawn("rsa")), private_pem(drawn("ecdsa")), "  -----BEGIN CERTIFICATE-----\nx"):
        assert "found a key in PEM" in refusal(hmac_key, pem)
    ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExample somebody@example"
    for text in (ssh, ssh.replace("ssh-ed25519", "ecdsa-sha2-nistp256"), json.dumps(member("rsa"))):
        assert "found a key of ssh or a JSON Web Key" in refusal(hmac_key, text)
    for begin in ("---- BEGIN SSH2 PUBLIC KEY ----\n", "-----begin public key-----\n"):
        assert "found a key of ssh or a JSON Web Key" in refusal(hmac_key, begin + "x" * 40)


@pytest.mark.parametrize(
    ("kind", "algorithms"), [("rsa", ("RS256", "RS384", "RS512")), ("ecdsa", ("ES256",)), ("eddsa", ("EdDSA",))]
)
def test_public_keys(kind: str, algorithms: tuple[str, ...]) -> None:
    pem = public_pem(drawn(kind))
    key = public_key(kind, pem)
    assert key.algorithms == algorithms
    assert repr(key) == f"VerifyingKey({'/'.join(algorithms)}, kid='')"
    for other in {"rsa", "ecdsa", "eddsa"} - {kind}:
        assert f"found another kind of key; that is for {kind}_public_key" in refusal(public_key, other, pem)
    assert "found a private key; a server needs the public one only" in refusal(
        public_key, kind, private_pem(drawn(kind))
    )
    assert "found no PEM" in refusal(public_key, kind, "nonsense")
    cut = refusal(public_key, kind, pem[: len(pem) // 2])
    assert "cannot be read" in cut
    assert pem.splitlines()[1][:20] not in cut


def test_weak_keys_are_refused() -> None:
    assert "2048 to 16384 bits, found one of 1024" in refusal(
        public_key, "rsa", public_pem(rsa.generate_private_key(65537, 1024))
    )
    assert "P-256, P-384 or P-521, found one of secp256k1" in refusal(
        public_key, "ecdsa", public_pem(ec.generate_private_key(ec.SECP256K1()))
    )


def test_signing_keys() -> None:
    assert SigningKey(SECRET + "\n").algorithm == "HS256"
    assert "PUBLIC KEY: tokens are made with the private key" in refusal(SigningKey, public_pem(drawn("rsa")))
    assert "cannot be read" in refusal(SigningKey, private_pem(drawn("rsa"))[:200])
    assert repr(signing("rsa")) == "SigningKey(RS256)"
    for kind in ("rsa", "ecdsa", "eddsa"):
        for text in (public_pem(drawn(kind)), private_pem(drawn(kind))):
            assert any_key(text)[0].algorithms == signing(kind).verifying.algorithms
    assert any_key(SECRET)[0].algorithms == ("HS256",)
    assert "found no PEM" not in refusal(any_key, public_pem(rsa.generate_private_key(65537, 1024)))


# --- sets ---


def member(kind: str, **more: object) -> dict[str, Any]:
    public = load_pem_public_key(public_pem(drawn(kind)).encode())
    writer: Any = {"rsa": RSAAlgorithm, "ecdsa": ECAlgorithm, "eddsa": OKPAlgorithm}[kind]
    return {**json.loads(writer.to_jwk(public)), "kid": kind, **more}


def key_set(*members: object) -> bytes:
    return json.dumps({"keys": members}).encode()


def test_a_set_of_every_kind() -> None:
    secret = {"kty": "oct", "k": part(SECRET.encode()), "kid": "hmac"}
    keys = read_key_set(key_set(member("rsa"), member("ecdsa"), member("eddsa"), secret), secrets=True)
    assert [(key.kid, key.algorithms[0]) for key in keys] == [
        ("rsa", "RS256"),
        ("ecdsa", "ES256"),
        ("eddsa", "EdDSA"),
        ("hmac", "HS256"),
    ]


def test_a_published_set_has_no_secrets() -> None:
    secret = {"kty": "oct", "k": part(SECRET.encode()), "kid": "hmac"}
    assert [key.kid for key in read_key_set(key_set(member("rsa"), secret), secrets=False)] == ["rsa"]
    assert "only a file may have one" in refusal(lambda: read_key_set(key_set(secret), secrets=False))


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "unknown"},
        {"kty": 7},
        {},
        "text",
        None,
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "!!", "e": "AQAB"},
        {"kty": "RSA", "n": 7, "e": 7},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": "oct"},
        {"kty": "oct", "k": "c2hvcnQ"},
        {"kty": "oct", "k": 7},
        {"kty": "oct", "k": "é"},
    ],
)
def test_keys_of_a_set_that_cannot_be_used_are_left_out(odd: object) -> None:
    assert [key.kid for key in read_key_set(key_set(odd, member("rsa")), secrets=True)] == ["rsa"]
    assert "no key that can verify a token" in refusal(lambda: read_key_set(key_set(odd), secrets=True))


def test_what_a_key_is_for_is_heeded() -> None:
    (key,) = read_key_set(key_set(member("rsa", alg="RS512"), member("ecdsa", use="enc")), secrets=False)
    assert key.algorithms == ("RS512",)
    assert len(read_key_set(key_set(member("rsa", key_ops=["sign", "verify"])), secrets=False)) == 1
    others = [member("rsa", key_ops=each) for each in ([], ["encrypt"], ["deriveKey", 7], "verify", None, 7)]
    algorithms = (member("rsa", alg="HS256"), member("ecdsa", alg="ES384"), member("rsa", alg=["RS256"]))
    for wrong in (*others, *algorithms):
        refusal(lambda wrong=wrong: read_key_set(key_set(wrong), secrets=True))


def test_a_private_key_in_a_set_verifies_and_nothing_more() -> None:
    private = json.loads(RSAAlgorithm.to_jwk(drawn("rsa")))
    (key,) = read_key_set(key_set(private), secrets=True)
    assert not hasattr(key.material, "sign")
    assert "a private key in a set that is published" in refusal(lambda: read_key_set(key_set(private), secrets=False))
    assert len(read_key_set(key_set(private, member("ecdsa")), secrets=False)) == 1


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000, b'{"keys": [', b"x" * (MAX_SET_BYTES + 1)]
)
def test_what_is_not_a_set(text: bytes) -> None:
    refusal(lambda: read_key_set(text, secrets=True))


def test_a_set_is_bounded() -> None:
    secret = {"kty": "oct", "k": part(SECRET.encode())}
    assert len(read_key_set(key_set(*[secret] * MAX_SET_KEYS), secrets=True)) == MAX_SET_KEYS
    assert "more than 64" in refusal(lambda: read_key_set(key_set(*[secret] * (MAX_SET_KEYS + 1)), secrets=True))


def test_a_key_that_cryptography_read_is_checked_too() -> None:
    refusal(key_of, rsa.generate_private_key(65537, 1024).public_key(), "kid")
