"""The machines that a page's commands run at: network namespaces, with the names and ports that the page has."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.certificates import issue, write_authority
from tests.cluster.network import Namespace, Network
from tests.e2e.harness import Lines
from tests.e2e.origin import Origin
from tests.pages.blocks import ROOT, Command

SERVER = "pico.example.com"
MACHINES = {"on the server": 14, "beside the service": 15, "on the client": 16, "on the second server": 17}
"""The titles of blocks, and the last number of the machine's address. Without a title it is the server's machine."""

LONG_RUNNING = {
    r"pico server(?! [a-z])": '"ready"',
    r"pico agent": '"endpoint registered"',
    r"pico forward": '"listening"',
    r"python -m http\.server": "Serving HTTP",
    r"python serve\.py": "http://",
}
"""Commands that run until they are stopped, and what they print when they work."""

SSH_CONFIG = """\
IdentityFile {folder}/ssh-user
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking accept-new
LogLevel ERROR
"""


class Machines:
    """Runs commands in one folder; those that do not end are killed with the context, the last one first."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, environment: dict[str, str]) -> None:
        self._stack = stack
        self._folder = folder
        self._environment = environment
        self._namespaces: dict[str, Namespace] = {}

    def add(self, title: str, namespace: Namespace, names: str) -> None:
        settings = Path("/etc/netns") / namespace.name
        (settings / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (settings / "ssh").mkdir()
        (settings / "ssh" / "ssh_config").write_text(SSH_CONFIG.format(folder=self._folder))
        self._namespaces[title] = namespace

    def serve(self, title: str, port: int) -> None:
        """Have an HTTP service at a machine, which answers with the request."""
        with self._namespaces[title].entered():
            self._stack.callback(Origin(port).close)

    def run(self, command: Command) -> tuple[int, str]:
        """Run a command; return its exit code and its output: 0 and nothing of one that runs on, when it works."""
        for pattern, word in LONG_RUNNING.items():
            if re.match(pattern, command.text):
                self.start(command, word)
                return 0, ""
        done = subprocess.run(
            self._line(command, command.text),
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self, command: Command, word: str) -> None:
        """Start a command that runs on, and wait until it prints a word."""
        process = subprocess.Popen(
            self._line(command, f"exec {command.text}"),
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        lines = Lines(process.stdout)
        self._stack.callback(lines.finish)
        self._stack.callback(process.wait, 20)
        self._stack.callback(process.kill)
        lines.await_line(lambda line: word in line, command.text, 0, 30.0)

    def folder_of(self, user: str) -> Path:
        """Return a folder that another user of the system owns."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pico-pages-"))
        shutil.chown(folder, user, user)
        return Path(folder)

    def _line(self, command: Command, text: str) -> list[str]:
        namespace = self._namespaces[command.machine or "on the server"]
        return [*namespace.prefix, "/bin/sh", "-c", text]


def environment(folder: Path, programs: Path) -> dict[str, str]:
    return os.environ | {
        "HOME": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "SSL_CERT_FILE": str(folder / "tests-ca.pem"),
    }


def write_programs(folder: Path) -> Path:
    """Write ``pico`` and ``python`` of this environment; return their folder."""
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in (("pico", "-m pico_tunnel "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {arguments}"$@"\n')
        program.chmod(0o755)
    return programs


@contextlib.contextmanager
def machines(folder: Path, programs: Path, names: set[str]) -> Iterator[Machines]:
    """All machines. ``names`` are those below the server's that the page has in URLs."""
    authority = write_authority(folder)
    (folder / ".curlrc").write_text(f"silent\nshow-error\ncacert = {authority}\n")  # as at a terminal: no meter
    files = issue(folder, SERVER, f"*.{SERVER}")
    Path(files.cert).rename(folder / "cert.pem")
    Path(files.key).rename(folder / "key.pem")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        made = Machines(stack, folder, environment(folder, programs))
        namespaces = {title: network.namespace(title.replace(" ", "-"), number) for title, number in MACHINES.items()}
        address = namespaces["on the server"].address
        for title, namespace in namespaces.items():
            made.add(title, namespace, "".join(f"{address} {name}\n" for name in sorted({SERVER, *names})))
        yield made
