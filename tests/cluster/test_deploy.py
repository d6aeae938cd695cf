"""The image and the manifests without an engine; ``tests/deploy/test_image.py`` builds and runs the image."""

import hashlib
import json
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from pathlib import Path

import pytest

from tests.cluster.harness import Command
from tests.cluster.manifest import PATH, page
from tests.e2e.harness import LOCAL
from tests.ports import reserved_port

PAGE_DIGEST = "b3a3b156d64b1f6bf5a5a1b103b0a54384aec163af4ead037c191604a192711b"
"""Of the manifests as the page gives them. The cluster's tests are about these, so that they are not to be changed."""

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "deploy" / "Dockerfile"


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each build stage with their arguments."""
    found: list[list[tuple[str, str]]] = []
    for line in DOCKERFILE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        assert not line.endswith("\\"), "one line each is enough"
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, arguments))
    return found


def last(instruction: str) -> str:
    """Return the last argument of an instruction, which counts."""
    return [arguments for name, arguments in stages()[-1] if name == instruction][-1]


def test_the_image_runs_pico_itself_as_nobody() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["pico"]
    assert json.loads(last("CMD")) == ["server"]
    assert last("STOPSIGNAL") == "SIGTERM"
    user, group = map(int, last("USER").split(":"))
    assert user > 0
    assert group > 0
    assert all(stage[0][1].startswith("python:3.13-slim") for stage in stages())


def test_the_image_has_all_that_it_is_built_from() -> None:
    build = stages()[0]
    copied = {name for instruction, names in build if instruction == "COPY" for name in names.split()[:-1]}
    assert all((PROJECT / name).exists() for name in copied)
    assert {"pico_core", "pico_tunnel", "adapters", "pyproject.toml", "README.md", "LICENSE"} <= copied
    commands = [json.loads(arguments) for instruction, arguments in build if instruction == "RUN"]
    assert commands[0] == ["python", "-m", "venv", "/opt/pico"]
    assert commands[1] == ["/opt/pico/bin/pip", "install", "--no-cache-dir", "."]
    assert "/opt/pico /opt/pico" in last("COPY")
    assert "/opt/pico/bin" in last("ENV")


def test_the_manifests_are_those_of_the_page() -> None:
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == PAGE_DIGEST


def test_the_image_exposes_the_ports_of_the_page() -> None:
    exposed = {int(port.partition("/")[0]) for port in last("EXPOSE").split()}
    assert exposed == {port["containerPort"] for port in page().container["ports"]}
    assert exposed == {port["port"] for port in page().service["spec"]["ports"]}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the project's wheel into a fresh environment, as the image does; return its ``pico``.

    Its dependencies come from the environment of the tests, so that no network is needed.
    """
    folder = tmp_path_factory.mktemp("image")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", query], check=True, capture_output=True, text=True).stdout.strip())
    # A folder named here is searched, but its own .pth files, such as that of an editable install, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "pico"


@pytest.mark.slow
def test_the_wheel_brings_all_packages_and_nothing_of_the_source_tree(installed: Path, tmp_path: Path) -> None:
    packages = "pico_core, pico_tunnel, pico_driver, pico_asyncio, pico_trio"
    code = f"import {packages}; print(*(each.__file__ for each in ({packages})))"
    python = installed.parent / "python"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert all(Path(file).is_relative_to(installed.parents[1]) for file in done.stdout.split())


@pytest.mark.slow
def test_the_manifest_starts_a_node_from_the_image(installed: Path, tmp_path: Path) -> None:
    with reserved_port() as admin, reserved_port() as gossip:
        arguments = (
            *page().arguments(tmp_path / "config"),
            *("--proxy.bind-addr", f"{LOCAL}:0", "--upstream.bind-addr", f"{LOCAL}:0"),
            *("--admin.bind-addr", f"{LOCAL}:{admin}", "--cluster.gossip.bind-addr", f"{LOCAL}:{gossip}"),
            *("--drain-delay", "0s", "--cluster.join", f"{LOCAL}:{admin}"),  # instead of a name
        )
        node = Command(str(installed), *arguments, environment={"POD_NAME": "pico-0"})
        try:
            assert str(node.await_log("ready")["node_id"]).startswith("pico-0-")
            with urllib.request.urlopen(f"http://{LOCAL}:{admin}/ready", timeout=5) as response:
                assert response.status == 200
        finally:
            node.ask_to_stop()
            node.await_stop()
