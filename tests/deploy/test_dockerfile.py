"""The image, by the rules of hadolint that matter here; each is tried on a file that breaks it too."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """Return name and arguments of each instruction, lines that go on joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in pairs]


def is_exec_form(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), list)
    except ValueError:
        return False


def broken_rules(text: str) -> set[str]:
    """Return the numbers of hadolint's rules that a Dockerfile breaks, of those that are checked here."""
    parts, found = instructions(text), set()
    stages: list[str] = []
    for name, rest in parts:
        if name == "FROM":
            image, *alias = re.split(r"\s+AS\s+", rest, flags=re.IGNORECASE)
            if image not in stages and ":" not in image and "@" not in image:
                found.add("DL3006")
            if image.endswith(":latest"):
                found.add("DL3007")
            stages += alias
        found |= {
            "WORKDIR": {"DL3000"} if name == "WORKDIR" and not rest.startswith("/") else set(),
            "ADD": {"DL3020"},
            "CMD": set() if is_exec_form(rest) else {"DL3025"},
            "ENTRYPOINT": set() if is_exec_form(rest) else {"DL3025"},
            "MAINTAINER": {"DL4000"},
            "RUN": _of_run(rest),
            "COPY": _of_copy(rest, stages),
        }.get(name, set())
    names = [name for name, _ in parts[max(at for at, part in enumerate(parts) if part[0] == "FROM") :]]
    found |= {rule for rule, name in (("DL4003", "CMD"), ("DL4004", "ENTRYPOINT")) if names.count(name) > 1}
    users = [rest for name, rest in parts if name == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.add("DL3002")
    return found


def _of_run(command: str) -> set[str]:
    words = " ".join(json.loads(command)) if is_exec_form(command) else command
    found = set()
    if re.search(r"\bsudo\b", words):
        found.add("DL3004")
    if re.search(r"\bapt(-get)? install\b", words):
        found |= {"DL3014"} if " -y" not in words else set()
        found |= {"DL3015"} if "--no-install-recommends" not in words else set()
        found |= {"DL3009"} if "rm -rf /var/lib/apt/lists" not in words else set()
    if re.search(r"\bapt\b(?!-)", words.replace("/apt/", "")):
        found.add("DL3027")
    if re.search(r"\bpip3? install\b", words) and "--no-cache-dir" not in words:
        found.add("DL3042")
    if "|" in words and "pipefail" not in words:
        found.add("DL4006")
    return found


def _of_copy(arguments: str, stages: list[str]) -> set[str]:
    source = re.search(r"--from=(\S+)", arguments)
    found = {"DL3022"} if source and source[1] not in stages else set()
    paths = [word for word in arguments.split() if not word.startswith("--")]
    return found | ({"DL3021"} if len(paths) > 2 and not paths[-1].endswith("/") else set())


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("FROM python", "DL3006"),
        ("FROM python:latest", "DL3007"),
        ("WORKDIR src", "DL3000"),
        ("ADD . /src", "DL3020"),
        ("CMD pico server", "DL3025"),
        ('ENTRYPOINT ["a"]\nENTRYPOINT ["b"]', "DL4004"),
        ("USER root", "DL3002"),
        ("USER 0:0", "DL3002"),
        ("RUN apt-get update && apt-get install curl", "DL3014"),
        ("RUN apt-get update && apt-get install -y curl", "DL3015"),
        ("RUN apt-get update && apt-get install -y --no-install-recommends curl", "DL3009"),
        ("RUN apt install -y curl", "DL3027"),
        ('RUN ["pip", "install", "."]', "DL3042"),
        ("RUN sudo true", "DL3004"),
        ("RUN curl x | sh", "DL4006"),
        ("COPY --from=nobody /a /b", "DL3022"),
        ("COPY a b c", "DL3021"),
    ],
)
def test_a_rule_finds_what_breaks_it(line: str, rule: str) -> None:
    good = 'FROM a:1 AS b\nUSER 1\nCMD ["x"]\n'
    assert broken_rules(good) == set()
    assert rule in broken_rules(f"{good}{line}\n")


def test_the_image_breaks_no_rule() -> None:
    assert broken_rules((ROOT / "deploy" / "Dockerfile").read_text()) == set()


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    given = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    copies = [rest for name, rest in instructions((ROOT / "deploy" / "Dockerfile").read_text()) if name == "COPY"]
    copied = {word for rest in copies if "--from" not in rest for word in rest.split()[:-1]}
    assert given == copied
    assert all((ROOT / name).exists() for name in given)
    assert any(fnmatch("pico_core/__pycache__", pattern) for pattern in patterns[1:])
