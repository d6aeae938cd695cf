"""The commands of README and of the pages run as they stand there, in a folder of their own and on free ports.

Only hosts and ports are others: ``placed`` puts those of the test in their place, and adds them where a command goes by
the defaults. A page's commands run one after the other in one folder, as its reader would type them. Those that cannot
run here are in ``LEFT_OUT``, with the reason.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.certificates import issue, write_authority
from tests.e2e.harness import LOCAL, Lines
from tests.e2e.origin import Origin
from tests.ports import reserved_port

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])

CLUSTER = "wants a Kubernetes cluster; tests/deploy and tests/cluster render and play what it applies"
DOCKER = "wants a Docker daemon and a registry"
LONG = "takes minutes to an hour; CI and tests/sim/test_chaos.py run histories of their own"
LEFT_OUT = {
    "scripts/demo": "makes an environment from the network; tests/e2e runs the same processes",
    "scripts/test": "is what runs this test",
    "pip install .": "takes what is missing from the network",
    "docker build -f deploy/Dockerfile -t my-repo/pico:latest . && docker push my-repo/pico:latest": DOCKER,
    "docker compose up --build --detach": DOCKER,
    "kubectl apply -f deploy/kubernetes/pico.yaml": CLUSTER,
    "kubectl exec pico-0 -- pico server status cluster nodes": CLUSTER,
    "helm install pico deploy/helm/pico --set image.repository=my-repo/pico --set image.tag=latest": CLUSTER,
    "helm install pico deploy/helm/pico -f deploy/helm/pico/examples/hardened.yaml": CLUSTER,
    "helm test pico": CLUSTER,
    "python -m tests.sim --seeds 1-50": LONG,
    "python -m tests.sim --seed 7 --minutes 5": LONG,
    "python -m tests.sim --stage all": LONG,
    "python -m tests.sim soak --minutes 60": LONG,
    "python -m tests.sim.gossip_targets --long": LONG,
    "git archive --prefix=before/ 4124b6b | tar x -C ..": "wants a history that reaches back to that commit",
    "python scripts/structure.py ../before": "wants what the command before it writes",
}

FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
PROGRAMS = ("curl", "docker", "git", "helm", "kubectl", "pico", "pip", "python")
COMMENT = re.compile(r" {3,}(?=[a-z])")
"""What stands between a command and what a page says of it, in the same line."""

LONG_RUNNING = {
    "pico server --": '"ready"',
    "pico agent": '"endpoint registered"',
    "pico forward": '"listening"',
}
"""Commands that run until they are stopped, and what their log says when they work. A server has flags by then."""

PREPARED = {
    "docs/operating.md": ["pico server --cluster.node-id pico-1-x7k2m9q"],
    "docs/sdk.md": ["pico server"],
    "docs/troubleshooting.md": [
        "pico server",
        "pico agent http my-endpoint 5432",
        "pico agent http web 5432",
        "curl -H 'x-pico-endpoint: web' http://pico.example.com:8000/",
    ],
}
"""What the reader of a page has running before its first command. Nothing listens at 5432."""

SERVICE_IS_DOWN = {"docs/troubleshooting.md"}
"""Pages on which nothing listens at 3000 either."""

ENDS = {
    "docs/policies.md": {"CI_PASSWORD=": (1, "answer:           403 this client's network is not allowed here")},
    "docs/troubleshooting.md": {
        "curl -i": (0, "X-Pico-Error: service-"),
        "pico explain": (3, "A request now would FAIL:  service-"),
        "pico doctor": (1, "connection refused"),
    },
    "README.md": {"curl": (0, '"method": "GET"'), "pico bench": (0, "200")},
    "docs/tokens.md": {"curl": (0, '"method": "GET"')},
    "docs/operating.md": {"pico server status cluster nodes --server.url": (0, "id: pico-1-x7k2m9q")},
}
"""How commands end that do not end with 0, or whose output the page promises: exit code, and a part of it."""

APP = """
async def _asgi(scope, receive, send):
    await receive()


def app(*arguments):
    return _asgi(*arguments) if len(arguments) == 3 else []
"""


def commands(page: Path) -> list[str]:
    """Return the commands of a page's fenced blocks; lines that follow ``$ `` commands are their output."""
    found = []
    for language, block in FENCE.findall(page.read_text()):
        if language not in ("", "console", "sh", "bash"):
            continue
        lines = block.replace("\\\n", " ").splitlines()
        typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or [
            line for line in lines if line.split(" ")[0] in PROGRAMS or line.startswith("scripts/")
        ]
        found += [re.sub(" {2,}", " ", COMMENT.split(line)[0]) for line in typed]
    return found


