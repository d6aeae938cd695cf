"""Every dependency has one row in the page on dependencies, which says what it earns; every row has a dependency."""

import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "decisions" / "dependencies.md"


def name(requirement: str) -> str:
    """Return the name of a requirement such as ``uvloop>=0.20; sys_platform != 'win32'``, in small letters."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return found[0].lower()


def rows(columns: int) -> list[list[str]]:
    """Return the rows of the table with so many columns, without its head."""
    lines = re.findall(r"(?m)^\| (.+) \|$", PAGE.read_text())
    return [cells for line in lines if len(cells := line.split(" | ")) == columns and cells[0] != "package"]


def test_what_is_installed_has_one_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = Counter(package.lower() for cells in rows(2) for package in cells[0].split(", "))
    assert told == Counter(map(name, project["dependencies"]))


def test_what_is_in_an_extra_has_one_row() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = Counter(
        (package.lower(), extra.strip("`"))
        for cells in rows(3)
        for package in cells[0].split(", ")
        for extra in cells[1].split(", ")
    )
    assert told == Counter((name(each), extra) for extra, packages in extras.items() for each in packages)
