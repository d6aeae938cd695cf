"""The cluster of the chart, played as the page's is: its arguments, file and name in the DNS; pods are replaced."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import test_page
from tests.cluster.network import Network, why_not
from tests.deploy.manifests import load, named
from tests.deploy.render import GOLDEN

pytestmark = [pytest.mark.namespaces, pytest.mark.debian, pytest.mark.slow]

REQUESTS = 1_000


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[test_page.Pods]:
    """Pods of the chart's default values, none of which runs yet."""
    manifests = load(GOLDEN / "default.yaml")
    stateful: dict[str, Any] = named(manifests, "StatefulSet", "pico")
    spec = stateful["spec"]["template"]["spec"]

    def arguments(folder: Path) -> tuple[str, ...]:
        (volume,) = spec["volumes"]
        (container,) = spec["containers"]
        (mount,) = container["volumeMounts"]
        for name, text in named(manifests, "ConfigMap", volume["configMap"]["name"])["data"].items():
            (folder / name).write_text(text)
        return tuple(each.replace(mount["mountPath"], str(folder)) for each in container["args"])

    assert stateful["spec"]["replicas"] == test_page.REPLICAS
    monkeypatch.setattr(test_page, "NAME", stateful["spec"]["serviceName"])
    monkeypatch.setattr(test_page, "documents", lambda: {"StatefulSet": stateful})
    monkeypatch.setattr(test_page, "pod_arguments", arguments)
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Network() as network, test_page.pods_of("uvloop", network, tmp_path) as made:
        yield made


def test_pods_find_each_other_and_are_replaced(pods: test_page.Pods) -> None:
    for index in range(test_page.REPLICAS):
        pods.start(index)
    pods.publish()
    pods.cluster.await_whole()
    test_page.roll(pods, 1, REQUESTS)
