"""Prints how the code is built, and fails where it is built otherwise than agreed: ``docs/decisions/structure.md``.

``python scripts/structure.py`` for this checkout, with the root of another one as argument for that.

A *floor*: a folder (or a module that lies in none) stands above all that it imports; the ground is floor 1. A *circle*:
modules that import each other, also for types only. Both are read from the imports in the text, wherever they stand.
"""

import ast
import statistics
import sys
from pathlib import Path

PACKAGES = (
    "pico_core",
    "adapters/common/pico_driver",
    "adapters/asyncio/pico_asyncio",
    "adapters/trio/pico_trio",
    "pico_tunnel",
    "pico",
)
"""The last one was the name of ``pico_tunnel`` until it moved."""

AROUND = ("tests", "fuzz", "benchmarks", "examples", "scripts")
"""Folders whose modules have the same bound of lines; their imports are not looked at."""

MAX_FLOORS = 8
MAX_MODULE_LINES = 450

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Return the path of every module by its dotted name."""
    found = {}
    for package in PACKAGES:
        folder = (root / package).parent
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(paths: dict[str, Path]) -> Graph:
    """Return which modules each module imports."""
    graph: Graph = {}
    for name, path in paths.items():
        taken: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                taken |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    taken.add(inner if inner in paths else node.module)
        graph[name] = {each for each in taken if each in paths and each != name}
    return graph


def room(name: str) -> str:
    """Return the folder of a module, as far as floors count it."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "pico_core" and len(parts) > 1 else parts[0]


def circles(graph: Graph) -> list[list[str]]:
    """Return the sets of modules that reach each other."""
    reached: Graph = {name: set() for name in graph}
    for name, seen in reached.items():
        waiting = list(graph[name])
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += graph[each]
    rings = {
        frozenset(other for other in seen if name in reached[other]) for name, seen in reached.items() if name in seen
    }
    return [sorted(ring) for ring in rings]


def floors(graph: Graph) -> dict[str, int]:
    """Return the floor of every folder; folders that import each other stand on the same one."""
    below: Graph = {}
    for name, taken in graph.items():
        below.setdefault(room(name), set()).update(room(each) for each in taken if room(each) != room(name))
    found: dict[str, int] = {}

    def floor(name: str, above: tuple[str, ...]) -> int:
        if name not in found:
            found[name] = 1 + max((floor(each, (*above, name)) for each in below[name] if each not in above), default=0)
        return found[name]

    for name in below:
        floor(name, ())
    return found


def functions(paths: dict[str, Path]) -> dict[str, int]:
    """Return the lines of every function, without its decorators."""
    sizes = {}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                sizes[f"{name}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    return sizes


def longest_around(root: Path) -> tuple[int, str]:
    """Return the lines and the path of the longest module that lies around the code."""
    found = [path for folder in AROUND for path in (root / folder).rglob("*.py")]
    return max(((len(path.read_text().splitlines()), str(path.relative_to(root))) for path in found), default=(0, ""))


def identical_lines(paths: dict[str, Path], one: str, other: str) -> int:
    """Return how many lines of package ``one`` stand in ``other`` too, blank lines and imports left out."""
    lines: dict[str, set[str]] = {one: set(), other: set()}
    for name, path in paths.items():
        package = name.partition(".")[0]
        if package in lines:
            stripped = (line.strip() for line in path.read_text().splitlines())
            lines[package] |= {line for line in stripped if len(line) > 3 and not line.startswith(("from ", "import "))}
    return len(lines[one] & lines[other])


def main(root: Path) -> int:
    """Print the table; return 1 if a bound is broken."""
    paths = modules(root)
    graph = imports(paths)
    rings, by_floor, sizes = circles(graph), floors(graph), functions(paths)
    lines = {name: len(path.read_text().splitlines()) for name, path in paths.items()}
    longest, largest = max(sizes, key=sizes.__getitem__), max(lines, key=lines.__getitem__)
    for floor in range(max(by_floor.values()), 0, -1):
        print(f"floor {floor}: {', '.join(sorted(name for name, at in by_floor.items() if at == floor))}")
    for ring in rings:
        print(f"circle: {', '.join(ring)}")
    print(f"floors             {max(by_floor.values())}")
    print(f"circles            {len(rings)}")
    print(f"modules            {len(lines)}")
    print(f"largest module     {lines[largest]} lines, {largest}")
    around, where = longest_around(root)
    print(f"largest around it  {around} lines, {where}")
    print(f"longest function   {sizes[longest]} lines, {longest}")
    print(f"median function    {statistics.median(sizes.values()):g} lines of {len(sizes)}")
    print(f"identical lines    {identical_lines(paths, 'pico_asyncio', 'pico_trio')} in both adapters")
    is_too_long = max(lines[largest], around) > MAX_MODULE_LINES
    return int(bool(rings) or max(by_floor.values()) > MAX_FLOORS or is_too_long)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
