"""The cluster of the chart, played as the page's is: its arguments, file and name in the DNS; pods are replaced."""

from pathlib import Path

import pytest

from tests.cluster.manifest import Manifests
from tests.cluster.network import Network
from tests.cluster.pods import REQUESTS, pods_of, roll
from tests.deploy.manifests import load
from tests.deploy.render import GOLDEN

pytestmark = [pytest.mark.namespaces, pytest.mark.debian, pytest.mark.slow]


def test_pods_find_each_other_and_are_replaced(network: Network, tmp_path: Path) -> None:
    manifests = Manifests(load(GOLDEN / "default.yaml"))
    with pods_of(manifests, "uvloop", network, tmp_path) as pods:
        pods.scale(manifests.replicas)
        pods.cluster.await_whole()
        roll(pods, 1, REQUESTS)
