"""Completion: each shell's script, and every command and flag as what it completes."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from pico_tunnel import manual
from pico_tunnel.cli import main
from pico_tunnel.commands import pico
from pico_tunnel.completion import HINTS, VARIABLE

CONTEXTS = {context.command_path: context for context in manual.contexts()}


def completed(*words: str) -> set[str]:
    """Return what a shell offers for the last word."""
    kind = get_completion_class("bash")
    assert kind is not None
    found = kind(pico, {}, "pico", VARIABLE).get_completions(list(words[:-1]), words[-1])
    return {item.value for item in found}


@pytest.mark.parametrize("shell", HINTS)
def test_a_script_asks_pico_for_the_words(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert f"{VARIABLE}={shell}_complete" in captured.out
    assert "_pico_completion" in captured.out
    assert f"pico completion {shell}" in HINTS[shell]


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_command_and_flag_is_completed(path: str) -> None:
    context, words = CONTEXTS[path], path.split()[1:]
    if isinstance(context.command, click.Group):
        assert set(context.command.list_commands(context)) <= completed(*words, "")
    flags = {
        flag
        for param in context.command.get_params(context)
        if isinstance(param, click.Option) and not param.hidden
        for flag in param.opts
        if flag.startswith("--")
    }
    assert flags <= completed(*words, "--")


def test_words_that_do_not_exist_offer_nothing_and_break_nothing() -> None:
    assert completed("agent", "htp", "--conn") == set()
    assert completed("server", "chek", "--reques") == set()
    assert completed("agent", "http", "my-endpoint", "3000", "--connect.u") == {"--connect.url"}
    assert completed("server", "--runtime", "") == {"uvloop", "asyncio", "trio"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="left out: there is no bash to complete in")
def test_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "pico"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pico_tunnel "$@"\n')
    program.chmod(0o755)
    script = """
        PATH=$1:$PATH
        source <(pico completion bash)
        COMP_WORDS=(pico agent ht)
        COMP_CWORD=2
        _pico_completion pico
        printf '%s\\n' "${COMPREPLY[@]}"
        complete -p pico
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == "http"
    assert "-F _pico_completion pico" in second
