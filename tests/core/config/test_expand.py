"""Environment expansion: every vector of the protocol page, and what Go does beyond them."""

import pytest

from pico_core.config.document import parse
from pico_core.config.expand import VariableValues, expand
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.config.tree import Items, Scalar
from pico_core.config.values import Address
from pico_core.errors import ConfigError

ENVIRON = {"POD_NAME": "pico-0", "EMPTY": ""}

VECTORS = [
    ("${POD_NAME}-", "pico-0-"),
    ("$POD_NAME-", "pico-0-"),
    ("$POD_NAMEx", ""),
    ("${UNDEF}", ""),
    ("${UNDEF:5}", "5"),
    ("${EMPTY:d}", "d"),
    ("${POD_NAME:d}", "pico-0"),
    ("${UNDEF:http://a:1}", "http://a:1"),
    ("${UNDEF:-d}", "-d"),
    ("${UNDEF:}", ""),
    ("${UNDEF:${POD_NAME}}", "${POD_NAME}"),
    ("${UNDEF:a}b}", "ab}"),
    ("$$", ""),
    ("$${POD_NAME}", "{POD_NAME}"),
    ("p@$$w0rd", "p@w0rd"),
    ("$1$2", ""),
    ("cost: $5", "cost: "),
    ("a$", "a$"),
    ("$ x", "$ x"),
    ("${", ""),
    ("${}", ""),
    ("${POD-NAME}", ""),
    ("${ POD_NAME }", ""),
    ("$(POD_NAME)", "$(POD_NAME)"),
]

BEYOND = [
    ("", ""),
    ("no reference", "no reference"),
    ("${POD_NAME", "POD_NAME"),
    ("}${", "}"),
    ("a ${UNDEF:x\ny} b", "a x\ny b"),
    ("$POD_NAME$POD_NAME", "pico-0pico-0"),
    ("$5POD_NAME", "POD_NAME"),
    ("$*$#$@$!$?$-", ""),
    ("${*}", ""),
    ("$é", "$é"),
]


@pytest.mark.parametrize(("text", "expected"), VECTORS + BEYOND)
def test_vector(text: str, expected: str) -> None:
    assert expand(text, ENVIRON) == expected


def test_references_never_closed_take_linear_time() -> None:
    assert expand("${" * 200_000, {}) == ""


def test_the_ground_of_the_kubernetes_page() -> None:
    text = "cluster:\n  node_id_prefix: ${POD_NAME}-\n  join:\n    - pico\n"
    assert expand(text, ENVIRON) == "cluster:\n  node_id_prefix: pico-0-\n  join:\n    - pico\n"


HOSTILE = [
    "null",
    "~",
    "a\nlog:\n  level: debug",
    "a # b",
    "#",
    "a: b",
    "a:",
    "- a",
    "[a, b]",
    "{a: b}",
    "a, b",
    "]",
    "'",
    '"',
    "\\n",
    "&a",
    "*a",
    "!!str a",
    "| a",
    "%YAML 1.2",
    "@",
    "`",
    "? a",
    "a\r\nb",
    "a\x85b",
    "a\u2028b",
    "${POD_NAME}",
    "<<",
    "\ue0000;",
]
"""Values that would be more than one scalar, or not the same, as a part of the text."""


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("text", ["k: ${V}", "k: '${V}'", 'k: "${V}"', "{k: ${V:x}}", "k: $V # ${V}", "k: >-\n  $V\n"])
def test_the_value_of_a_variable_stays_one_scalar(value: str, text: str) -> None:
    values = VariableValues(text, "")
    tree = parse(expand(text, {"V": value}, values.put), "", values.restore)
    assert list(tree.entries) == ["k"]
    scalar = tree.entries["k"]
    assert isinstance(scalar, Scalar)
    assert scalar.text == value


