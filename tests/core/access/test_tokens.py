"""Which tokens a gate lets in, and what they permit."""

import math
from itertools import permutations
from typing import Any

import pytest

from pico_core.access.gate import Gate
from pico_core.access.grant import Denied, Grant
from pico_core.access.keys import VerifyingKey, public_key
from pico_core.access.token import MAX_TOKEN_BYTES, Malformed, TokenRules
from tests.core.access.keys import (
    KINDS,
    NOW_S,
    OTHER_SECRET,
    SECRET,
    bearer,
    drawn,
    part,
    public_pem,
    signed,
    signing,
    token,
)


def gate(kind: str = "hmac", **rules: Any) -> Gate:
    return Gate((signing(kind).verifying,), TokenRules(**rules))


def permitted(text: str, at: float = NOW_S, **rules: Any) -> Grant:
    return gate(**rules).check(bearer(text), at)


def denied(text: str, at: float = NOW_S, kind: str = "hmac", **rules: Any) -> str:
    with pytest.raises(Denied) as caught:
        gate(kind, **rules).check(bearer(text), at)
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_of_the_signature_verifies_it(kind: str) -> None:
    assert gate(kind).check(bearer(token("a", kind=kind)), NOW_S).permits("a")


@pytest.mark.parametrize(("kind", "key"), list(permutations(KINDS, 2)))
def test_a_key_of_another_kind_does_not(kind: str, key: str) -> None:
    assert denied(token("a", kind=kind), kind=key) == "invalid token"


def test_another_secret_and_a_changed_token_are_refused() -> None:
    assert denied(signed({}, secret=OTHER_SECRET)) == "invalid token"
    head, claims, signature = token("a").split(".")
    assert denied(f"{head}.{part({'piko': {'endpoints': ['b']}})}.{signature}") == "invalid token"
    assert denied(f"{head}.{claims}.{part(b'0' * 32)}") == "invalid token"


def test_a_public_key_is_never_a_secret() -> None:
    """The known confusion: a token with HS256 whose secret is the text of the server's public key."""
    pem = public_pem(drawn("rsa"))
    keys = (public_key("rsa", pem),)
    forged = signed({"sub": "evil"}, secret=pem)
    with pytest.raises(Denied, match="invalid token"):
        Gate(keys, TokenRules()).check(bearer(forged), NOW_S)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS384"},
        {"alg": "RS256"},
        {"alg": None},
        {"alg": ["HS256"]},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"b64": True},
        {"kid": 7},
        {"kid": {}},
    ],
)
def test_headers_that_are_refused(header: dict[str, object]) -> None:
    assert denied(signed({}, header)) == "invalid token"


def test_a_token_without_a_signature_is_refused() -> None:
    assert denied(f"{part({'alg': 'none'})}.{part({})}.") == "invalid token"
    assert denied(f"{part({'alg': 'HS256'})}.{part({})}.") == "invalid token"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "..",
        f"{part([1])}.{part({})}.AA",
        f"{part(b'{')}.{part({})}.AA",
        f"{part(b'[' * 5_000)}.{part({})}.AA",
        f"{part({'alg': 'HS256'})}.{part({})}.=",
        "é.é.é",
    ],
)
def test_what_is_not_a_token_is_refused(text: str) -> None:
    with pytest.raises(Denied) as caught:
        gate().check(b"Bearer " + text.encode("latin-1"), NOW_S)
    assert caught.value.reason in ("invalid token", "invalid authorization")


@pytest.mark.parametrize("claims", [[], "text", 7, None])
def test_claims_that_are_not_an_object_are_refused(claims: object) -> None:
    assert denied(signed(claims)) == "invalid token"


