"""Environment expansion: every vector of the protocol page, and what Go does beyond them."""

import pytest

from pico_core.config.expand import expand

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
