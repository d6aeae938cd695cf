"""YAML to a tree: lines, nothing typed, and everything refused that a configuration does not need."""

import pytest

from pico_core.config.document import parse
from pico_core.config.tree import EMPTY, Items, Mapping, Scalar
from pico_core.errors import ConfigError


def test_values_stay_as_they_were_written() -> None:
    text = 'a: off\nb: 0123\nc: 2026-01-01\nd: ~\ne:\nf: "null"\ng: [x, 1:30]\n'
    tree = parse(text, "f.yaml")
    assert tree.entries == {
        "a": Scalar("off", 1),
        "b": Scalar("0123", 2),
        "c": Scalar("2026-01-01", 3),
        "d": Scalar("", 4, is_null=True),
        "e": Scalar("", 5, is_null=True),
        "f": Scalar("null", 6),
        "g": Items((Scalar("x", 7), Scalar("1:30", 7)), 7),
    }
    assert tree.key_lines == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}


def test_an_alias_stands_for_what_it_names() -> None:
    tree = parse("a: &x {k: v}\nb: *x\n", "f.yaml")
    assert tree.entries["b"] is tree.entries["a"]
    assert tree.entries["a"] == Mapping({"k": Scalar("v", 1)}, {"k": 1}, 1)


def test_a_merge_key_takes_over_the_entries_of_a_mapping() -> None:
    tree = parse("base: &x\n  k: v\n  l: w\nb:\n  l: mine\n  <<: *x\n", "f.yaml")
    assert tree.entries["b"] == Mapping({"l": Scalar("mine", 5), "k": Scalar("v", 2)}, {"l": 5, "k": 2}, 5)
    tree = parse("a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc:\n  <<: [*x, *y]\n", "f.yaml")
    assert tree.entries["c"] == Mapping({"k": Scalar("1", 1), "l": Scalar("3", 2)}, {"k": 1, "l": 2}, 4)
    quoted = parse('"<<": x', "f.yaml")
    assert quoted.entries == {"<<": Scalar("x", 1)}


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "~\n", "---\n...\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert parse(text, "f.yaml") is EMPTY


TAG = "f.yaml:1: a tag is not supported: leave it out, or write a value that begins with ! in quotes"
ALIAS = "f.yaml:1: an alias has no anchor before it; a value that begins with * is written in quotes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "f.yaml:1: wants keys such as 'log:' at the top level"),
        ("\nhello", "f.yaml:2: wants keys such as 'log:' at the top level"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document begins here; a file holds one"),
        ("a: !!str x", TAG),
        ("a: !x []", TAG),
        ("a: 1\nb: 2\na: 3", "f.yaml:3: the key 'a' is here a second time, first in line 1"),
        ("? [a]\n: b", "f.yaml:1: a key must be a plain word"),
        ("a: *x", ALIAS),
        ("a: &x [*x]", ALIAS),
        ("a: 1\n<<: x", "f.yaml:2: << wants a mapping with an anchor, such as '<<: *name', or a list of those"),
        ("<<: [{a: 1}, x]", "f.yaml:1: << wants a mapping with an anchor, such as '<<: *name', or a list of those"),
        ("a: &x 1\nb: [" + "*x," * 101 + "]", "f.yaml:2: more than 100 aliases"),
        ("a: " + "[" * 17 + "]" * 17, "f.yaml:1: is nested too deeply"),
        ("a: [1", "f.yaml:1: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n\tb: 2", "f.yaml:2: is not YAML: found character '\\t' that cannot start any token"),
        ("a: b: c", "f.yaml:1: is not YAML: mapping values are not allowed here"),
        ("a: \x00", "f.yaml: is not YAML: it contains a character that is not allowed"),
        ('a: "\\UFFFFFFFF"', "f.yaml: is not YAML: an escape or version number is out of range"),
        ("%YAML " + "9" * 5000 + ".1\n---\n", "f.yaml: is not YAML: an escape or version number is out of range"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, "f.yaml")
    assert str(raised.value) == message
