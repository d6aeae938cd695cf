"""The commands of README and of the pages run as they stand there, and print what the pages show.

Each page has machines of its own: network namespaces, in which names such as ``pico.example.com`` and ports such as
8000 are what the page says. Its commands run one after the other, as its reader would type them. Those that cannot run
here are in ``LEFT_OUT``, with the reason.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster.network import why_not
from tests.pages.blocks import COMMANDS, OTHERS, PAGES, ROOT, Command, blocks, commands, is_shown
from tests.pages.machines import Machines, machines, write_programs
from tests.pages.services import start_postgres, start_redis, start_sshd

CLUSTER = "wants a Kubernetes cluster; tests/deploy and tests/cluster render and play what it applies"
DOCKER = "wants a Docker daemon and a registry; tests/deploy/test_image.py builds and runs the image with podman"
DEMO = "makes an environment from the network; test_the_demo runs it"
INSTALL = "takes packages from the network; test_a_fresh_environment runs it"
LONG = "takes minutes to an hour; CI and tests/sim/test_chaos.py run histories of their own"
LEFT_OUT = {
    "scripts/demo": DEMO,
    "scripts/test": "is what runs this test",
    "python3 -m venv ~/pico-venv": INSTALL,
    ". ~/pico-venv/bin/activate": INSTALL,
    "pip install .": INSTALL,
    "pip install '.[otel]'": INSTALL,
    "docker build -f deploy/Dockerfile -t my-repo/pico:latest . && docker push my-repo/pico:latest": DOCKER,
    "docker compose up --build --detach": DOCKER,
    "kubectl apply -f deploy/kubernetes/pico.yaml": CLUSTER,
    "kubectl exec pico-0 -- pico server status cluster nodes": CLUSTER,
    "helm install pico deploy/helm/pico --set image.repository=my-repo/pico --set image.tag=latest": CLUSTER,
    "helm install pico deploy/helm/pico -f deploy/helm/pico/examples/hardened.yaml": CLUSTER,
    "helm install pico deploy/helm/pico -f deploy/helm/pico/examples/workers.yaml": CLUSTER,
    "helm test pico": CLUSTER,
    "pico doctor server --config.path /config/server.yaml --config.expand-env": CLUSTER,
    "python -m tests.sim --seeds 1-50": LONG,
    "python -m tests.sim --seed 7 --minutes 5": LONG,
    "python -m tests.sim --stage all": LONG,
    "python -m tests.sim soak --minutes 60": LONG,
    "python -m tests.sim.gossip_targets --long": LONG,
    "git archive --prefix=before/ 4124b6b | tar x -C ..": "wants a history that reaches back to that commit",
    "python scripts/structure.py ../before": "wants what the command before it writes",
}

HOSTS = re.compile(r"[\w-]+(?:\.[\w-]+)*\.pico\.example\.com")

APP = """
async def _asgi(scope, receive, send):
    await receive()


def app(*arguments):
    return _asgi(*arguments) if len(arguments) == 3 else []
"""


class Setting(NamedTuple):
    """The set-up before the first command of a page, and the exit codes of the commands that do not end with 0."""

    prepared: tuple[Command, ...] = ()
    has_service: bool = True
    """The service of the pages is at port 3000."""
    services: tuple[Callable[[Machines, Path], None], ...] = ()
    codes: tuple[tuple[str, int], ...] = ()
    """Exit codes by the beginnings of commands."""
    parts: tuple[tuple[str, str], ...] = ()
    """A part of what a command prints of which the page shows nothing, by its beginning."""


CHECK_HOOKS = "pico server check --config.path server.yaml --request 'POST https://hooks.pico.example.com/'"

SETTINGS = {
    "README.md": Setting(parts=(("curl", '"method": "GET"'), ("pico bench", "200"))),
    "docs/guides/database.md": Setting(services=(start_postgres, start_redis)),
    "docs/guides/fleet.md": Setting(codes=(("pico doctor agent http device-2", 1),)),
    "docs/guides/own-cloud.md": Setting(parts=(("curl", '"method": "GET"'),)),
    "docs/guides/ssh.md": Setting(services=(start_sshd,)),
    "docs/guides/web-app.md": Setting(parts=(("curl", '"method": "GET"'),)),
    "docs/guides/webhooks.md": Setting(
        codes=((f"{CHECK_HOOKS} --client 198", 1),),
        parts=(("curl", '"method": "POST"'),),
    ),
    "docs/migrating/cloudflared.md": Setting(services=(start_postgres,)),
    "docs/migrating/frp.md": Setting(services=(start_sshd,)),
    "docs/migrating/ngrok.md": Setting(parts=(("curl", '"method": "GET"'),)),
    "docs/operating.md": Setting(
        prepared=(Command("pico server --cluster.node-id pico-1-x7k2m9q"),),
        parts=(("pico server status cluster nodes --server.url", "id: pico-1-x7k2m9q"),),
    ),
    "docs/policies.md": Setting(codes=(("CI_PASSWORD=", 1),)),
    "docs/quick-start.md": Setting(has_service=False, codes=(("pico explain helo", 3),)),
    "docs/sdk.md": Setting(prepared=(Command("pico server"),)),
    "docs/tokens.md": Setting(parts=(("curl", '"method": "GET"'),)),
    "docs/tutorials/asyncio.md": Setting(has_service=False),
    "docs/tutorials/trio.md": Setting(has_service=False),
    "docs/upgrades.md": Setting(prepared=(Command("pico server"),)),
    "docs/troubleshooting.md": Setting(
        prepared=(
            Command("pico server --cluster.node-id-prefix pico-0-"),
            Command(
                "pico server --cluster.node-id-prefix pico-2- --cluster.join pico.example.com", "on the second server"
            ),
            Command("pico agent http web 3000 --connect.url http://10.77.0.17:8001", "beside the service"),
        ),
        has_service=False,
        codes=(("pico explain", 3), ("pico doctor", 1)),
    ),
}


def starting(pairs: tuple[tuple[str, object], ...], command: str) -> object:
    return next((value for beginning, value in pairs if command.startswith(beginning)), None)


def check(made: Machines, command: Command, setting: Setting) -> None:
    code, printed = made.run(command)
    said = f"{command.text}\n{printed}"
    assert code == (starting(setting.codes, command.text) or 0), said
    assert not command.output or is_shown(command.output, printed), f"{said}\nthe page has:\n{command.output}"
    assert str(starting(setting.parts, command.text) or "") in printed, said


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows, and an application."""
    (folder / "main.py").write_text(APP)
    for block in blocks(page):
        if block.title and block.language not in COMMANDS:
            (folder / block.title).write_text(block.text)


