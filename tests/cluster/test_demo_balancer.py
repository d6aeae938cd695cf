"""The nginx of the compose demo before a cluster on loopback: a node restarts, and no request fails."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.harness import Address, ask, loopback_cluster
from tests.cluster.load import Load, echo_origin
from tests.e2e.harness import LOCAL
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.debian

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "compose" / "nginx.conf"


def nginx(folder: Path, addresses: dict[str, Address], ports: dict[int, int]) -> subprocess.Popen[bytes]:
    """Start nginx with the demo's file: other addresses of nodes, other ports to listen on, files in ``folder``."""
    text = CONFIGURATION.read_text()
    for name, (host, port) in addresses.items():
        assert name in text
        text = text.replace(f"server {name} ", f"server {host}:{port} ")
    for number, port in ports.items():
        text = text.replace(f"listen {number};", f"listen {LOCAL}:{port};")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    text = re.sub(r"^http {$", f"http {{ {temporary}", text, flags=re.MULTILINE)
    file.write_text(f"{user} daemon off; worker_processes 1; pid {folder}/nginx.pid;\n{text}")
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None
    return subprocess.Popen([program, "-c", str(file), "-e", str(folder / "error.log")])


def test_a_node_restarts_behind_the_demos_balancer(tmp_path: Path) -> None:
    with loopback_cluster("uvloop", 3, "--drain-delay", "1s") as cluster, echo_origin() as (origin, path):
        addresses = {}
        for number, node in enumerate(cluster.nodes, 1):
            for port, address in ((8000, node.place.proxy), (8001, node.place.upstream), (8002, node.place.admin)):
                addresses[f"pico-{number}:{port}"] = address
        ports = {number: cluster.resources.enter_context(reserved_port()) for number in (8000, 8001, 8002)}
        running = nginx(tmp_path, addresses, ports)
        try:
            wait_until(lambda: ask((LOCAL, ports[8002]), "/ready") == 200, "the balancer passes on")
            for _ in range(2):
                cluster.agent((LOCAL, ports[8001]), "e1", (LOCAL, origin.port))
            cluster.await_upstreams(2)
            with Load("e1", path, [(LOCAL, ports[8000])]) as load:
                load.go_on(50)
                cluster.holder().restart()
                load.go_on(50)
            load.report("a restart behind nginx")
            load.check(100)
        finally:
            running.terminate()
            running.wait(PATIENCE_S)
