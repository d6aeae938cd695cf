"""The hardened manifests: what they must have, and a configuration that a start accepts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certificates import issue, write_authority

PATH = Path(__file__).parents[2] / "deploy" / "kubernetes" / "hardened.yaml"
SECRETS = {"tls": "pico-tls", "keys": "pico-keys"}
PICO = [sys.executable, "-m", "pico_tunnel"]


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(PATH.read_text()))


def the(documents: list[dict[str, Any]], kind: str, name: str = "pico") -> dict[str, Any]:
    (found,) = [each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture
def pod(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(the(documents, "StatefulSet")["spec"]["template"]["spec"])


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


def test_no_secret_is_in_the_file(documents: list[dict[str, Any]]) -> None:
    assert "Secret" not in {each["kind"] for each in documents}
    assert {each["metadata"]["namespace"] for each in documents} == {"pico"}


def test_pods_have_no_rights(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """The restricted profile of the Pod Security Standards, a root file system that is read-only, and no token."""
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 65532  # the user of the image
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    own = container["securityContext"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"]
    assert not own["privileged"]
    assert not pod["automountServiceAccountToken"]
    assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert "memory" in container["resources"]["limits"]


def test_secrets_are_files_that_the_pod_alone_reads(pod: dict[str, Any], container: dict[str, Any]) -> None:
    mounted = {each["name"]: each["secret"] for each in pod["volumes"] if "secret" in each}
    assert {name: each["secretName"] for name, each in mounted.items()} == SECRETS
    assert all(each["defaultMode"] == 0o440 for each in mounted.values())
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert [each["name"] for each in container["env"]] == ["POD_NAME"]


def test_probes_ask_the_admin_port(container: dict[str, Any]) -> None:
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "admin"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "admin"}


def test_each_port_is_reached_by_the_pods_that_need_it(documents: list[dict[str, Any]]) -> None:
    policy = the(documents, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (anybody,) = [rule for rule in policy["ingress"] if "from" not in rule]
    assert {each["port"] for each in anybody["ports"]} == {8000, 8001}
    gossip = [rule for rule in policy["ingress"] if any(each["port"] == 8003 for each in rule["ports"])]
    assert [rule["from"] for rule in gossip] == [[{"podSelector": {"matchLabels": {"app": "pico"}}}]]
    assert {each["port"] for each in the(documents, "Service", "pico-public")["spec"]["ports"]} == {443, 8001}
    labels = the(documents, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels


def test_the_configuration_is_accepted_and_leaves_nothing_open(
    documents: list[dict[str, Any]], container: dict[str, Any], tmp_path: Path
) -> None:
    """With the files that the comment of the manifests says how to make."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "keys").mkdir()
    files = issue(tmp_path, "pico.internal", "pico.example.com")
    shutil.copy(files.cert, tmp_path / "tls" / "tls.crt")
    shutil.copy(files.key, tmp_path / "tls" / "tls.key")
    shutil.copy(write_authority(tmp_path), tmp_path / "tls" / "ca.crt")
    subprocess.run([*PICO, "token", "key", str(tmp_path / "keys" / "token.key")], capture_output=True, check=True)
    made = subprocess.run([*PICO, "server", "key"], capture_output=True, text=True, check=True)
    (tmp_path / "keys" / "gossip.keys").write_text(made.stdout)
    text = the(documents, "ConfigMap", "pico-config")["data"]["server.yaml"]
    config = tmp_path / "server.yaml"
    config.write_text(text.replace("/secrets", str(tmp_path)))
    assert container["args"][1:3] == ["--config.path", "/config/server.yaml"]
    done = subprocess.run(
        [*PICO, "server", "check", "--config.path", str(config), "--config.expand-env"],
        capture_output=True, text=True, check=False, env={**os.environ, "POD_NAME": "pico-0"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    read = yaml.safe_load(text)
    assert all("auth" in read[port] for port in ("proxy", "upstream", "admin"))
    assert all("tls" in read[port] for port in ("proxy", "upstream"))
    assert read["cluster"]["gossip"]["keys_file"]
