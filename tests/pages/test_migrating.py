"""The page on Piko says which of its flags stay, and which do not."""

import re
from pathlib import Path

import click

from pico_tunnel.commands import pico
from pico_tunnel.flags import ConfigCommand

PAGE = (Path(__file__).parents[2] / "docs" / "migrating" / "piko.md").read_text()
FLAG = re.compile(r"`(--[\w.-]+)`")


def accepted(*names: str) -> set[str]:
    """Return the flags of a command."""
    command: click.Command = pico
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert isinstance(command, ConfigCommand)
    params = command.get_params(click.Context(command))
    return {flag for param in params for flag in param.opts} | set(command.aliases)


ACCEPTED = {"server": accepted("server"), "agent": accepted("agent", "http"), "forward": accepted("forward", "tcp")}


def rows(title: str) -> dict[str, set[str]]:
    """Return the flags of the table below a title, by the first cell; of the first column alone where it has flags."""
    found = {}
    for line in PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines():
        if line.startswith("| "):
            first, second = line.strip("| ").split(" | ", 1)
            found[first] = set(FLAG.findall(first) or FLAG.findall(second))
    return found


def test_flags_that_stay_are_accepted() -> None:
    stay = rows("Flags and keys that stay")
    of_programs = {
        "agent": ["agent"],
        "agent, forwarder": ["agent", "forward"],
        "server, agent": ["server", "agent"],
        "all programs": ["server", "agent", "forward"],
    }
    for part, flags in stay.items():
        for program in of_programs.get(part, ["server"]):
            assert flags - ACCEPTED[program] == set()
    ports = {
        flag.replace("upstream", port)
        for flag in stay["tokens, of each of the three ports"]
        for port in ("proxy", "admin")
    }
    assert ports - ACCEPTED["server"] == set()
    assert sum(map(len, stay.values())) > 40


def test_flags_that_change_are_refused() -> None:
    change = set().union(*rows("Flags and keys that change").values())
    assert change & (ACCEPTED["server"] | ACCEPTED["agent"]) == {"--server.bind-addr"} & change
    assert len(change) >= 10
