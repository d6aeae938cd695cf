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
CHECKS = sorted(
    path
    for name in ("benchmarks", "examples", "fuzz", "scripts", "tests")
    for path in (ROOT / name).rglob("*.py")
    if path != Path(__file__)
)

TO_COME = {"fuzz/corpus/NAME/", "pico_core/proxy/http2/"}
"""Where pages say that something is to be added."""
GONE = {"http/head.py"}
"""Names of the former structure, on the page about it."""
OUTSIDE = {
    "EventSource",
    "HostKeyAlias",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_RESOURCE_ATTRIBUTES",
    "ParseDuration",
}
"""Names of other projects: browsers, OpenSSH, OpenTelemetry, Go."""

LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]+)?\)")
SPAN = re.compile(r"``?([^`\n]+)``?")
FILE = re.compile(r"[\w./-]+\.(?:py|md|html)|[a-z_][\w.-]*(?:/[\w.-]+)*/")
"""A code span that is a path as a whole."""
PATH = re.compile(rf"(?<![\w/.:<>-])(?:(?:{'|'.join(FOLDERS)})/[\w./-]*\w|(?:[\w-]+/)*[\w-]+\.py)\b(?![<*{{])")
"""A path anywhere, in a command or a sentence: below a folder of the project, or that of a module."""
TITLE = re.compile(r'title="([^"]+)"')
"""A file that the reader of a page makes."""
TEST = re.compile(r"\btest_\w+")
NAME = re.compile(r"\b(?:[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+|[A-Z]+(?:_[A-Z0-9]+)+)\b")

DOTTED = re.compile(r"[A-Z]\w*(?:\.[a-z_]\w*)+(?:\(\))?")


@cache
def paths() -> frozenset[str]:
    """Return every file and every folder of one, each also by the ends of its path."""
    found: set[str] = set()
    for path in [
        *ROOT.glob("*"),
        *ROOT.glob(".ci/*"),
        *(path for name in FOLDERS for path in (ROOT / name).rglob("*")),
    ]:
        if path.is_file() and "__pycache__" not in path.parts:  # what a module that is gone has left is not a folder
            parts = path.relative_to(ROOT).parts
            for end in range(1, len(parts) + 1):
                found |= {"/".join(parts[start:end]) + "/" * (end < len(parts)) for start in range(end)}
    return frozenset(found)


@cache
def checks() -> frozenset[str]:
    """Return the name of every test and of every module of tests."""
    modules = [path for name in ("tests", "fuzz", "examples") for path in (ROOT / name).rglob("test_*.py")]
    named = {name for path in modules for name in re.findall(r"def (test_\w+)", path.read_text())}
    return frozenset(named | {path.stem for path in modules})


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
    """Return every docstring of a module, every text below a constant, and every comment."""
    tree = ast.parse(path.read_text())
    texts = [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    with path.open("rb") as file:
        texts += [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    return "\n".join(texts)


def named(text: str) -> set[str]:
    return {span.strip() for span in SPAN.findall(text)}


def missing_names(text: str) -> set[str]:
    """Return the names in code spans that no code has: ``SomeClass``, ``SOME_CONSTANT``, ``SomeClass.attribute``."""
    names = {name for span in named(text) for name in NAME.findall(span)}
    dotted = {name for span in named(text) if DOTTED.fullmatch(span) for name in span.rstrip("()").split(".")}
    return (names | dotted) - words() - OUTSIDE


def exists(path: str) -> bool:
    """Whether there is such a file or folder: below the root where the path begins there, else anywhere."""
    if path.split("/")[0] in FOLDERS and "/" in path.rstrip("/"):
        return (ROOT / path).exists() and not {path, path + "/"}.isdisjoint(paths())
    return not {path, path + "/"}.isdisjoint(paths())


def missing_files(text: str) -> set[str]:
    """Return the paths that do not exist, in code spans, commands and sentences, and such tests in code spans."""
    files = {span for span in named(text) if FILE.fullmatch(span)} | set(PATH.findall(text))
    gone = {file for file in files if not exists(file.removeprefix("./"))}
    return {file for file in gone if not {file, file + "/"} & (TO_COME | GONE)} | missing_tests(text)


def missing_tests(text: str) -> set[str]:
    return {name for span in named(text) for name in TEST.findall(span)} - checks()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page(page: Path) -> None:
    text = page.read_text()
    links = [(target, anchor) for target, anchor in LINK.findall(text) if "://" not in target]
    targets = {target: (page.parent / target).resolve() if target else page for target, _ in links}
    assert {target for target, path in targets.items() if not path.exists()} == set()
    to_anchors = {(target, anchor) for target, anchor in links if anchor and targets[target].suffix == ".md"}
    assert {each for each in to_anchors if each[1] not in anchors(targets[each[0]])} == set()
    assert missing_files(text) - set(TITLE.findall(text)) == set()
    assert missing_names(text) == set()


@pytest.mark.parametrize("path", [*CODE, *CHECKS], ids=lambda path: str(path.relative_to(ROOT)))
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


@pytest.mark.parametrize(
    "text",
    [
        "`tests/core/server/admin/test_gone.py`",
        "``tests/gone/``",
        "tests/gone.py says so",
        "```\n.venv/bin/python tests/gone.py --all\n```",
        "`python scripts/gone.py ../before`",
        "``server/gone.py``",
        "`core/server/admin/test_gone.py`",
        "`docs/core/server/admin/test_service.py`",
        "`test_gone`",
        "`tests/pages/test_pages.py::test_gone`",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    assert missing_files(text)


@pytest.mark.parametrize(
    "text",
    [
        "`tests/core/server/admin/test_service.py`",
        "``tests/core/server/``, tests/core and `server/admin/`",
        "`python scripts/structure.py ../before`",
        "`tests/pages/test_pages.py::test_a_page`",
        "https://issuer.example.com/docs/keys.py",
        "`tests/frameworks/<name>_app.py`",
    ],
)
def test_what_exists_is_not_found_missing(text: str) -> None:
    assert missing_files(text) == set()
