"""The manifests of a cluster of servers, read as Kubernetes reads them."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Manifest, load, named

PATH = Path(__file__).parents[2] / "deploy" / "kubernetes" / "pico.yaml"


class Manifests:
    """A StatefulSet called ``pico``, its headless Service and its file."""

    def __init__(self, documents: list[Manifest]) -> None:
        self.documents = documents
        self._stateful: dict[str, Any] = named(documents, "StatefulSet", "pico")["spec"]

    @cached_property
    def service(self) -> Manifest:
        """The headless Service, by whose name the pods find each other."""
        return named(self.documents, "Service", self._stateful["serviceName"])

    @property
    def name(self) -> str:
        """The name in the DNS."""
        return str(self.service["metadata"]["name"])

    @property
    def replicas(self) -> int:
        return int(self._stateful["replicas"])

    @property
    def is_ordered(self) -> bool:
        """Whether a pod starts when the one before is ready, and stops when the one behind has ended."""
        return bool(self._stateful.get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    @property
    def pod(self) -> Manifest:
        return dict(self._stateful["template"]["spec"])

    @property
    def container(self) -> Manifest:
        """The one container of a pod."""
        (only,) = self.pod["containers"]
        return dict(only)

    @property
    def grace_s(self) -> int:
        """How long after SIGTERM a pod is killed."""
        return int(self.pod["terminationGracePeriodSeconds"])

    @property
    def has_probe(self) -> bool:
        """Whether a pod is ready when ``/ready`` says so; without a probe it is once its container runs."""
        probe = self.container.get("readinessProbe")
        assert probe is None or probe["httpGet"]["path"] == "/ready"
        return probe is not None

    @property
    def cpu(self) -> float:
        """How many cores a pod may use; what it asks for where there is no limit: other pods may use the rest."""
        resources = self.container["resources"]
        return _quantity(resources["limits"].get("cpu", resources["requests"]["cpu"]))

    @property
    def memory_bytes(self) -> int:
        return int(_quantity(self.container["resources"]["limits"]["memory"]))

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """Write the mounted file into ``folder`` and return the container's arguments, with the folder as the mount."""
        (volume,) = self.pod["volumes"]
        (mount,) = self.container["volumeMounts"]
        assert volume["name"] == mount["name"]
        data = named(self.documents, "ConfigMap", volume["configMap"]["name"])["data"]
        items = volume["configMap"].get("items") or [{"key": key, "path": key} for key in data]
        folder.mkdir(exist_ok=True)
        for item in items:
            (folder / item["path"]).write_text(data[item["key"]])
        return tuple(each.replace(mount["mountPath"], str(folder)) for each in self.container["args"])


def page() -> Manifests:
    """Return the manifests of the page."""
    return Manifests(load(PATH))


def _quantity(text: str) -> float:
    """Return a quantity as Kubernetes writes it: 250m, 1, 1Gi."""
    for suffix, factor in (("m", 1e-3), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
