"""The memory that an idle tunnel takes in the server: most agents only wait for requests, and there are thousands."""

import resource
import subprocess
import sys

import pytest

from tests.e2e.harness import LOCAL, Fleet

TUNNELS = 5000
MOST_BYTES = 6 * 1024

HELPER = f"""
import resource, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
tunnels = []
for number in range({TUNNELS}):
    tunnel = socket.create_connection(("{LOCAL}", int(sys.argv[1])))
    tunnel.sendall(
        b"GET /piko/v1/upstream/endpoint-%d HTTP/1.1\\r\\nHost: {LOCAL}\\r\\nUpgrade: websocket\\r\\n"
        b"Connection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
        % number
    )
    tunnels.append(tunnel)
for tunnel in tunnels:
    assert tunnel.recv(1000).startswith(b"HTTP/1.1 101 "), "no tunnel"
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_memory_of_an_idle_tunnel(fleet: Fleet) -> None:
    wanted = TUNNELS + 200
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < wanted:
        pytest.skip(f"needs {wanted} files open at once, {most} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))  # the server inherits it
    try:
        server = fleet.server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    before = server.process.resident_bytes()
    helper = subprocess.Popen(
        [sys.executable, "-c", HELPER, str(server.upstream_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert helper.stdin is not None
    assert helper.stdout is not None
    with helper.stdin, helper.stdout:
        assert helper.stdout.readline() == b"open\n"
        each = (server.process.resident_bytes() - before) / TUNNELS
        print(f"{fleet.runtime}: {each:.0f} bytes for each of {TUNNELS} idle tunnels")
        assert each < MOST_BYTES
    helper.wait()
    server.process.stop()