class Places(NamedTuple):
    """The ports of the test that stand for those of the pages."""

    proxy: int
    upstream: int
    admin: int
    gossip: int
    service: int
    database: int
    local: int


def placed(command: str, places: Places) -> str:
    """Return a command with the ports of this test."""
    secure = "https" if "https://" in command else "http"
    for name, port in (
        ("pico.example.com:8001", places.upstream),
        ("pico.example.com:8000", places.proxy),
        ("10.26.104.14:8002", places.admin),
    ):
        if not command.startswith("curl"):
            command = command.replace(name, f"localhost:{port}")
    if command.startswith("curl"):
        return f"{command} --silent --show-error --connect-to ::{LOCAL}:{places.proxy}"
    if command.startswith("pico forward tcp 5432"):
        return command.replace(" 5432", f" {places.local}")
    command = command.replace(" 3000", f" {places.service}").replace(" 5432", f" {places.database}")
    if re.match(r"pico server(?! [a-z])", command):
        bound = {name: getattr(places, name.rpartition(".")[2]) for name in PORTS}
        return command + "".join(f" --{name}.bind-addr {LOCAL}:{port}" for name, port in bound.items())
    if command.startswith(("pico server status", "pico explain", "pico log-level")) and "--server.url" not in command:
        return f"{command} --server.url http://localhost:{places.admin}"
    if command.startswith("pico agent") and "--connect.url" not in command:
        return f"{command} --connect.url {secure}://localhost:{places.upstream}"
    return command


PORTS = ("proxy", "upstream", "admin", "cluster.gossip")


class Shell:
    """Runs commands in a folder; those that do not end are killed by ``close``, the last one first."""

    def __init__(self, folder: Path, places: Places) -> None:
        tools = folder / "bin"
        tools.mkdir()
        for name, arguments in (("pico", "-m pico_tunnel "), ("python", "")):
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n')
            tool.chmod(0o755)
        self._folder = folder
        self._places = places
        self._environment = os.environ | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": str(folder / "tests-ca.pem"),
        }
        self._running: list[tuple[subprocess.Popen[bytes], Lines]] = []

    def run(self, command: str, ends: dict[str, tuple[int, str]]) -> None:
        text = placed(command, self._places)
        for beginning, word in LONG_RUNNING.items():
            if text.startswith(beginning):
                self._start(text, word)
                return
        done = subprocess.run(
            ["/bin/sh", "-c", text],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        code, part = next((end for beginning, end in ends.items() if command.startswith(beginning)), (0, ""))
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        assert part in done.stdout, f"{command}\n{done.stdout}{done.stderr}"

    def _start(self, command: str, word: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        lines = Lines(process.stderr)
        self._running.append((process, lines))
        lines.await_line(lambda line: word in line, command, 0, 30.0)

    def close(self) -> None:
        for process, lines in reversed(self._running):
            process.kill()
            process.wait(20)
            lines.finish()


@contextlib.contextmanager
def shell(folder: Path, *, has_service: bool) -> Iterator[Shell]:
    origin = Origin()
    with contextlib.ExitStack() as stack:
        stack.callback(origin.close)
        database = stack.enter_context(socket.socket())
        database.bind((LOCAL, 0))  # it does not listen: a connection to it is refused
        proxy, upstream, admin, gossip, local = (stack.enter_context(reserved_port()) for _ in range(5))
        nowhere = int(database.getsockname()[1])
        service = origin.port if has_service else nowhere
        places = Places(proxy, upstream, admin, gossip, service, nowhere, local)
        running = Shell(folder, places)
        stack.callback(running.close)
        yield running


RUN = {
    str(page.relative_to(ROOT)): found
    for page in PAGES
    if (found := [each for each in commands(page) if each not in LEFT_OUT])
}


@pytest.mark.debian
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page == "docs/simulation.md" else page for page in RUN]
)
def test_the_commands_of_a_page(tmp_path: Path, page: str) -> None:
    (tmp_path / "main.py").write_text(APP)
    blocks = FENCE.findall((ROOT / page).read_text())
    (tmp_path / "server.yaml").write_text(next((block for language, block in blocks if language == "yaml"), ""))
    write_authority(tmp_path)
    files = issue(tmp_path, "localhost")
    Path(files.cert).rename(tmp_path / "cert.pem")
    Path(files.key).rename(tmp_path / "key.pem")
    with shell(tmp_path, has_service=page not in SERVICE_IS_DOWN) as running:
        for command in PREPARED.get(page, []):
            running.run(command, {})
        for command in RUN[page]:
            running.run(command, ENDS.get(page, {}))


def test_what_is_left_out_is_there() -> None:
    typed = {command for page in PAGES for command in commands(page)}
    assert set(LEFT_OUT) - typed == set()
    assert len(typed - set(LEFT_OUT)) >= 20
