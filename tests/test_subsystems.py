"""``SUBSYSTEMS`` has every subsystem that something is logged of, and no other: they are collected from the source.

So ``pico log-level`` takes each of them, and refuses what nothing goes by.
"""

import ast

from pico_core.config.logs import SUBSYSTEMS
from pico_core.config.server_ports import PORTS, WORKER_PORTS
from tests.test_messages import CODE, PAGE, ROOT, ROW, assigned, constants, texts

PLACES = {"log": 1, "warn": 0, "Log": 1, "AccessLogger": 1, "Credentials": 1}
"""What logs, and at which place of the arguments the subsystem is."""

PASSED_ON = {
    "pico_core/server/node.py": {"name"},
    "pico_core/server/starting_tls.py": {"self._listener"},
    "pico_core/server/proxied.py": {"self._listener"},
    "pico_core/machine/base.py": {"subsystem", "event.listener"},
    "pico_core/machine/logs.py": {"{'suppressed': window.suppressed}"},
    "pico_core/credentials.py": {"self._subsystem"},
    "pico_tunnel/logs.py": {"record.subsystem"},
}
"""Subsystems that a module only passes on; they are collected where they are named: those of listeners in ``PORTS``."""

OTHERS = {"adapters/common/pico_driver/embedding/logging_sink.py"}
"""Modules that log with ``logging``."""


def named() -> tuple[set[str], set[str]]:
    """Return the subsystems that the source names, and the calls whose subsystem is not known."""
    found = {port.listener for port in (*PORTS, *WORKER_PORTS)}
    unknown = set()
    for path in CODE:
        module = str(path.relative_to(ROOT))
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            names = constants() | assigned(function)
            for node in ast.walk(function):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                    continue
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                is_record = name == "log" and node.args and isinstance(node.args[0], ast.Call)
                if name not in PLACES or is_record or module in OTHERS:
                    continue
                argument = node.args[min(PLACES[name], len(node.args) - 1)]
                said = texts(argument, names)
                if not said and ast.unparse(argument) not in PASSED_ON.get(module, set()):
                    unknown.add(f"{module}:{node.lineno} {ast.unparse(node)}")
                found |= said
    return found, unknown


def test_every_subsystem_is_known() -> None:
    found, unknown = named()
    assert unknown == set()
    assert sorted(found) == list(SUBSYSTEMS)


def test_the_page_names_them() -> None:
    cells = [row["subsystem"] for row in ROW.finditer(PAGE.read_text())]
    page = {name.strip().strip("`") for cell in cells for name in cell.split(",")}
    assert page - {"the port"} <= set(SUBSYSTEMS)
