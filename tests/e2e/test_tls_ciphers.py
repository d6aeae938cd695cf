"""Which cipher suites of TLS 1.2 a port takes, asked by another implementation."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.certificates import issue, write_authority
from tests.e2e.harness import LOCAL, Fleet

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl on the PATH")

TAKEN = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
REFUSED = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "AES128-GCM-SHA256",
    "AES256-SHA",
    "DHE-RSA-AES128-GCM-SHA256",
    "aNULL",
    "eNULL",
)


def agreed(port: int, *arguments: str) -> str:
    """Return what ``openssl s_client`` says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"{LOCAL}:{port}", *arguments]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_only_ephemeral_keys_and_authenticated_encryption(fleet: Fleet, tmp_path: Path) -> None:
    write_authority(tmp_path)
    files = issue(tmp_path, LOCAL)
    server = fleet.server("--proxy.tls.cert", files.cert, "--proxy.tls.key", files.key)
    for name in TAKEN:
        assert f"Cipher is {name}" in agreed(server.proxy_port, "-tls1_2", "-cipher", name)
    for name in REFUSED:
        said = agreed(server.proxy_port, "-tls1_2", "-cipher", f"{name}@SECLEVEL=0")
        assert "Cipher is (NONE)" in said or "Error with command" in said, said
    assert "Cipher is TLS_" in agreed(server.proxy_port, "-tls1_3")
    assert "No ALPN negotiated" in agreed(server.proxy_port, "-alpn", "h2")
    assert "ALPN protocol: http/1.1" in agreed(server.proxy_port, "-alpn", "h2,http/1.1")
