"""The image is built from deploy/Dockerfile as it is, and runs as the manifests and the compose demo run it."""

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pico_tunnel import __version__
from tests.cluster.harness import ask
from tests.cluster.network import Namespace, Network, why_not
from tests.deploy.engine import BASE, IMAGE, ROOT, RUN, Engine, UnavailableError, engine, why_no_engine
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import Head, Wire, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.debian, pytest.mark.namespaces, pytest.mark.timeout(600)]

COMPOSE = ROOT / "deploy" / "compose"
NODES = {"pico-1": 11, "pico-2": 12, "pico-3": 13}

MOST_ADDED_BYTES = 90 << 20
"""What Pico, its packages and the compiled standard library may add to the image of Python."""


@pytest.fixture(scope="module")
def built() -> Iterator[Engine]:
    if reason := why_no_engine() or why_not():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(engine())
        except UnavailableError as error:
            pytest.skip(f"the base image cannot be made: {error}")
        yield made


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


def flags(service: dict[str, Any]) -> list[str]:
    """Return what a service of the compose file is, as flags of podman."""
    found = [f"--env={name}={value}" for name, value in service.get("environment", {}).items()]
    for volume in service.get("volumes", ()):
        source, target, mode = volume.split(":")
        found.append(f"--volume={(COMPOSE / source).resolve()}:{target}:{mode}")
    found += [f"--cap-drop={name}" for name in service.get("cap_drop", ())]
    found += [f"--security-opt={option.removesuffix(':true')}" for option in service.get("security_opt", ())]
    if service.get("read_only"):
        found += ["--read-only", "--read-only-tmpfs=false"]
    return found


HARDENED = flags(yaml.safe_load((COMPOSE / "compose.yaml").read_text())["x-pico"])


def get(client: Namespace, host: str, endpoint: str, path: str = "/") -> tuple[Head, bytes]:
    with Wire(client.connect((host, 8000))) as wire:
        wire.send(request_bytes(endpoint, path))
        return receive_response(wire)


def wait_for_endpoint(client: Namespace, host: str) -> None:
    wait_until(lambda: get(client, host, "hello")[0].status == 200, f"{host} knows the endpoint")


def test_the_image_has_pico_and_no_more_than_it_needs(built: Engine) -> None:
    image = built.inspect(IMAGE)
    config = dict(image["Config"])  # type: ignore[call-overload]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["pico"]
    assert config["Cmd"] == ["server"]
    added = int(str(image["Size"])) - int(str(built.inspect(BASE)["Size"]))
    assert added < MOST_ADDED_BYTES, f"{added / (1 << 20):.0f} MiB"
    said = built.run("run", *RUN, "--network=none", *HARDENED, IMAGE, "--version")
    assert said.startswith(f"pico {__version__}\n")
    assert "runtime: uvloop" in said
    assert re.search(r"python: +CPython 3\.13\.", said)


def test_the_builder_gets_the_files_that_are_under_version_control(built: Engine, tmp_path: Path) -> None:
    """By .dockerignore as the engine reads it; the caches of this checkout stay where they are."""
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {BASE}\nCOPY . /given\n")
    built.build(file, "localhost/given:test")
    line = "import pathlib; print(*(p for p in pathlib.Path('/given').rglob('*') if p.is_file()), sep='\\n')"
    found = built.run("run", *RUN, "--network=none", "localhost/given:test", "python", "-c", line)
    given = {each.removeprefix("/given/") for each in found.split()}
    names = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "pico_core", "pico_tunnel", "adapters")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert given == set(listed.stdout.split())


