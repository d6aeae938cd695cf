"""Kubernetes manifests as tests look at them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def load(path: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[dict[str, str], Manifest]]:
    """Yield labels and specification of each kind of pod that the manifests make."""
    for each in of_kind(manifests, "StatefulSet", "Deployment"):
        yield each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"]
    for each in of_kind(manifests, "Pod"):
        yield each["metadata"]["labels"], each["spec"]


def chosen(manifests: list[Manifest], labels: dict[str, str]) -> list[Manifest]:
    """Return the pods that a selector chooses."""
    return [pod for own, pod in pods(manifests) if labels.items() <= own.items()]


def port_names(pod: Manifest) -> dict[str, tuple[int, str]]:
    """Return number and protocol of every port of a pod by its name."""
    ports = [port for container in pod["containers"] for port in container.get("ports", ())]
    return {port["name"]: (port["containerPort"], port.get("protocol", "TCP")) for port in ports}
