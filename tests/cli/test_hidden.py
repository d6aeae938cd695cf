"""A secret that was given in the place of something else is in no error text."""

import subprocess
import sys
from pathlib import Path

import pytest

from pico_driver.files import looks_secret
from pico_tunnel.cli import main

SECRET = "Zk3vT0qYw8LrX1nB7cJ5hD2mS9pG4aE6uF0iO-t_KyWbQxNVz"
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhIjoxfQ.c2lnbmF0dXJl"


@pytest.mark.parametrize("secret", [SECRET, TOKEN, "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0ISEhIQ=="])
@pytest.mark.parametrize(
    "arguments",
    [
        "token create --expires 1h --key",
        f"token inspect {TOKEN} --key",
        "token inspect --key /dev/null",
        "server check --proxy.auth.hmac-secret-key-file",
        "server check --cluster.gossip.keys-file",
        "server check --cluster.gossip.keys",
        "server check --proxy.tls.cert none.pem --proxy.tls.key",
        "doctor agent http e 3000 --connect.token-file",
        "doctor server --proxy.auth.ecdsa-public-key-file",
        "doctor server --proxy.auth.ecdsa-public-key",
        "doctor forward --connect.token-file",
        "explain e --server.token-file",
        "server status cluster nodes --server.token-file",
        "agent http e 3000",
        "server",
        "",
    ],
)
def test_it_is_not_shown(capsys: pytest.CaptureFixture[str], arguments: str, secret: str) -> None:
    assert main((*arguments.split(), secret)) != 0
    assert secret not in "".join(capsys.readouterr())


@pytest.mark.parametrize("flag", ["--connect.token:", "--connect.token", "-connect.token=", "connect.token="])
def test_it_is_not_shown_behind_a_flag(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main(("agent", "http", "e", "3000", flag + SECRET)) != 0
    assert SECRET not in "".join(capsys.readouterr())


def test_flags_are_not_in_the_list_of_processes() -> None:
    keys = [f"--cluster.gossip.keys={'%064x' % (1234567 + number)}" for number in range(2)]
    key_set = "--proxy.auth.jwks.endpoint=http://127.0.0.1:1/keys?key=canary"
    secret = f"--admin.auth.hmac-secret-key={SECRET}"
    addresses = [f"--{each}.bind-addr=127.0.0.1:0" for each in ("proxy", "upstream", "admin", "cluster.gossip")]
    command = [sys.executable, "-m", "pico_tunnel", "server", *addresses, *keys, key_set, secret]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "it has begun"
            shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        finally:
            process.kill()
    assert "http://127.0.0.1:1/keys?" in shown
    assert not any(each in shown for each in ("canary", SECRET, *(key.partition("=")[2] for key in keys)))


def test_credentials_in_a_url_that_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explain", f"http://user:{SECRET}@127.0.0.1/")) != 0
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize("path", ["pico.key", "/etc/pico/none.key", "./none", "keys/none.pem", "a-name_of_the.key"])
def test_names_of_files_are_shown(path: str) -> None:
    assert not looks_secret(path)


@pytest.mark.parametrize("text", [SECRET, TOKEN, "/" + SECRET, "a/" + SECRET, "-----BEGIN KEY-----\nx", "ab" * 32])
def test_what_looks_like_a_secret(text: str) -> None:
    assert looks_secret(text)
