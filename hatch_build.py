"""The compiled build: mypyc turns most of ``pico_core`` into C extensions. ``docs/decisions/compiled.md`` has the figures.

``PICO_COMPILED=1 pip wheel .`` makes a wheel with them, for this interpreter and this kind of machine; it needs a C
compiler. Without the variable nothing here runs, and the wheel is pure. ``scripts/compile`` makes a tree of sources and
extensions, in which the tests run.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "PICO_COMPILED"
NEEDED = ["mypy>=1.13", "setuptools>=65"]

NOT_COMPILED = {"config", "access", "admin", "bench"}
"""Packages in which a start or a question of an operator spends its time, and no request does."""

_AS_IT_IS = re.compile(r"^class .*\b(?:Record|Struct|Section)\b|^import h11", re.MULTILINE)
"""Modules with classes that msgspec makes, which mypyc cannot, and modules that use h11, whose types say ``bytes`` where it
gives ``bytearray``: compiled code checks that."""


def compiled_modules(core: Path) -> list[Path]:
    """Return the modules of ``pico_core`` that are compiled."""
    return [
        path
        for path in sorted(core.rglob("*.py"))
        if path.name != "__init__.py"
        and not NOT_COMPILED.intersection(path.relative_to(core).parts)
        and not _AS_IT_IS.search(path.read_text())
    ]


def compile_in(root: Path) -> list[Path]:
    """Compile ``pico_core`` below ``root``, a copy, each extension beside its source, and return the extensions.

    mypyc wants the modules by names that begin at the working directory, so this changes it.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    os.chdir(root)
    modules = [str(path.relative_to(root)) for path in compiled_modules(root / "pico_core")]
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--hide-error-context"]
    extensions = mypycify([*options, *modules], opt_level="2", debug_level="0", multi_file=True, group_name="pico_core")
    build = build_ext(Distribution({"ext_modules": extensions, "script_name": "hatch_build.py"}))
    build.inplace = True
    build.parallel = os.cpu_count()
    build.ensure_finalized()
    build.run()
    shutil.rmtree(root / "build")
    return [*sorted(root.glob("pico_core__mypyc.*")), *sorted((root / "pico_core").rglob("*.so"))]


class CompiledBuild(BuildHookInterface):  # type: ignore[type-arg]
    """The hook of hatchling."""

    def dependencies(self) -> list[str]:
        """Return what the build needs beside hatchling."""
        return NEEDED if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile a copy of the core, and have the wheel take the extensions."""
        if not _is_wanted() or self.target_name != "wheel" or version != "standard":
            return
        folder = Path(tempfile.mkdtemp(prefix="pico-compiled-"))
        copy_core(Path(self.root), folder)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {str(each): str(each.relative_to(folder)) for each in compile_in(folder)}


def copy_core(root: Path, folder: Path) -> None:
    """Copy ``pico_core`` to a folder that the build may fill."""
    for source in (root / "pico_core").rglob("*.py"):
        target = folder / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def _is_wanted() -> bool:
    return os.environ.get(VARIABLE, "") not in ("", "0")


if __name__ == "__main__":
    print(f"{len(compile_in(Path(sys.argv[1]).resolve()))} extensions")
