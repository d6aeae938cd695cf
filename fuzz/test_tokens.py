"""Tokens, key sets and heads with credentials: whatever they are, they are let in or denied, and nothing else."""

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pico_core.access.gate import Gate
from pico_core.access.grant import Denied, Grant
from pico_core.access.key_set import read_key_set
from pico_core.access.token import TokenRules
from pico_core.boundary import Tick
from pico_core.config.auth import AuthConfig
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.errors import ConfigError
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head
from pico_core.server.node import ServerNode
from tests.core.access.keys import KINDS, NOW_S, SECRET, bearer, part, signed, signing, token
from tests.core.access.test_keys import key_set, member

REASONS = {"invalid authorization", "unsupported auth type", "invalid token", "expired token"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)
claim_names = st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "pico", "piko", "x"])
permissions = st.fixed_dictionaries({}, optional={"endpoints": json_values, "tenant": json_values})
claims = st.dictionaries(claim_names, json_values | permissions, max_size=6)
headers = st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "x5u", "jwk"]), json_values, max_size=4)


def gate(**rules: Any) -> Gate:
    return Gate(tuple(signing(kind).verifying for kind in KINDS), TokenRules(**rules))


def check_reason(denied: Denied) -> str:
    assert denied.status == 401
    assert denied.reason in REASONS
    return denied.reason


def check_line(error: ConfigError, secret: str = "") -> None:
    assert "\n" not in str(error)
    assert len(secret) < 16 or secret not in str(error)


def outcome(port: Gate, authorization: bytes) -> Grant | str:
    try:
        return port.check(authorization, NOW_S)
    except Denied as denied:
        return check_reason(denied)


@given(st.binary(max_size=400))
def test_any_bytes_are_denied(data: bytes) -> None:
    for authorization in (data, b"Bearer " + data):
        assert isinstance(outcome(gate(), authorization), str)


@given(st.sampled_from(KINDS), st.data())
def test_a_changed_token_is_denied(kind: str, data: st.DataObject) -> None:
    text = token("e1", kind=kind)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = text[:place] + other + text[place + 1 :]
    port = gate()
    found = outcome(port, bearer(changed))
    assert isinstance(found, Grant) or changed != text
    assert list(port.remembered.values()) == ([found] if isinstance(found, Grant) else [])
    if isinstance(found, Grant):  # the last character of a part has bits that mean nothing
        assert text == changed or place + 1 == len(text) or text[place + 1] == "."
        assert found.permits("e1")
        assert not found.permits("e2")


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_any_parts_are_denied(parts: list[bytes]) -> None:
    assert isinstance(outcome(gate(), bearer(".".join(map(part, parts)))), str)


@given(headers, claims)
def test_any_signed_token_is_let_in_or_denied(header: dict[str, Any], content: dict[str, Any]) -> None:
    try:
        text = signed(json.dumps(content).encode(), header)
    except ValueError:  # a text that has no bytes
        return
    port = gate(audience="x") if "aud" in content else gate()
    found = outcome(port, bearer(text))
    assert list(port.remembered.values()) == ([found] if isinstance(found, Grant) else [])
    if isinstance(found, Grant):
        assert header.get("alg", "HS256") == "HS256"
        assert not {"crit", "b64"} & header.keys()
        assert found.expires_at > NOW_S
        for name in ("pico", "piko"):
            patterns = (content.get(name) or {}).get("endpoints")
            assert not patterns or found.limited


@given(json_values, st.booleans())
def test_any_key_set_is_read_or_refused(document: Any, secrets: bool) -> None:
    for text in (json.dumps(document).encode(), json.dumps({"keys": document}).encode()):
        try:
            keys = read_key_set(text, secrets=secrets)
        except ConfigError as error:
            check_line(error)
        else:
            assert keys


key_members = st.sampled_from(["kty", "n", "e", "crv", "x", "y", "k", "d", "kid", "alg", "use", "key_ops"])


@given(st.sampled_from(["rsa", "ecdsa", "eddsa"]), st.dictionaries(key_members, json_values, max_size=4))
def test_a_changed_key_of_a_set_is_read_or_left_out(kind: str, changes: dict[str, Any]) -> None:
    good = member("rsa")
    keys = read_key_set(key_set(good, {**member(kind), **changes}), secrets=True)
    assert keys[0].kid == "rsa"


# --- heads ---

SERVER = ServerConfig(proxy=load(ServerConfig, None, {"proxy.auth.hmac_secret_key": SECRET}, "").proxy)
names = st.sampled_from(
    [
        b"Authorization",
        b"authorization",
        b"AUTHORIZATION",
        b"x-pico-authorization",
        b"X-Piko-Authorization",
        b"A",
        b"Zz",
    ]
)
GOOD = bearer(token("e1"))
values = st.sampled_from([GOOD, b"Bearer x.y.z", b"Basic eDp5", b"", b"Bearer", b"authorization: " + GOOD])


NODE = ServerNode(SERVER, "node-1", random.Random(1))
NODE.handle(Tick(NOW_S), 0.0)  # its wall clock


@given(st.lists(st.tuples(names, values, st.sampled_from([b" ", b"", b"\t "])), max_size=5))
def test_a_head_is_let_in_by_its_one_credential_which_is_then_gone(lines: list[tuple[bytes, bytes, bytes]]) -> None:
    fields = b"".join(b"%b:%b%b\r\n" % (name, blank, value) for name, value, blank in lines)
    raw = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + fields + b"\r\n"
    try:
        head = parse_request_head(raw, HeadLimits())
    except MessageError:
        return
    own = [value for name, value, _ in lines if name.lower().startswith(b"x-pi")]
    usual = [value for name, value, _ in lines if name.lower() == b"authorization"]
    wanted = next((value for value in own if value), b"") or (usual[0] if len(usual) == 1 else b"")
    try:
        assert NODE.access.admit_client(head, "e1", 0.0) == "e1"
    except Denied:
        assert wanted != GOOD
    else:
        assert wanted == GOOD
        left = [line.partition(b":")[0].lower() for line in head.fields.splitlines()]
        others = [value for value in usual if GOOD.split()[1] not in value]
        assert left.count(b"authorization") == (len(others) if any(own) else 0)
        assert [name for name in left if name in (b"a", b"zz")] == [
            name.lower() for name, _, _ in lines if name in (b"A", b"Zz")
        ]


@given(
    st.text(max_size=60), st.sampled_from(["hmac_secret_key", "rsa_public_key", "ecdsa_public_key", "eddsa_public_key"])
)
def test_any_key_text_is_taken_or_refused_in_one_line_without_it(text: str, name: str) -> None:
    flag = f"proxy.auth.{name}"
    try:
        config = load(ServerConfig, None, {flag: text}, "")
    except ConfigError as error:
        check_line(error, text)
    else:
        assert isinstance(config.proxy.auth, AuthConfig)
        assert len(text) < 16 or text not in repr(config)
