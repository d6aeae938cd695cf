"""Ports for servers that the tests of the command line start."""

import gc
from collections.abc import Iterator

import pytest

from tests.ports import reserved_port


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Let the collector see again what a command that ran in this process has taken out of its sight."""
    yield
    gc.unfreeze()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that nothing listens on."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def local_addresses(unused_port: int) -> list[str]:
    """Flags of a server on loopback, on ports that are free. Gossip wants the same one on TCP and UDP."""
    ports = {"proxy": 0, "upstream": 0, "admin": 0, "cluster.gossip": unused_port}
    return [f"--{name}.bind-addr=127.0.0.1:{port}" for name, port in ports.items()]
