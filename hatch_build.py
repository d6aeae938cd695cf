"""The compiled build: mypyc turns most of ``pico_core`` into C extensions.

``PICO_COMPILED=1 pip wheel .`` makes a wheel with them, for this interpreter and this kind of machine; it needs a C
compiler. Without the variable nothing here runs, and the wheel is pure. ``scripts/compile`` runs tests on such a build;
``docs/decisions/compiled.md`` has the figures.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "PICO_COMPILED"
NEEDED = ["mypy>=1.13", "setuptools>=65"]

NOT_COMPILED = {"config", "access", "admin", "bench"}
"""Packages in which a start or a question of an operator spends its time, and no request does."""

_AS_IT_IS = re.compile(r"^class .*\b(?:Record|Struct|Section)\b|^import h11", re.MULTILINE)
"""Modules with classes that msgspec makes, which mypyc cannot; and modules that use h11: its types say ``bytes`` where
it gives ``bytearray``, and compiled code checks types."""


class CompiledBuild(BuildHookInterface):  # type: ignore[type-arg]
    """The hook of hatchling."""

    def dependencies(self) -> list[str]:
        """Return what the build needs beside hatchling: mypyc, and the packages whose types it looks at."""
        return [*NEEDED, *self.metadata.core.dependencies] if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile a copy of the core, and have the wheel take the extensions."""
        if not _is_wanted() or version != "standard":
            return
        folder = Path(tempfile.mkdtemp(prefix="pico-compiled-"))
        shutil.copytree(Path(self.root, "pico_core"), folder / "pico_core", ignore=shutil.ignore_patterns("*.so"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {str(each): str(each.relative_to(folder)) for each in compile_in(folder)}


def compile_in(folder: Path) -> list[Path]:
    """Compile the ``pico_core`` in a folder, each extension beside its source, and return the extensions.

    mypyc names modules by their paths from the working directory, so this changes it.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    os.chdir(folder)
    modules = [str(path.relative_to(folder)) for path in compiled_modules(folder / "pico_core")]
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--hide-error-context"]
    extensions = mypycify([*options, *modules], opt_level="2", debug_level="0", multi_file=True, group_name="pico_core")
    build = build_ext(Distribution({"ext_modules": extensions, "script_name": Path(__file__).name}))
    build.inplace = True
    build.parallel = os.cpu_count()
    build.ensure_finalized()
    build.run()
    return [*folder.glob("pico_core__mypyc.*"), *(folder / "pico_core").rglob("*.so")]


def compiled_modules(core: Path) -> list[Path]:
    """Return the modules of ``pico_core`` that are compiled."""
    return [
        path
        for path in sorted(core.rglob("*.py"))
        if path.name != "__init__.py"
        and not NOT_COMPILED.intersection(path.relative_to(core).parts)
        and not _AS_IT_IS.search(path.read_text())
    ]


def _is_wanted() -> bool:
    return os.environ.get(VARIABLE, "") not in ("", "0")
