"""The hardened examples: units that systemd accepts, and configurations that a start accepts."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import issue

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
SANDBOX = ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "ProtectKernelModules", "DynamicUser")


def unit(name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # keys of units have a case
    parser.read(FOLDER / name)
    return dict(parser["Service"])


def credentials(name: str) -> list[str]:
    return [line for line in (FOLDER / name).read_text().splitlines() if line.startswith("LoadCredential=")]


@pytest.mark.parametrize("name", ["pico-server.service", "pico-agent.service"])
def test_a_unit_has_its_sandbox(name: str) -> None:
    service = unit(name)
    assert all(service[key] == "yes" for key in SANDBOX)
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize("name", ["server", "agent"])
def test_its_configuration_is_accepted(tmp_path: Path, name: str) -> None:
    """With files in the place of those that systemd gives to the service."""
    files = issue(tmp_path, "pico.example.com")
    shutil.copy(files.cert, tmp_path / "tls.crt")
    shutil.copy(files.key, tmp_path / "tls.key")
    (tmp_path / "token.key").write_text("key-" * 8)
    (tmp_path / "token").write_text("a.b.c")
    (tmp_path / "gossip.keys").write_text("0123456789abcdef" * 4)
    text = (FOLDER / f"{name}.yaml").read_text()
    assert f"/run/credentials/pico-{name}.service/" in text
    given = {each.partition("=")[2].partition(":")[0] for each in credentials(f"pico-{name}.service")}
    named = re.findall(rf"/run/credentials/pico-{name}\.service/(\S+)", text)
    assert set(named) == given, "systemd is given what the configuration names, and nothing else"
    config = tmp_path / f"{name}.yaml"
    config.write_text(text.replace(f"/run/credentials/pico-{name}.service", str(tmp_path)))
    if name == "server":
        command = ["server", "check", "--config.path", str(config)]
        done = subprocess.run(
            [sys.executable, "-m", "pico_tunnel", *command], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    else:
        from pico_core.config.agent import AgentConfig
        from pico_tunnel.start import read_config

        read = read_config(AgentConfig, {}, str(config))
        assert read.connect.url.is_secure
        assert read.connect.token_file is not None
