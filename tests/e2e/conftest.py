"""Every scenario runs on every runtime. One set of processes a runtime serves the tests that leave it as it was."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.harness import Fleet, Process, Server, fleet_of
from tests.e2e.origin import Origin


@dataclass
class Stack:
    """A server and an agent whose endpoint ``origin`` leads to the origin of the test process."""

    server: Server
    agent: Process
    origin: Origin

    @property
    def port(self) -> int:
        return self.server.proxy_port


@pytest.fixture(scope="session", params=["uvloop", "asyncio", "trio"])
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture(scope="session")
def shared_origin() -> Iterator[Origin]:
    running = Origin()
    yield running
    running.close()


@pytest.fixture
def origin(shared_origin: Origin) -> Iterator[Origin]:
    yield shared_origin
    shared_origin.check()


@pytest.fixture(scope="session")
def shared_fleet(runtime: str) -> Iterator[Fleet]:
    """Processes that outlive a test: whatever uses them leaves them as they were."""
    with fleet_of(runtime) as running:
        yield running


@pytest.fixture(scope="session")
def shared_stack(shared_fleet: Fleet, shared_origin: Origin) -> Stack:
    server = shared_fleet.server()
    agent = shared_fleet.agent(server, "origin", shared_origin.port)
    return Stack(server, agent, shared_origin)


@pytest.fixture
def stack(shared_fleet: Fleet, shared_stack: Stack, origin: Origin) -> Iterator[Stack]:
    yield shared_stack
    shared_fleet.check()


@pytest.fixture
def fleet(runtime: str) -> Iterator[Fleet]:
    """Processes of this test alone."""
    with fleet_of(runtime) as running:
        yield running
