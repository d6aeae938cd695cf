"""Common programs: curl through a server and an agent to nginx."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import LOCAL, MIB, Fleet
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.debian

HUGE_BYTES = 100 * MIB

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    client_max_body_size 200m;
    keepalive_requests 100000;
    server {{
        listen {host}:{port};
        location /files/ {{
            alias {root}/files/;
            dav_methods PUT DELETE;
        }}
        location /small-only/ {{
            client_max_body_size 1k;
            dav_methods PUT;
            alias {root}/files/;
        }}
    }}
}}
"""


class Nginx:
    """nginx with a folder that can be read, written and deleted from, all below a path of the test's own."""

    def __init__(self, root: Path, port: int) -> None:
        self.files = root / "files"
        self.files.mkdir(parents=True)
        self.port = port
        # Workers of another user could not read the test's folder.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = root / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(root=root, host=LOCAL, port=port, user=user))
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None
        self.popen = subprocess.Popen([program, "-c", str(configuration), "-e", str(root / "error.log")])
        wait_until(lambda: (root / "nginx.pid").exists(), "nginx is up")

    def close(self) -> None:
        self.popen.terminate()
        self.popen.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with reserved_port() as port:  # nginx cannot say which port the kernel chose for it
        running = Nginx(tmp_path_factory.mktemp("nginx"), port)
        yield running
        running.close()


@pytest.fixture(scope="module")
def shared_agent(shared_fleet: Fleet, shared_stack: Stack, nginx: Nginx) -> None:
    shared_fleet.agent(shared_stack.server, "nginx", nginx.port)


@pytest.fixture
def url(stack: Stack, shared_agent: None) -> str:
    return f"http://{LOCAL}:{stack.port}"


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "-sS", "--max-time", "60", "-H", "x-pico-endpoint: nginx", *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=90)


def checked(*arguments: str) -> bytes:
    done = curl("--fail", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_methods(url: str, nginx: Nginx, tmp_path: Path) -> None:
    (nginx.files / "a.txt").write_bytes(b"hello")
    assert checked(f"{url}/files/a.txt") == b"hello"
    assert b"\r\nContent-Length: 5\r\n" in checked("-I", f"{url}/files/a.txt")
    assert checked("-r", "1-3", f"{url}/files/a.txt") == b"ell"
    body = tmp_path / "body"
    body.write_bytes(b"new")
    assert checked("-T", str(body), f"{url}/files/b.txt", "-w", "%{http_code}") == b"201"
    assert (nginx.files / "b.txt").read_bytes() == b"new"
    assert checked("-X", "DELETE", f"{url}/files/b.txt", "-w", "%{http_code}") == b"204"
    assert not (nginx.files / "b.txt").exists()
    assert curl("-d", "x=1", f"{url}/files/a.txt", "-w", "%{http_code}", "-o", os.devnull).stdout == b"405"
    assert curl(f"{url}/files/none", "-w", "%{http_code}", "-o", os.devnull).stdout == b"404"


def test_http_1_0(url: str, nginx: Nginx) -> None:
    (nginx.files / "old.txt").write_bytes(b"hello")
    assert checked("--http1.0", f"{url}/files/old.txt") == b"hello"


@pytest.mark.parametrize("chunked", [False, True])
def test_huge_files(url: str, stack: Stack, nginx: Nginx, tmp_path: Path, chunked: bool) -> None:
    """Up and down again, with the same checksum, while server and agent stay small."""
    content = os.urandom(MIB) * (HUGE_BYTES // MIB)
    body = tmp_path / "body"
    body.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    del content
    for process in (stack.server.process, stack.agent):
        process.reset_peak()
    fields = ("-H", "Transfer-Encoding: chunked") if chunked else ()
    # Also with "Expect: 100-continue", which curl sends on its own for large bodies.
    checked("-T", str(body), *fields, f"{url}/files/huge")
    with (nginx.files / "huge").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    checked(f"{url}/files/huge", "-o", str(body))
    with body.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    for process in (stack.server.process, stack.agent):
        assert process.peak_bytes() < 80 * MIB
    (nginx.files / "huge").unlink()


def test_a_thousand_requests_over_one_connection(url: str, nginx: Nginx) -> None:
    (nginx.files / "a.txt").write_bytes(b"hello")
    output = checked(f"{url}/files/a.txt?[1-1000]", "-w", "%{num_connects} ")
    assert output == b"hello1 " + b"hello0 " * 999


def test_an_upload_that_is_refused_before_it_ends(url: str, nginx: Nginx, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(20 * MIB))
    done = curl("-T", str(body), f"{url}/small-only/x", "-w", "%{http_code}", "-o", os.devnull)
    assert done.stdout == b"413"
    done = curl("-T", str(body), f"{url}/small-only/x", "-H", "Expect:", "-w", "%{http_code}", "-o", os.devnull)
    assert done.stdout == b"413"


def test_an_error_of_picos_own(url: str) -> None:
    done = subprocess.run(
        ["curl", "-sS", "-i", "-H", "Host: unknown.pico.test", url], capture_output=True, check=True, timeout=60
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"\r\ncontent-type: application/json" in head.lower()
    told = json.loads(body)
    assert (told["error"], told["reason"]) == ("no available upstreams", "no-tunnel")
