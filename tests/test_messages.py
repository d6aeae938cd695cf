"""``docs/messages.md`` has every message that Pico logs, and no other: they are collected from the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "messages.md"
CODE = sorted(path for name in ("pico_core", "pico_tunnel", "adapters") for path in (ROOT / name).rglob("*.py"))

LOGGERS = {"log": 2, "warn": 1, "_log": 1, "Log": 2, "warn_of": 1, "_retry": 0, "_retry_in": 1, "SealRefused": 1}
"""The calls that log, and the place of the message in their arguments."""

PASSED_ON = {
    "pico_core/agent/listener.py": {
        "message",
        "reason",
        """f"{reason}; the token is that of '{self._credentials.path}'\"""",
        "f'{reason}; is connect.url that of its upstream port?'",
    },
    "pico_core/forward/machine.py": {"message", "explain(error)"},
    "pico_core/machine/base.py": {"message"},
    "pico_core/machine/logs.py": {"{'suppressed': window.suppressed}"},
    "pico_core/server/own_host.py": {"now"},
    "pico_core/server/cluster.py": {"event.problem"},
    "pico_core/gossip/stream_requests.py": {"str(error)"},
    "pico_core/server/gossip_streams.py": {"str(error)"},
    "adapters/asyncio/pico_asyncio/running.py": {"record.getMessage()", "str(context['message'])"},
    "adapters/common/pico_driver/embedding/logging_sink.py": {"record.message"},
    "pico_tunnel/logs.py": {"record.message"},
    "pico_tunnel/reloading.py": {"message"},
}
"""Messages that a module only passes on; they are collected where they are made. Those of a loop are not Pico's own."""

EXPLAINS = ROOT / "pico_core" / "dial.py"
"""Its function ``explain`` returns what an agent or a forwarder logs of an answer that is not a tunnel."""

ROW = re.compile(
    r"(?m)^\| (?P<levels>[a-z, ]+) \| (?P<subsystem>[^|]+) \| (?P<messages>[^|]+) \| [^|]{10,} \| [^|]{5,} \|$"
)
"""A row with levels, subsystems, messages, the meaning and what to do."""


@cache
def constants() -> dict[str, set[str]]:
    """Return the texts that have a name at the top of a module."""
    found: dict[str, set[str]] = {}
    for path in CODE:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, set()).update(texts(node.value, {}))
    return found


def texts(node: ast.expr, names: dict[str, set[str]]) -> set[str]:
    """Return what an expression may be: what varies becomes ``...``; nothing where it is not known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return texts(node.body, names) | texts(node.orelse, names)
    if isinstance(node, ast.JoinedStr):
        return {f"{beginning}..." for beginning in texts(node.values[0], {})}
    if isinstance(node, ast.Name):
        return names.get(node.id, set())
    return set()


def assigned(function: ast.AST) -> dict[str, set[str]]:
    """Return the texts that a function gives to its own names."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        pairs = (
            zip(target.elts, value.elts, strict=True)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
        for name, text in pairs:
            if isinstance(name, ast.Name):
                found.setdefault(name.id, set()).update(texts(text, {}))
    return found


def calls(path: Path) -> Iterator[tuple[str, ast.Call, dict[str, set[str]]]]:
    """Yield the calls of what logs, each with the texts of the names around it."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            names = constants() | assigned(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                    if name in LOGGERS and not isinstance(node.args[0], ast.Call):  # of a record made inside it
                        yield name, node, names


def explained() -> set[str]:
    """Return the texts of ``EXPLAINS``."""
    (function,) = [
        node
        for node in ast.parse(EXPLAINS.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "explain"
    ]
    returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
    return {text for value in returned for text in texts(value, {})}


def collected() -> tuple[dict[str, set[str]], set[str]]:
    """Return each message with the levels that are known of it, and the calls whose message is not known."""
    found: dict[str, set[str]] = {text: {"warning"} for text in explained()}
    unknown = set()
    for path in CODE:
        module = str(path.relative_to(ROOT))
        for name, call, names in calls(path):
            place = LOGGERS[name]
            message = call.args[min(place, len(call.args) - 1)]
            said = texts(message, names)
            if not said and ast.unparse(message) not in PASSED_ON.get(module, set()):
                unknown.add(f"{module}:{call.lineno} {ast.unparse(call)}")
            levels = texts(call.args[0], names) if name in ("log", "_log", "Log") else {"warning"}
            for text in said:
                found.setdefault(text, set()).update(levels)
    return found, unknown


def told() -> dict[str, set[str]]:
    """Return the messages of the page with their levels."""
    found: dict[str, set[str]] = {}
    for row in ROW.finditer(PAGE.read_text()):
        for message in re.findall(r"`([^`]+)`", row["messages"]):
            assert message not in found, f"twice: {message}"
            found[message] = set(row["levels"].split(", "))
    return found


def test_every_message_is_explained() -> None:
    found, unknown = collected()
    assert unknown == set()
    page = told()
    assert set(found) - set(page) == set(), "not on the page"
    assert set(page) - set(found) == set(), "on the page, and nowhere in the source"
    assert {message: levels for message, levels in found.items() if not levels <= page[message]} == {}


def test_every_row_can_be_read() -> None:
    """A row that the pattern misses would hide its messages."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| level")]
    assert [line for line in rows if not ROW.match(line)] == []
