"""Just enough of PromQL for the tests: tokens, brackets that match, and which metrics and labels a query uses."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>\d+(?:\.\d+)?(?![\w.]))
      | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<operator>=~|!~|==|!=|<=|>=|[-+*/%^<>=,])
      | (?P<open>[({\[])
      | (?P<close>[)}\]])
    )""",
    re.VERBOSE,
)
_PAIRS = {"(": ")", "{": "}", "[": "]"}
FUNCTIONS = {"rate", "increase", "histogram_quantile", "absent", "sum", "max", "min", "avg", "count"}
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_SET = {"and", "or", "unless"}
_BINARY = {"+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">="} | _SET


@dataclass
class Query:
    """The parts of a query: ``selectors`` are metrics, each with its matchers; ``grouped`` the labels of by and on."""

    selectors: list[tuple[str, list[tuple[str, str, str]]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def tokens(text: str) -> list[tuple[str, str]]:
    """Return kinds and texts. Raises ``ValueError`` at a text that is not a token."""
    text = text.strip()
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"no token at {text[at : at + 20]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _check_brackets(parts: list[tuple[str, str]]) -> None:
    closing: list[str] = []
    for kind, text in parts:
        if kind == "open":
            closing.append(_PAIRS[text])
        elif kind == "close" and (not closing or closing.pop() != text):
            raise ValueError(f"{text!r} closes nothing")
    if closing:
        raise ValueError(f"{closing[-1]!r} is missing")


def _check_operators(parts: list[tuple[str, str]]) -> None:
    """Outside of braces, an operator stands between two operands."""
    for index, (_, text) in enumerate(parts):
        if text in _BINARY:
            before, after = (
                parts[index - 1] if index else ("", ""),
                parts[index + 1] if index + 1 < len(parts) else ("", ""),
            )
            if before[0] not in ("number", "close", "name") or after[0] in ("", "close", "operator"):
                raise ValueError(f"{text!r} lacks an operand")


def parse(text: str) -> Query:
    """Read a query. Raises ``ValueError`` if it is invalid, or uses a function that is not in ``FUNCTIONS``."""
    parts = tokens(text)
    _check_brackets(parts)
    query, at = Query(), 0
    outside: list[tuple[str, str]] = []
    while at < len(parts):
        kind, name = parts[at]
        after = parts[at + 1][1] if at + 1 < len(parts) else ""
        if kind == "name" and name in _GROUPING:
            if after != "(":
                raise ValueError(f"{name!r} wants labels")
            end = parts.index(("close", ")"), at)
            query.grouped |= {label for kind, label in parts[at + 2 : end] if kind == "name"}
            at = end
        elif kind == "name" and name in FUNCTIONS:
            if after != "(" and after not in _GROUPING:
                raise ValueError(f"{name!r} wants arguments")
            outside.append((kind, name))
        elif kind == "name" and name not in _SET:
            matchers: list[tuple[str, str, str]] = []
            if after == "{":
                end = parts.index(("close", "}"), at)
                matchers, at = _matchers(parts[at + 2 : end]), end
            query.selectors.append((name, matchers))
            outside.append((kind, name))
        else:
            outside.append((kind, name))
        at += 1
    _check_operators(outside)
    return query


def _matchers(parts: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    found = []
    for at in range(0, len(parts), 4):
        (kind, label), (_, operator), (value_kind, value) = parts[at : at + 3]
        if (kind, value_kind) != ("name", "string") or operator not in ("=", "!=", "=~", "!~"):
            raise ValueError(f"no matcher: {label} {operator} {value}")
        if len(parts) > at + 3 and parts[at + 3][1] != ",":
            raise ValueError(f"no comma after {value}")
        found.append((label, operator, value[1:-1]))
    return found