@pytest.mark.parametrize("value", HOSTILE)
def test_a_variable_in_a_key_or_a_list_changes_no_structure(value: str) -> None:
    text = "${V}: [${V}, x]\nb: {<<: {c: 1}}\n# ${V}\n"
    values = VariableValues(text, "")
    tree = parse(expand(text, {"V": value}, values.put), "", values.restore)
    assert list(tree.entries) == [value, "b"]
    items = tree.entries[value]
    assert isinstance(items, Items)
    assert items.items == (Scalar(value, 1), Scalar("x", 1))


def test_the_end_of_a_file_is_not_part_of_a_value() -> None:
    config = load(ServerConfig, "cluster: {node_id: $ID}", {}, "", environ={"ID": "pico-0\n"})
    assert config.cluster.node_id == "pico-0"


def test_no_value_is_the_default_of_the_key() -> None:
    text = "cluster: {node_id: $ID, join: ${JOIN:[a, b]}}\nproxy: {trusted_proxies: [$A, loopback, $B]}\n"
    config = load(ServerConfig, text, {}, "", environ={"B": ""})
    assert [str(each) for each in config.proxy.trusted_proxies] == ["loopback"]
    assert config.cluster.node_id == ""
    assert config.cluster.join == (Address("a", 0), Address("b", 0))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("upstream:\n  auth:\n    hmac_secret_key: ${KEY}\n", "pico.yaml:3: upstream.auth.hmac_secret_key"),
        ("proxy:\n  auth: {jwks: {endpoint: '$KEY'}}\n", "pico.yaml:2: proxy.auth.jwks.endpoint"),
        ("proxy:\n  auth: ${KEY}\n", "pico.yaml:2: proxy.auth"),
        ("admin: {tls: {client_cas: ${KEY}}}\n", "pico.yaml:1: admin.tls.client_cas"),
        ("cluster: {gossip: {keys: ${KEY}}}\n", "pico.yaml:1: cluster.gossip.keys"),
        ("cluster: {gossip: {keys_file: ${KEY}}}\n", "pico.yaml:1: cluster.gossip.keys_file"),
        ("cluster: {gossip: {keys: [$KEY]}}\n", "pico.yaml:1: cluster.gossip.keys"),
        ("proxy:\n  tls:\n    cert: [$KEY]\n    key: [$KEY]\n", "pico.yaml:3: proxy.tls.cert"),
        ("proxy:\n  auth:\n    hmac_secret_key: |\n      $KEY\n", "pico.yaml:3: proxy.auth.hmac_secret_key"),
        ("policies: [$KEY]\n", "pico.yaml:1: policies"),
        (
            "policies: [{endpoints: [a], denied_networks: [10.0.0.0/8, $KEY]}]\n",
            "pico.yaml:1: policies[0].denied_networks",
        ),
        ("upstream: {tenants: ${KEY}}\n", "pico.yaml:1: upstream.tenants"),
        ("policies: ${KEY}\n", "pico.yaml:1: policies"),
        ("policies:\n- endpoints: [a]\n  basic_auth: ${KEY}\n", "pico.yaml:3: policies[0].basic_auth"),
        ("policies:\n- endpoints: [a]\n  allowed_networks: ${KEY}\n", "pico.yaml:3: policies[0].allowed_networks"),
    ],
)
@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": "\n"}])
def test_an_unset_variable_does_not_switch_protection_off(text: str, key: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(ServerConfig, text, {}, "pico.yaml", environ=environ)
    assert str(caught.value) == (
        f"{key}: is empty, since the variable KEY is unset or empty; set it, or write ${{KEY:}} where nothing is meant"
    )


def test_an_empty_value_is_written_on_purpose() -> None:
    config = load(ServerConfig, "upstream: {auth: {hmac_secret_key: '${KEY:}'}}\n", {}, "pico.yaml", environ={})
    assert not config.upstream.auth.hmac_secret_key


def test_a_text_that_has_a_marker_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^pico.yaml: contains the character U\+E000"):
        load(ServerConfig, "cluster: {node_id: \ue0000;}", {}, "pico.yaml", environ={})