def test_a_token_above_8_kib_is_refused_before_it_is_read() -> None:
    longest = signed({"x": "y" * 6_000})
    assert len(longest) < MAX_TOKEN_BYTES
    assert permitted(longest).permits("a")
    assert denied(signed({"x": "y" * 6_200})) == "invalid token"
    assert denied("x" * 1_000_000) == "invalid token"


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (b"", "invalid authorization"),
        (b"Bearer", "invalid authorization"),
        (b"Bearer ", "invalid authorization"),
        (b"Bearer a b", "invalid authorization"),
        (b"Bearer\ta.b.c", "invalid authorization"),
        (b"Basic eDp5", "unsupported auth type"),
        (b"Bearer: a.b.c", "unsupported auth type"),
    ],
)
def test_the_form_of_the_field(authorization: bytes, reason: str) -> None:
    with pytest.raises(Denied) as caught:
        gate().check(authorization, NOW_S)
    assert (caught.value.reason, caught.value.status) == (reason, 401)


def test_the_scheme_has_no_case() -> None:
    assert gate().check(b"bEaReR  " + token().encode(), NOW_S).permits("a")


# --- time ---


def test_expiry_and_leeway() -> None:
    text = signed({"exp": NOW_S + 10})
    assert permitted(text, NOW_S + 9.9).expires_at == NOW_S + 10
    assert denied(text, NOW_S + 10) == "expired token"
    assert permitted(text, NOW_S + 14.9, leeway_s=5.0).expires_at == NOW_S + 15
    assert denied(text, NOW_S + 15, leeway_s=5.0) == "expired token"
    assert permitted(signed({})).expires_at == math.inf
    assert denied(signed({}), require_expiry=True) == "invalid token"


def test_a_token_that_is_not_valid_yet() -> None:
    text = signed({"nbf": NOW_S + 3})
    assert denied(text) == "invalid token"
    assert denied(text, leeway_s=2.9) == "invalid token"
    assert permitted(text, leeway_s=3.0)
    assert permitted(text, NOW_S + 3)


@pytest.mark.parametrize("name", ["exp", "nbf"])
@pytest.mark.parametrize("value", ["1700000600", None, True, [], {}, "soon"])
def test_instants_that_are_not_numbers_are_refused(name: str, value: object) -> None:
    assert denied(signed({name: value})) == "invalid token"


@pytest.mark.parametrize("text", [b"1e400", b"NaN", b"Infinity", b"-Infinity", b"1" * 400])
def test_instants_that_no_clock_shows_are_refused(text: bytes) -> None:
    assert denied(signed(b'{"exp": %b}' % text)) == "invalid token"


def test_an_unsigned_wish_is_never_told_to_be_expired() -> None:
    assert denied(signed({"exp": 1}, secret=OTHER_SECRET)) == "invalid token"


# --- what it permits ---


def test_endpoints_have_no_case_and_a_star_stands_for_the_rest() -> None:
    grant = permitted(token("One", "shop-*", "a*b"))
    assert [name for name in ("one", "shop-", "shop-7", "a*b") if grant.permits(name)] == [
        "one",
        "shop-",
        "shop-7",
        "a*b",
    ]
    assert not any(grant.permits(name) for name in ("on", "one1", "shop", "ashop-1", "axb", "", "*"))


@pytest.mark.parametrize("claim", [None, {}, {"endpoints": []}, {"endpoints": None}, {"endpoints": ["*"]}])
@pytest.mark.parametrize("name", ["pico", "piko"])
def test_absent_or_empty_means_all(name: str, claim: object) -> None:
    assert permitted(signed({name: claim})).permits("anything")
    assert permitted(signed({})).permits("anything")


@pytest.mark.parametrize(
    "claim",
    [[], "a", 7, True, {"endpoints": "a"}, {"endpoints": [7]}, {"endpoints": [""]}, {"endpoints": {}}, {"tenant": 7}],
)
def test_a_claim_of_another_form_permits_nothing(claim: object) -> None:
    assert denied(signed({"pico": claim})) == "invalid token"


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ({"endpont": ["a"]}, "its claim 'piko' has the member 'endpont'; known are endpoints and tenant"),
        ({"endpoints": ["a"], "tenants": ["t"]}, "has the member 'tenants'"),
        ({"endpoints": ["a"], "tenant_id": "t"}, "has the member 'tenant_id'"),
        ({"x" * 5_000: 1}, f"has the member '{'x' * 40}';"),
        ({"endpoints": ["a"], "Endpoints": ["b"]}, "has the member 'endpoints' twice"),
        (["a"], "its claim 'piko' is not an object"),
        ({"endpoints": "a"}, "the endpoints in its claim are not a list of names"),
        ({"tenant": ["a"]}, "the tenant in its claim is not a text"),
    ],
)
def test_a_misspelt_limit_permits_nothing_and_is_named(claim: object, problem: str) -> None:
    with pytest.raises(Malformed) as caught:
        gate().check(bearer(signed({"piko": claim})), NOW_S)
    assert caught.value.reason == "invalid token"
    assert problem in caught.value.problem


