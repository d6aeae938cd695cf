"""Every scenario runs on every runtime."""

from collections.abc import Iterator

import pytest

from tests.adapters.stage import Stage, staged
from tests.ports import reserved_port


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stage(runtime: str) -> Iterator[Stage]:
    with staged(runtime) as opened:
        yield opened


@pytest.fixture
def reserved() -> Iterator[int]:
    """A port that nothing but the test's own listener can get."""
    with reserved_port() as port:
        yield port
