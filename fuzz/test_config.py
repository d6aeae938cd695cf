"""Random text as file, flags, arguments and environment: the answer is a configuration or a ``ConfigError``."""

from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from pico_core.config import values
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.declare import Section, leaves
from pico_core.config.document import parse
from pico_core.config.expand import VariableValues, expand
from pico_core.config.forward import ForwardConfig
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.config.tree import Items, Mapping, TreeItem
from pico_core.errors import ConfigError

ROOTS: list[type[Section]] = [ServerConfig, AgentConfig, ListenerConfig, ForwardConfig]
NAMES = sorted({leaf.name for root in ROOTS for leaf in leaves(root)})
WORDS = sorted({word for name in NAMES for word in name.split(".")} | {"listeners", "ports"})

# Pieces from which files that are nearly right grow.
PIECES = st.sampled_from(
    [*WORDS, ": ", ":", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ",", "'", '"', "&a ", "*a", "!", "|", "~",
     "%", "30s", "8000", ":8000", "[::1]:1", "http://a:1", "true", "\t", "\x00", "\\U", "#", "---\n", "é"]
)  # fmt: skip
FILES = st.one_of(st.text(st.characters(), max_size=200), st.lists(PIECES, max_size=40).map("".join))
TEXTS = st.one_of(st.text(st.characters(), max_size=80), st.lists(PIECES, max_size=8).map("".join))
# What a file with the right keys may hold at the wrong places.
TREES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)),
    max_leaves=12,
)


def refused_in_one_line(
    root: type[Section], text: str | None, flags: dict[str, str], environ: dict[str, str] | None = None
) -> None:
    line = ""
    try:
        config = load(root, text, flags, "pico.yaml", environ=environ)
    except ConfigError as error:
        line = str(error)
    else:
        assert isinstance(config, root)
    assert line.isprintable()  # so it is one line, and harmless on a terminal
    assert len(line) < 2000


@given(st.sampled_from(ROOTS), FILES)
@example(ServerConfig, '"\\ud800": 1')
@example(ServerConfig, "? - \n: ")
@example(ServerConfig, "%YAML 99999999999999999999.1\n--- {}")
@example(ServerConfig, "a: " + "[" * 2000)
def test_any_text_as_a_file(root: type[Section], text: str) -> None:
    refused_in_one_line(root, text, {})


def as_yaml(tree: Any) -> str:
    """Write a tree in flow style, where nothing needs indentation."""
    if isinstance(tree, list):
        return "[" + ", ".join(map(as_yaml, tree)) + "]"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, str):
        return "'" + tree.replace("'", "''") + "'"
    return "~" if tree is None else str(tree).lower()


@given(st.sampled_from(ROOTS), TREES)
def test_any_tree_as_a_file(root: type[Section], tree: Any) -> None:
    refused_in_one_line(root, as_yaml(tree), {})


@given(st.sampled_from(ROOTS), st.dictionaries(st.one_of(st.sampled_from(NAMES), TEXTS), TEXTS, max_size=3))
def test_any_text_as_flags(root: type[Section], flags: dict[str, str]) -> None:
    refused_in_one_line(root, None, flags)


@given(st.data())
def test_any_value_of_every_flag(data: st.DataObject) -> None:
    root = data.draw(st.sampled_from(ROOTS))
    name = data.draw(st.sampled_from([leaf.name for leaf in leaves(root)]))
    refused_in_one_line(root, None, {name: data.draw(TEXTS)})


@given(FILES, st.dictionaries(st.text(max_size=5), TEXTS, max_size=3))
def test_any_environment(text: str, environ: dict[str, str]) -> None:
    refused_in_one_line(ServerConfig, text, {}, environ)


@given(TEXTS, st.sampled_from(["k: ${V}", "{k: '$V'}", 'k: "${V:x}" # $V', "k: |-\n  $V\n", "$V: 1", "k: [$V, x]"]))
def test_the_value_of_a_variable_stays_where_it_is(value: str, text: str) -> None:
    assume(value.rstrip("\r\n") not in ("", "x", "1", "k", "~", "null", "Null", "NULL"))
    kept = VariableValues(text, "")
    plain = parse(expand(text, {"V": "v"}), "")
    tree = parse(expand(text, {"V": value}, kept.put), "", kept.restore)
    assert shape(tree, value.rstrip("\r\n")) == shape(plain, "v")


def shape(item: TreeItem, value: str) -> object:
    """Return a tree as texts, with a mark for ``value``."""
    if isinstance(item, Items):
        return [shape(each, value) for each in item.items]
    if isinstance(item, Mapping):
        return {"$" if key == value else key: shape(each, value) for key, each in item.entries.items()}
    return "$" if item.text == value else item.text


@given(st.text("${}:aB_1 -\n", max_size=60))
def test_expansion_is_what_gos_loop_does(text: str) -> None:
    environ = {"a": "VALUE", "B": "$a", "1": "one", "_": ""}
    assert expand(text, environ) == oracle(text, environ)


def oracle(text: str, environ: dict[str, str]) -> str:
    """Go's loop, character by character."""
    result, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            result, at = result + text[at], at + 1
            continue
        at += 1
        if text[at] == "{":
            closing = text.find("}", at)
            if closing < 0:
                at += 1
                continue
            name, _, default = text[at + 1 : closing].partition(":")
            result, at = result + (environ.get(name) or default), closing + 1
        elif text[at] in "*#$@!?-0123456789":
            result, at = result + environ.get(text[at], ""), at + 1
        else:
            end = at
            while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
                end += 1
            result, at = result + (environ.get(text[at:end], "") if end > at else "$"), end
    return result


@given(st.integers(0, 365 * 24 * 3600 * 1000))
def test_durations_read_back(milliseconds: int) -> None:
    text = values.show_duration(milliseconds / 1000)
    assert round(values.duration_or_zero(text) * 1000) == milliseconds


HOSTS = st.one_of(
    st.just(""),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z0-9-]{1,10}[a-z](\.[a-z0-9_-]{1,9}[a-z]){0,3}", fullmatch=True),
)


@given(HOSTS, st.integers(0, 65535))
def test_addresses_read_back(host: str, port: int) -> None:
    address = values.Address(host, port)
    assert values.bind_address(str(address)) == address
    if host and port:
        assert values.origin(str(address)) == values.Origin(host, port)
        assert values.member(str(address)) == address
        assert values.server_url(f"http://{address}/") == values.Origin(host, port, "http")
