"""The fenced blocks of the pages: which commands they have, and what a page says that those print."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])

FENCE = re.compile(r"(?ms)^```([^\n]*)\n(.*?)^```$")
TITLE = re.compile(r'title="([^"]*)"')

COMMENT = re.compile(r"(?:^| +)# .*")

COMMANDS = {"sh", "console"}
"""``sh``: each line is a command. ``console``: a line that begins with ``$ `` is one, and its output follows."""

OTHERS = {"haproxy", "ini", "json", "nginx", "python", "text", "yaml"}

LEFT_OUT_LINES = "...\n"
"""Stands for any number of lines of output."""

DIFFERENT = re.compile(
    r"""
    (?P<time>\d\d:\d\d:\d\d)
  | (?P<id>\b[0-9a-f]{16,32}\b)
  | (?P<node>\bpico-(?:\d-)?[a-z0-9]{7}\b)
  | (?P<span>\b\d+(?:\.\d+)?\ (?:us|ms|s|min|h|B|KiB|MiB)\b)
  | (?P<number>\b\d+(?:\.\d+)+\b)
  | (?P<files>(?<=up\ to\ )\d+)
  | (?P<space>\ +)
    """,
    re.VERBOSE,
)
"""The parts of an output that differ from run to run; a version and an address are numbers with dots."""

PATTERNS = {
    "time": r"\d\d:\d\d:\d\d",
    "id": r"[0-9a-f]+",
    "node": r"[a-z0-9-]+",
    "span": r"\d+(?:\.\d+)? (?:us|ms|s|min|h|B|KiB|MiB)",
    "number": r"\d+(?:\.\d+)+",
    "files": r"\d+",
    "space": r" +",
}


class Block(NamedTuple):
    """A fenced block. The title is a machine for commands, and the name of the file for anything else."""

    language: str
    title: str
    text: str


class Command(NamedTuple):
    """A command, the machine that the page types it at, and the output that it shows; empty if it shows none."""

    text: str
    machine: str = ""
    output: str = ""


def blocks(page: Path) -> list[Block]:
    found = []
    for info, text in FENCE.findall(page.read_text()):
        title = TITLE.search(info)
        found.append(Block(info.partition(" ")[0], title[1] if title else "", text))
    return found


def commands(page: Path) -> list[Command]:
    return [command for block in blocks(page) if block.language in COMMANDS for command in _commands(block)]


def _commands(block: Block) -> list[Command]:
    lines = re.sub(r" *\\\n *", " ", block.text).splitlines(keepends=True)
    if block.language == "sh":
        typed = [COMMENT.sub("", line).strip() for line in lines]
        return [Command(text, block.title) for text in typed if text]
    found: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ ").strip(), block.title))
        else:
            assert found, f"output before a command: {line}"
            found[-1] = found[-1]._replace(output=found[-1].output + line)
    return found


def is_shown(expected: str, printed: str) -> bool:
    """Tell whether an output is the one of the page, apart from what differs from run to run."""
    pattern = "".join(r"(?:.*\n)*?" if line == LEFT_OUT_LINES else _pattern(line) for line in expected.splitlines(True))
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed.splitlines())) is not None


def _pattern(line: str) -> str:
    pieces, end = [], 0
    for match in DIFFERENT.finditer(line):
        pieces += [re.escape(line[end : match.start()]), PATTERNS[str(match.lastgroup)]]
        end = match.end()
    return "".join([*pieces, re.escape(line[end:])])
