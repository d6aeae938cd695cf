"""The page's manifests, read as Kubernetes reads them."""

from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).parents[2] / "deploy" / "kubernetes" / "pico.yaml"


def documents() -> dict[str, dict[str, Any]]:
    """Return the manifests by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(PATH.read_text())}


def container() -> dict[str, Any]:
    """Return the one container of a pod."""
    (only,) = documents()["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def pod_arguments(folder: Path) -> tuple[str, ...]:
    """Write the mounted file into ``folder`` and return the container's arguments, with the folder as the mount."""
    (volume,) = documents()["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
    (mount,) = container()["volumeMounts"]
    assert (volume["name"], volume["configMap"]["name"]) == (
        mount["name"],
        documents()["ConfigMap"]["metadata"]["name"],
    )
    folder.mkdir(exist_ok=True)
    for item in volume["configMap"]["items"]:
        (folder / item["path"]).write_text(documents()["ConfigMap"]["data"][item["key"]])
    return tuple(each.replace(mount["mountPath"], str(folder)) for each in container()["args"])
