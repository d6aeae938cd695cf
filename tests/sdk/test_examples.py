"""The examples of the SDK run as they stand."""

import getpass
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_tunnel import sync
from tests.ports import reserved_port

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 60

FLEET = (
    "device-1 is well\n"
    "device-2 is well\n"
    "the server refuses endpoint 'device-1': 401 endpoint not permitted; "
    "the token is for other endpoints, or for another tenant: see 'pico token inspect'\n"
)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("tcp_listener", "HELLO FROM A PROGRAM WITHOUT A PORT\n"),
        ("asgi_app", "Hello 127.0.0.1, you asked for /world.\n"),
        ("webhook", "received: invoice paid\n204\n401\n"),
        ("events", "tick 1\ntick 2\ntick 3\ntick 4\ntick 5\n"),
        ("chat", "ann is here\nbob is here\nbob: hello, Ann\nbob has left\n"),
        ("fleet", FLEET),
        pytest.param(
            "fastapi_notes",
            "{'id': 1, 'text': 'milk'}\n{'id': 2, 'text': 'bread'}\n",
            marks=pytest.mark.frameworks,
        ),
    ],
)
def test_an_example_on_its_own(name: str, printed: str) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (ended.stdout, ended.stderr) == (printed, "")


def test_the_tests_that_call_themselves(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "test_calls_itself.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


def test_tokens_of_a_fleet_are_for_a_server_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key-" * 8)
    command = [sys.executable, str(EXAMPLES / "fleet.py"), str(tmp_path / "key"), "device-8"]
    name, token = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout.split()
    with sync.serve_node(settings={"upstream.auth.hmac_secret_key": "key-" * 8}) as node:
        with sync.connect(node.upstream_url, token=token) as client, client.listen(name) as listener:
            assert listener.is_registered


@pytest.fixture
def device() -> Iterator[tuple[sync.Node, str]]:
    """A node, and the port of a service that answers in capitals when the client has ended its side."""

    def serve() -> None:
        near, _ = listening.accept()
        with near:
            got = b"".join(iter(lambda: near.recv(65_536), b""))
            near.sendall(got.upper())

    with socket.create_server(("127.0.0.1", 0)) as listening, sync.serve_node() as node:
        thread = threading.Thread(target=serve)
        thread.start()
        yield node, f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(PATIENCE_S)


def offered(node: sync.Node, address: str) -> "subprocess.Popen[str]":
    """Start the device's side, and wait until it is reachable."""
    command = [sys.executable, str(EXAMPLES / "device_ssh.py"), "device", node.upstream_url, "device-7", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "device-7 is reachable\n"
    return process


def reaching(node: sync.Node, endpoint: str = "device-7") -> list[str]:
    return [sys.executable, str(EXAMPLES / "device_ssh.py"), "reach", node.proxy_url, endpoint]


def test_a_device_is_reached(device: tuple[sync.Node, str]) -> None:
    node, address = device
    with offered(node, address) as process:
        sent = "x" * 300_000
        ended = subprocess.run(
            reaching(node), input=sent, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, sent.upper(), "")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def test_a_device_that_is_away_is_told_in_one_line() -> None:
    with sync.serve_node() as node:
        ended = subprocess.run(
            reaching(node, "device-9"), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("device_ssh: endpoint 'device-9': ")


@pytest.mark.debian
def test_ssh_to_a_device(tmp_path: Path) -> None:
    sshd = shutil.which("sshd")
    assert sshd is not None, "the package openssh-server"
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)
    with reserved_port() as port, sync.serve_node() as node:
        options = {
            "AuthorizedKeysFile": tmp_path / "authorized",
            "HostKey": tmp_path / "host",
            "ListenAddress": f"127.0.0.1:{port}",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
        }
        command = [sshd, "-D", "-e", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        assert "listening" in server.stderr.readline()
        with offered(node, f"127.0.0.1:{port}") as process:
            client = {
                "IdentityFile": tmp_path / "user",
                "ProxyCommand": " ".join(reaching(node)),
                "StrictHostKeyChecking": "no",
                "UserKnownHostsFile": "/dev/null",
            }
            command = ["ssh", "-F", "/dev/null", *(f"-o{name}={value}" for name, value in client.items())]
            command += [f"{getpass.getuser()}@device-7", "echo reached; cat"]
            ended = subprocess.run(
                command, input="by ssh\n", capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
            assert (ended.returncode, ended.stdout) == (0, "reached\nby ssh\n"), ended.stderr
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        server.terminate()
        server.communicate(timeout=PATIENCE_S)
