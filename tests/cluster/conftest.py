"""Clusters of real processes cost seconds each: a test makes the one it needs, on the runtimes its name is about."""

from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, loopback_cluster
from tests.cluster.network import Network, why_not
from tests.cluster.pods import IS_LONG

OTHERS = ("trio", "asyncio") if IS_LONG else ("trio",)


@pytest.fixture(params=["uvloop", *(pytest.param(each, marks=pytest.mark.runtimes) for each in OTHERS)])
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def three() -> Iterator[Cluster]:
    """Three nodes on loopback that stop at once: nothing that lags behind is before them."""
    with loopback_cluster("uvloop", 3, "--drain-delay", "0s") as cluster:
        yield cluster


@pytest.fixture
def network() -> Iterator[Network]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Network() as made:
        yield made
