"""The modules that a start of a server imports, and those that it leaves to the first connection that needs them."""

import json
import signal
import subprocess
import sys

from tests.ports import reserved_port

PROBE = """
import gc, sys, threading
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pico_core.server.node":
            print("during", gc.isenabled(), file=sys.stdout, flush=True)

sys.meta_path.insert(0, Watch())
from pico_tunnel.cli import main
code = main(sys.argv[1:])
print("after", gc.isenabled(), gc.get_freeze_count() > 0)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def test_a_start_imports_no_more_than_it_needs_and_collects_nothing_meanwhile() -> None:
    with reserved_port() as gossip:
        ports = {"proxy": 0, "upstream": 0, "admin": 0, "cluster.gossip": gossip}
        flags = [f"--{name}.bind-addr=127.0.0.1:{port}" for name, port in ports.items()]
        command = [sys.executable, "-c", PROBE, "server", *flags, "--drain-delay", "0s", "--runtime", "asyncio"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(json.loads(line)["message"] == "ready" for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=20)
        during, after, modules = told.splitlines()
    assert (during, after) == ("during False", "after True True")
    assert {"wsproto", "yaml", "difflib", "cryptography", "trio", "uvloop"} & set(modules.split()) == set()