def test_a_node_drains_on_sigterm_as_the_first_process(built: Engine, network: Network) -> None:
    node_place, agent_place = network.namespace("node", 11), network.namespace("agent", 12)
    client = network.namespace("client", 13)
    arrived, may_answer = threading.Event(), threading.Event()

    def slow(visit: Visit) -> None:
        arrived.set()
        may_answer.wait(PATIENCE_S)
        visit.respond(b"late")

    with contextlib.ExitStack() as stack:
        node = built.start("node", node_place, *HARDENED, IMAGE)
        stack.callback(node.await_stop)
        stack.callback(node.ask_to_stop)
        node.await_log("ready")
        assert ask((node_place.address, 8002), "/health", client.connect) == 200
        assert ask((node_place.address, 8002), "/ready", client.connect) == 200
        assert built.inside("node", "print(open('/proc/1/cmdline').read().split(chr(0))[1:3])") == (
            "['/opt/pico/bin/pico', 'server']"
        )
        assert built.inside("node", "import os; print(os.getuid(), os.getgid())") == "65532 65532"
        status = built.inside("node", "print(open('/proc/1/status').read())")
        assert re.search(r"CapEff:\s+0+\n", status)
        assert re.search(r"NoNewPrivs:\s+1\n", status)
        assert "Read-only file system" in built.inside("node", WRITE)
        assert built.inside("node", "import json; print(__import__('os').path.exists(json.__cached__))") == "True"
        with agent_place.entered():
            origin = Origin(3000)
        stack.callback(origin.close)
        path = origin.handle(slow)
        url = f"http://{node_place.address}:8001"
        agent = built.start(
            "agent", agent_place, *HARDENED, IMAGE, "agent", "http", "web", "3000", "--connect.url", url
        )
        stack.callback(agent.await_stop)
        stack.callback(agent.ask_to_stop)
        agent.await_log("endpoint registered")
        assert get(client, node_place.address, "web")[0].status == 200
        with Wire(client.connect((node_place.address, 8000))) as wire:
            wire.send(request_bytes("web", path))
            assert arrived.wait(PATIENCE_S)
            node.ask_to_stop()
            wait_until(lambda: ask((node_place.address, 8002), "/ready", client.connect) == 503, "it drains")
            may_answer.set()
            head, body = receive_response(wire)
        assert (head.status, body) == (200, b"late")
        node.await_stop()


WRITE = """
try:
    open('/opt/pico/file', 'w')
except OSError as error:
    print(error.strerror)
"""


def test_the_compose_demo_without_its_monitoring(built: Engine, network: Network, tmp_path: Path) -> None:
    """Its nodes, agent, service and balancer, with their own arguments, files and rights, from its client's view."""
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    places = {name: network.namespace(name, number) for name, number in NODES.items()}
    balancer, hello, client = (
        network.namespace(name, 14 + at) for at, name in enumerate(("balancer", "hello", "curl"))
    )
    network.resolve("pico", [place.address for place in places.values()])
    with contextlib.ExitStack() as stack:
        for name, place in places.items():
            node = built.start(name, place, *flags(services[name]), IMAGE, *services[name]["command"])
            stack.callback(node.await_stop)
            stack.callback(node.ask_to_stop)
            assert str(node.await_log("ready")["node_id"]).startswith(f"{name}-")
        (Path("/etc/netns") / balancer.name / "hosts").write_text(
            "".join(f"{place.address} {name}\n" for name, place in places.items())
        )
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert nginx is not None
        globals_ = f"daemon off; user root; pid {tmp_path}/nginx.pid;"
        files = ("-c", str(COMPOSE / "nginx.conf"), "-e", str(tmp_path / "error.log"))
        passing = subprocess.Popen([*balancer.prefix, nginx, *files, "-g", globals_])
        stack.callback(passing.wait, PATIENCE_S)
        stack.callback(passing.terminate)
        assert services["hello"]["image"] in BASE
        service = built.start("hello", hello, *flags(services["hello"]), BASE, *services["hello"]["command"])
        stack.callback(service.popen.wait, PATIENCE_S)
        stack.callback(service.popen.kill)
        names = (f"--add-host=balancer:{balancer.address}", f"--add-host=hello:{hello.address}")
        place = network.namespace("agent", 20)
        agent = built.start("agent", place, *names, *flags(services["agent"]), IMAGE, *services["agent"]["command"])
        stack.callback(agent.await_stop)
        stack.callback(agent.ask_to_stop)
        agent.await_log("endpoint registered")
        wait_until(lambda: ask((hello.address, 3000), "/", client.connect) == 200, "the service answers")
        for node_place in places.values():
            wait_for_endpoint(client, node_place.address)
        page = (COMPOSE / "hello" / "index.html").read_bytes()
        for _ in range(6):
            head, body = get(client, balancer.address, "hello")
            assert (head.status, body) == (200, page)
        assert ask((balancer.address, 8002), "/ready", client.connect) == 200
        assert ask((place.address, 8004), "/ready", client.connect) == 200
        for name in NODES:
            check = services[name]["healthcheck"]["test"]
            assert check[:3] == ["CMD", "python", "-c"]
            built.inside(name, check[3])
            shown = built.run("exec", name, "pico", "server", "status", "cluster", "nodes")
            assert all(each in shown for each in NODES)