@pytest.mark.parametrize("name", ["piko", "Piko", "PICO"])
@pytest.mark.parametrize("member", ["endpoints", "Endpoints"])
def test_names_in_the_claim_have_no_case(name: str, member: str) -> None:
    """Go reads JSON so: what limits a token at Piko's nodes limits it here."""
    grant = permitted(signed({name: {member: ["a"]}}))
    assert grant.limited
    assert not grant.permits("b")


def test_both_spellings_must_agree() -> None:
    one, other = {"endpoints": ["a"]}, {"endpoints": ["b"]}
    assert permitted(signed({"pico": one, "piko": one})).permits("a")
    assert denied(signed({"pico": one, "piko": other})) == "invalid token"


def test_audience_and_issuer() -> None:
    assert permitted(signed({"aud": "x", "iss": "y"}), audience="x", issuer="y")
    assert permitted(signed({"aud": ["w", "x"]}), audience="x")
    assert permitted(signed({"aud": "x"}))
    for claims in ({}, {"aud": "w"}, {"aud": ["w"]}, {"aud": 7}, {"aud": {"x": 1}}):
        assert denied(signed(claims), audience="x") == "invalid token"
    for claims in ({}, {"iss": "x"}, {"iss": ["y"]}):
        assert denied(signed(claims), issuer="y") == "invalid token"


# --- memory ---


def test_a_verified_token_isremembered_until_it_expires() -> None:
    port = gate()
    text = bearer(token("a"))
    grant = port.check(text, NOW_S)
    assert port.check(text, NOW_S + 599) is grant
    with pytest.raises(Denied, match="expired token"):
        port.check(text, NOW_S + 600)
    with pytest.raises(Denied, match="expired token"):
        port.check(text, NOW_S + 601)


def test_other_keys_forget_what_was_verified() -> None:
    port = gate()
    era = port.check(bearer(token()), NOW_S).era
    port.replace_keys((signing("rsa").verifying,))
    assert port.era is not era
    with pytest.raises(Denied, match="invalid token"):
        port.check(bearer(token()), NOW_S)


def test_the_memory_is_bounded_and_holds_no_token() -> None:
    port = gate()
    for number in range(4_106):
        port.check(bearer(signed({"sub": str(number)})), NOW_S)
    remembered = port.remembered
    assert len(remembered) == 4_096
    assert all(len(key) == 32 for key in remembered)
    assert SECRET not in repr(remembered)


def test_so_many_endpoints_are_read() -> None:
    names = ["a"] * 999
    assert permitted(signed({"piko": {"endpoints": [*names, "b"]}})).permits("b")
    with pytest.raises(Malformed) as caught:
        permitted(signed({"piko": {"endpoints": [*names, "b", "c"]}}))
    assert caught.value.problem == "its claim has 1001 endpoints, more than 1000"


@pytest.mark.parametrize("others", [7, 8])
def test_so_many_keys_are_tried(others: int) -> None:
    key = signing("hmac").verifying
    port = Gate((*[VerifyingKey(OTHER_SECRET.encode(), key.algorithms)] * others, key), TokenRules())
    if others < 8:
        assert port.check(bearer(token("a")), NOW_S).permits("a")
    else:
        with pytest.raises(Denied, match="invalid token"):
            port.check(bearer(token("a")), NOW_S)


def test_refused_tokens_are_notremembered() -> None:
    port = gate()
    for number in range(10):
        with pytest.raises(Denied):
            port.check(bearer(signed({"sub": str(number)}, secret=OTHER_SECRET)), NOW_S)
    assert not port.remembered