RUN = {
    str(page.relative_to(ROOT)): found
    for page in PAGES
    if (found := [each for each in commands(page) if each.text not in LEFT_OUT])
}


def run_page(name: str, folder: Path, programs: Path) -> None:
    page, setting = ROOT / name, SETTINGS.get(name, Setting())
    write_files(page, folder)
    with machines(folder, programs, set(HOSTS.findall(page.read_text()))) as made:
        if setting.has_service:
            made.serve("on the server", 3000)
            made.serve("beside the service", 3000)
        for start in setting.services:
            start(made, folder)
        for command in setting.prepared:
            code, printed = made.run(command)
            assert code == 0, printed
        for command in RUN[name]:
            check(made, command, setting)


@pytest.fixture(autouse=True)
def _namespaces(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("namespaces") and why_not():
        pytest.skip(why_not())


@pytest.mark.debian
@pytest.mark.namespaces
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page == "docs/simulation.md" else page for page in RUN]
)
def test_the_commands_of_a_page(tmp_path: Path, page: str) -> None:
    run_page(page, tmp_path, write_programs(tmp_path))


@pytest.mark.slow
@pytest.mark.debian
@pytest.mark.namespaces
def test_a_fresh_environment(tmp_path: Path) -> None:
    """README's commands install Pico into a new environment, as the quick start's do; its others run with that."""
    typed = [[command.text for command in commands(ROOT / page)] for page in ("README.md", "docs/quick-start.md")]
    install, again = ([text for text in texts if LEFT_OUT.get(text) is INSTALL] for texts in typed)
    assert install == again
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(tmp_path), "PATH": paths}
    subprocess.run(["sh", "-ec", "\n".join(install)], cwd=ROOT, env=environment, check=True)
    run_page("README.md", tmp_path, tmp_path / "pico-venv" / "bin")


def test_the_demo() -> None:
    done = subprocess.run(
        ["scripts/demo"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert "Hello from a service that only the agent can reach." in done.stdout


def test_what_is_left_out_is_there() -> None:
    typed = {command.text for page in PAGES for command in commands(page)}
    assert set(LEFT_OUT) - typed == set()
    assert len(typed - set(LEFT_OUT)) >= 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_block_says_what_it_has(page: Path) -> None:
    """So no command can stand in a block that is not run."""
    assert {block.language for block in blocks(page)} - COMMANDS - OTHERS == set()


@pytest.mark.parametrize(
    ("printed", "is_as_shown"),
    [
        ("HTTP/1.1 502 Bad Gateway\nDate: today\nX: 00c9a31d2b84e17f\n", True),
        ("HTTP/1.1 503 Bad Gateway\nX: 5f0c9a31d2b84e17\n", False),
        ("HTTP/1.1 502 Bad Gateway\nX: none\n", False),
        ("HTTP/1.1 502 Bad Gateway\nX: 5f0c9a31d2b84e17\nmore\n", False),
    ],
)
def test_what_is_printed_is_compared(printed: str, is_as_shown: bool) -> None:
    assert is_shown("HTTP/1.1 502 Bad Gateway\n...\nX: 5f0c9a31d2b84e17\n", printed) == is_as_shown
