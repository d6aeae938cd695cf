"""The memory of endpoints that have nothing to do."""

import subprocess
import sys

from pico_tunnel import sync
from tests.sdk.kit import Kit


def test_a_thousand_idle_endpoints_take_at_most_7_kib_each(kit: Kit) -> None:
    with sync.serve_node() as node:
        program = [sys.executable, "-m", "tests.sdk.idle_endpoints", kit.runtime, node.upstream_url]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True)
    print(done.stdout)
    assert int(done.stdout) <= 7 * 1024
