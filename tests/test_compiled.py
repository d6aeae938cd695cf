"""Which modules of the core the compiled build takes."""

import inspect
from importlib import import_module
from pathlib import Path

import msgspec

import pico_core
from hatch_build import NOT_COMPILED, compiled_modules

CORE = Path(pico_core.__file__).parent


def has_to_stay(path: Path) -> bool:
    """Whether mypyc cannot compile a module: msgspec makes a class of it, or it uses h11."""
    module = import_module(".".join(("pico_core", *path.relative_to(CORE).with_suffix("").parts)))
    classes = [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]
    return any(issubclass(each, msgspec.Struct) for each in classes) or hasattr(module, "h11")


def test_what_can_be_compiled_is() -> None:
    candidates = {
        path
        for path in CORE.rglob("*.py")
        if path.name != "__init__.py" and not NOT_COMPILED.intersection(path.relative_to(CORE).parts)
    }
    compiled = set(compiled_modules(CORE))
    assert {path for path in candidates if not has_to_stay(path)} == compiled
