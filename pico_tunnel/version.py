"""The output of ``pico --version``: the version, the runtime, Python and the commit."""

from __future__ import annotations

import platform
from pathlib import Path

from pico_tunnel import __version__
from pico_tunnel.runtime import installed

DISTRIBUTION = "pico-tunnel"


def text() -> str:
    """Return the lines; that of the commit is left out where it is not known."""
    first, *others = installed()
    known = commit()
    lines = [
        f"pico {__version__}",
        f"runtime: {first}" + (f" (also here: {', '.join(others)})" if others else ""),
        f"python:  {platform.python_implementation()} {platform.python_version()}",
        f"build:   {build()}",
    ]
    return "\n".join([*lines, f"commit:  {known}"] if known else lines)


def build() -> str:
    """Return whether this is the compiled build (``docs/decisions/compiled.md``)."""
    import pico_core.timers

    is_pure = pico_core.timers.__file__.endswith(".py")
    return "pure Python" if is_pure else "pico_core compiled by mypyc"


def commit() -> str:
    """Return the commit that was installed: from a repository's URL (PEP 610), or the one of an editable clone."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
        if "vcs_info" in origin:
            return str(origin["vcs_info"]["commit_id"])
        if origin.get("dir_info", {}).get("editable"):
            return head(Path(url2pathname(urlsplit(origin["url"]).path)))
    except (PackageNotFoundError, ValueError, KeyError, TypeError, AttributeError, OSError):
        pass
    return ""


def head(folder: Path) -> str:
    """Return the commit that is checked out in a clone. Raises ``OSError`` where ``folder`` is not a clone."""
    git = folder / ".git"
    name = (git / "HEAD").read_text().strip()
    if not name.startswith("ref: "):
        return name
    name = name.removeprefix("ref: ")
    if (git / name).is_file():
        return (git / name).read_text().strip()
    rows = (line.split() for line in (git / "packed-refs").read_text().splitlines())
    return next((row[0] for row in rows if row[1:] == [name]), "")
