"""The API reference has every public name, and each of its lines names something that has a docstring."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pico_asyncio
import pico_trio

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
NAMES = re.findall(r"(?m)^::: (\S+)$", PAGE)
SDK = "pico_driver.embedding.sdk.Sdk"


def test_names_of_the_reference_exist() -> None:
    found = {name: resolve_name(name) for name in NAMES}
    assert {name for name, each in found.items() if not each.__doc__} == set()


def test_the_sdk_is_there() -> None:
    shown = {resolve_name(name) for name in NAMES}
    for module in (pico_asyncio, pico_trio):
        for name in set(module.__all__) - {"Sink", "drive", "run", "run_program"}:
            each = getattr(module, name)
            assert each in shown or (resolve_name(SDK) in shown and name in ("connect", "dial", "serve_node")), name
