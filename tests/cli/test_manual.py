"""The man pages: every command has one, with all its flags, and groff has nothing to complain about."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pico_tunnel import manual

CONTEXTS = {context.command_path: context for context in manual.contexts()}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return manual.pages()


def shown(text: str) -> str:
    """Take roff's escapes back, as far as these pages use them."""
    for escape, character in (
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(ga", "`"),
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\&", ""),
    ):
        text = text.replace(escape, character)
    return text.replace("\\fB", "").replace("\\fR", "").replace("\\e", "\\")


def test_every_command_has_a_page(pages: dict[str, str]) -> None:
    assert set(pages) == {f"{path.replace(' ', '-')}.1" for path in CONTEXTS}
    assert {"pico.1", "pico-server.1", "pico-agent-http.1", "pico-server-status-cluster-nodes.1"} <= set(pages)


@pytest.mark.parametrize("path", CONTEXTS)
def test_a_page_has_all_that_the_help_has(path: str, pages: dict[str, str]) -> None:
    context = CONTEXTS[path]
    lines = shown(pages[f"{path.replace(' ', '-')}.1"]).splitlines()
    terms = [lines[at + 1] for at, line in enumerate(lines) if line == ".TP"]
    for param in context.command.get_params(context):
        if isinstance(param, click.Option) and not param.hidden:
            flags = [flag for flag in param.opts if flag.startswith("--")]
            assert any(flags[0] in term for term in terms), flags
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    assert lines[lines.index(".SH SYNOPSIS") + 1] == usage
    if isinstance(context.command, click.Group):
        assert set(context.command.list_commands(context)) <= set(terms)
    for line in getattr(context.command, "examples", "").splitlines():
        assert line in lines
    assert lines[lines.index(".SH NAME") + 1].startswith(f"{path.replace(' ', '-')} - ")


def test_pages_that_are_named_exist(pages: dict[str, str]) -> None:
    for text in pages.values():
        named = shown(text).partition(".SH SEE ALSO\n")[2].replace(",", "").splitlines()
        assert {f"{name.removesuffix('(1)')}.1" for name in named} <= set(pages)


@pytest.mark.parametrize(("text", "roff"), [(".TH", "\\&.TH"), ("'x", "\\&\\(aqx"), ("a\\b -c", "a\\eb \\-c")])
def test_what_roff_would_misread(text: str, roff: str) -> None:
    assert manual.escaped(text) == roff


def test_the_module_writes_them(tmp_path: Path) -> None:
    folder = tmp_path / "man" / "man1"
    done = subprocess.run(
        [sys.executable, "-m", "pico_tunnel.manual", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"{len(CONTEXTS)} pages" in done.stdout
    assert {path.name for path in folder.iterdir()} == set(manual.pages())


def test_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert manual.main([str(tmp_path / "file")]) == 1
    assert manual.main([]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.skipif(shutil.which("groff") is None, reason="left out: there is no groff to read the man pages with")
def test_groff_has_no_complaints(tmp_path: Path) -> None:
    manual.write(tmp_path)
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", *files], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
