"""The image of deploy/Dockerfile, built and run by podman, with a store of its own and without a registry.

The image that the Dockerfile begins with is made from Debian's packages: the release and the Python are those of the
official image, and so are the places of its programs.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.harness import Command
from tests.cluster.network import Namespace

ROOT = Path(__file__).parents[2]

BASE = "docker.io/library/python:3.13-slim"
RELEASE = "trixie"
"""The release of Debian whose Python is 3.13, and which the official image has."""

IMAGE = "localhost/pico:test"

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Of this machine: where it reaches the package index through a proxy, pip has to trust that one."""

PASSED_ON = ("PIP_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""The beginnings of the variables that say how this machine reaches the package index."""

MAKE_BASE = r"""
mkdir -p "$1/usr/local/bin" "$1/etc/ssl/certs"
for name in python python3 python3.13; do ln -s /usr/bin/python3.13 "$1/usr/local/bin/$name"; done
find "$1/usr" -name '*.pyc' -delete
[ ! -f {authorities} ] || cp {authorities} "$1{authorities}"
"""
"""As in the official image: Python in /usr/local/bin, and no compiled standard library."""


RUN = (
    "--rm",
    "--cgroups=disabled",
    f"--ulimit=nofile={resource.getrlimit(resource.RLIMIT_NOFILE)[1]}",
    "--ulimit=nproc=1024",
)
"""Flags of every container: the limits that podman sets otherwise may be above those of this machine."""

_HYBRID = "/sys/fs/cgroup/unified"

APART = ("unshare", "--mount", "sh", "-c", f'umount {_HYBRID} 2>/dev/null; exec "$@"', "podman")
"""Mounts of its own, so that none is left, and without the groups of version 2 beside those of version 1, which crun
refuses even where it makes none."""


def why_no_engine() -> str:
    """Return why no image can be built here; empty if it can be."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("mmdebstrap", "podman", "crun") if shutil.which(name) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


class UnavailableError(Exception):
    """The packages of the base image cannot be had here."""


class Engine:
    """Podman with all that it keeps in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = [
            *(*APART, "podman", "--root", f"{folder}/store", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp"),
            *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
            *("--runtime", "crun", "--log-level", "error"),
        ]  # fmt: skip
        registries = folder / "registries.conf"
        registries.write_text('unqualified-search-registries = ["docker.io"]\n')
        self._environment = {**os.environ, "TMPDIR": str(folder), "CONTAINERS_REGISTRIES_CONF": str(registries)}

    def run(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run a command of podman that must succeed; return its output."""
        done = self.attempt(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *arguments: str, timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._command, *arguments],
            capture_output=True, text=True, check=False, timeout=timeout_s, env=self._environment,
        )  # fmt: skip

    def make_base(self) -> None:
        """Make the image that the Dockerfile begins with. Raises ``UnavailableError``."""
        file, hook = self._folder / "base.tar", self._folder / "hook"
        hook.write_text("#!/bin/sh\nset -eu\n" + MAKE_BASE.format(authorities=AUTHORITIES))
        hook.chmod(0o755)
        done = subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--include=python3,python3-venv"),
                *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"),
                *(f"--customize-hook={hook}", RELEASE, str(file)),
            ],
            capture_output=True, text=True, check=False, timeout=240, env=self._environment,
        )  # fmt: skip
        assert str(hook) not in done.stderr, done.stderr
        if done.returncode != 0:
            raise UnavailableError(f"mmdebstrap left with {done.returncode}: {done.stderr}")
        passed = [f"ENV {name}={value}" for name, value in os.environ.items() if name.startswith(PASSED_ON)]
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        changes = [word for change in (path, *passed) for word in ("--change", change)]
        self.run("import", *changes, str(file), BASE)
        file.unlink()

    def build(self, file: Path, image: str) -> None:
        """Build an image from a Dockerfile and the project, with what .dockerignore leaves of it."""
        flags = ("--isolation=chroot", "--pull=never", "--layers=false")
        self.run("build", *flags, "--file", str(file), "--tag", image, str(ROOT), timeout_s=280.0)

    def inspect(self, image: str) -> dict[str, object]:
        (found,) = json.loads(self.run("image", "inspect", image))
        return dict(found)

    def start(self, name: str, namespace: Namespace, *arguments: str) -> Command:
        """Run a container in a network namespace; signals of the command reach its first process."""
        resolver = f"/etc/netns/{namespace.name}/resolv.conf:/etc/resolv.conf:ro"
        place = ("--network", f"ns:/run/netns/{namespace.name}", "--volume", resolver)
        return Command(*self._command, "run", *RUN, "--name", name, *place, *arguments, environment=self._environment)

    def inside(self, name: str, code: str) -> str:
        """Run a line of Python in a container; return what it prints."""
        return self.run("exec", name, "python", "-c", code).strip()


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """An engine with the image of the project; nothing of it is left in the end. Raises ``UnavailableError``."""
    with tempfile.TemporaryDirectory(prefix="pico-engine-") as folder:
        made = Engine(Path(folder))
        try:
            made.make_base()
            made.build(ROOT / "deploy" / "Dockerfile", IMAGE)
            yield made
        finally:
            made.attempt("rm", "--all", "--force", "--time", "0")


if __name__ == "__main__":
    with engine() as running:
        sys.stdout.write(f"{running.inspect(IMAGE)['Size']}\n")
