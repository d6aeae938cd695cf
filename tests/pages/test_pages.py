"""Pages and docstrings name files, pages and names of the code that exist."""

import ast
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "adapters",
    "benchmarks",
    "deploy",
    "docs",
    "examples",
    "fuzz",
    "pico_core",
    "pico_tunnel",
    "scripts",
    "tests",
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
CODE = sorted(path for name in ("pico_core", "pico_tunnel", "adapters") for path in (ROOT / name).rglob("*.py"))

TO_COME = {"pico_core/proxy/http2/"}
"""Where pages say that something is to be added."""
GONE = {"http/head.py"}
"""What the page on the structure names as it was before."""
OUTSIDE = {"HostKeyAlias", "ParseDuration"}
"""Names of other projects: OpenSSH, Go."""

LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]+)?\)")
SPAN = re.compile(r"``?([^`\n]+)``?")
FILE = re.compile(r"[\w./-]+\.(?:py|md|html)|[a-z_][\w.-]*(?:/[\w.-]+)*/")
NAME = re.compile(r"\b(?:[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+|[A-Z]+(?:_[A-Z0-9]+)+)\b")

DOTTED = re.compile(r"[A-Z]\w*(?:\.[a-z_]\w*)+(?:\(\))?")


@cache
def paths() -> frozenset[str]:
    """Return every file and folder, each also by the ends of its path."""
    found: set[str] = set()
    for path in [
        *ROOT.glob("*"),
        *ROOT.glob(".ci/*"),
        *(path for name in FOLDERS for path in (ROOT / name).rglob("*")),
    ]:
        parts = path.relative_to(ROOT).parts
        found |= {"/".join(parts[start:]) + "/" * path.is_dir() for start in range(len(parts))}
    return frozenset(found)


@cache
def words() -> frozenset[str]:
    """Return every word of the code and the deployment, docstrings and comments aside."""
    found: set[str] = set()
    code = (path for name in FOLDERS if name != "docs" for path in (ROOT / name).rglob("*"))
    for path in (*ROOT.glob("*.py"), *code):
        if path.suffix == ".py" and path != Path(__file__):
            with path.open("rb") as file:
                for token in tokenize.tokenize(file.readline):
                    if token.type != tokenize.COMMENT and not token.string.startswith('"""'):
                        found.update(re.findall(r"\w+", token.string))
        elif path.suffix in {".yaml", ".tpl", ".json", ".service", ".txt"}:
            found.update(re.findall(r"\w+", path.read_text()))
    return frozenset(found)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page, as Markdown makes them of headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return frozenset("#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)


def docstrings(path: Path) -> str:
    """Return every docstring of a module, and every text below a constant."""
    tree = ast.parse(path.read_text())
    return "\n".join(
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


def named(text: str) -> set[str]:
    return {span.strip() for span in SPAN.findall(text)}


def missing_names(text: str) -> set[str]:
    """Return the names in code spans that no code has: ``SomeClass``, ``SOME_CONSTANT``, ``SomeClass.attribute``."""
    names = {name for span in named(text) for name in NAME.findall(span)}
    dotted = {name for span in named(text) if DOTTED.fullmatch(span) for name in span.rstrip("()").split(".")}
    return (names | dotted) - words() - OUTSIDE


def missing_files(text: str) -> set[str]:
    files = {span for span in named(text) if FILE.fullmatch(span)}
    return {file for file in files if file.removeprefix("./") not in paths()} - TO_COME - GONE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page(page: Path) -> None:
    text = page.read_text()
    links = [(target, anchor) for target, anchor in LINK.findall(text) if "://" not in target]
    targets = {target: (page.parent / target).resolve() if target else page for target, _ in links}
    assert {target for target, path in targets.items() if not path.exists()} == set()
    to_anchors = {(target, anchor) for target, anchor in links if anchor and targets[target].suffix == ".md"}
    assert {each for each in to_anchors if each[1] not in anchors(targets[each[0]])} == set()
    assert missing_files(text) == set()
    assert missing_names(text) == set()


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings(path: Path) -> None:
    text = docstrings(path)
    assert missing_files(text) == set()
    assert missing_names(text) == set()


def test_every_page_can_be_found_from_the_readme() -> None:
    waiting, found = [ROOT / "README.md"], {ROOT / "README.md"}
    while waiting:
        page = waiting.pop()
        targets = {(page.parent / target).resolve() for target, _ in LINK.findall(page.read_text()) if target}
        folders = {path / "README.md" for path in targets if path.is_dir()}
        new = {path for path in targets | folders if path.suffix == ".md" and path.is_file()} - found
        found |= new
        waiting += new
    assert {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if page not in found} == set()
