"""Every scenario runs on every runtime; those that are not the default one make the group ``runtimes``.

One set of processes a runtime serves the tests that leave it as it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.harness import Fleet, Process, Server, fleet_of
from tests.e2e.hostile import GROWTH_BYTES, HEADER_TIMEOUT_S
from tests.e2e.origin import Origin
from tests.e2e.wire import request
from tests.runtimes import RUNTIMES
from tests.waiting import wait_until


@dataclass
class Stack:
    """A server and an agent whose endpoint ``origin`` leads to the origin of the test process."""

    server: Server
    agent: Process
    origin: Origin

    @property
    def port(self) -> int:
        return self.server.proxy_port


@pytest.fixture(scope="session", params=RUNTIMES)
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
    """Processes that several tests use; each test leaves them as they were."""
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


@pytest.fixture(scope="module")
def target(shared_fleet: Fleet, shared_origin: Origin) -> Stack:
    """A server with a short time limit for request heads."""
    server = shared_fleet.server("--proxy.http.read-header-timeout", f"{HEADER_TIMEOUT_S}s")
    agent = shared_fleet.agent(server, "origin", shared_origin.port)
    return Stack(server, agent, shared_origin)


@pytest.fixture
def victim(shared_fleet: Fleet, target: Stack, origin: Origin) -> Iterator[Stack]:
    """The server under attack. Afterwards it must still serve, and must have kept no connection and not have grown."""
    process = target.server.process
    assert request(target.port, "origin", "/describe")[0].status == 200
    resident_bytes, open_files = process.resident_bytes(), process.open_files()
    yield target
    shared_fleet.check()
    assert request(target.port, "origin", "/describe")[0].status == 200
    wait_until(lambda: process.open_files() <= open_files, "the connections of the attackers are closed")
    assert process.resident_bytes() - resident_bytes < GROWTH_BYTES
