"""Runtimes by name: the choice, and the same machine on each of them."""

import pytest

from pico_core.boundary import Command, Exit, Input
from pico_core.errors import ConfigError
from pico_core.records import AccessLog, Log
from pico_tunnel.runtime import RUNTIMES, choose, installed, run


class Ended:
    """A machine that says one word and is done."""

    def __init__(self) -> None:
        self._commands: list[Command] = [Log("info", "test", "hello", {}), Exit(3, "enough")]

    def handle(self, event: Input, now: float) -> None:
        pass

    def poll(self) -> Command | None:
        return self._commands.pop(0) if self._commands else None

    def deadline(self) -> float | None:
        return None


def test_the_default_is_the_first_that_is_installed() -> None:
    assert choose(None, ("asyncio", "trio", "uvloop")) == "uvloop"
    assert choose(None, ("trio", "asyncio")) == "asyncio"


def test_a_runtime_that_is_not_installed() -> None:
    assert choose("trio", ("asyncio", "trio")) == "trio"
    with pytest.raises(ConfigError) as raised:
        choose("uvloop", ("asyncio", "trio"))
    assert str(raised.value) == "--runtime: uvloop is not installed here; install it, or take --runtime asyncio"


def test_asyncio_is_always_there() -> None:
    assert "asyncio" in installed()
    assert set(installed()) <= set(RUNTIMES)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_machine_runs_to_its_end(runtime: str) -> None:
    if runtime not in installed():
        pytest.skip(f"{runtime} is not installed")
    heard: list[Log | AccessLog] = []
    assert run(Ended(), heard.append, runtime) == Exit(3, "enough")
    assert heard == [Log("info", "test", "hello", {})]
