"""Every limit is a key, or in the table of those without a key, with its reason."""

import ast
import importlib
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pico_core
import pico_driver
from pico_tunnel import fixed_limits

CORE = Path(pico_core.__file__).parent
DRIVERS = Path(pico_driver.__file__).parent
NAME = re.compile(r"(^|_)MAX_|^(MOST|LARGEST|LONGEST)_|_LIMITS?(_|$)|_DEADLINE|_TIMEOUT")


def numbers() -> Iterator[str]:
    """Yield the numeric constants whose names say that they bound something, with their modules."""
    for root, prefix in ((CORE, ""), (DRIVERS, "pico_driver.")):
        for path in sorted(root.rglob("*.py")):
            module = prefix + ".".join(path.relative_to(root).with_suffix("").parts)
            for statement in ast.parse(path.read_text()).body:
                match statement:
                    case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                        value = getattr(
                            importlib.import_module((prefix and module) or f"pico_core.{module}"), name, None
                        )
                        if NAME.search(name) and isinstance(value, int | float):
                            yield f"{module}.{name}"


def constants() -> set[str]:
    """Return the names of all constants in the tables, as the tables name them."""
    values = [value for rows in fixed_limits.ROWS.values() for _, value, _, _ in rows]
    return {name for value in values for _, name, _, _ in string.Formatter().parse(value) if name}


def test_every_constant_that_bounds_something_is_in_the_table() -> None:
    found = set(numbers())
    assert len(found) > 100
    missing = found - constants()
    assert not missing, f"make it a key, or add a row to pico_tunnel/limit_rows: {sorted(missing)}"


def test_every_row_has_its_value_and_a_reason() -> None:
    lines = [line for table in fixed_limits.lines() for line in table.splitlines() if line.startswith("|")]
    rows = [line.split("|")[1:-1] for line in lines]
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)
    assert (
        "| resets of a tunnel | 1000 a second, 4096 at once | the tunnel is closed | one stream in use is reset once |"
        in lines
    )
