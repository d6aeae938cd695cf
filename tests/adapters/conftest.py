"""Every scenario runs on every runtime."""

from collections.abc import Iterator

import pytest

from tests.adapters.stage import Stage, staged


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stage(runtime: str) -> Iterator[Stage]:
    with staged(runtime) as opened:
        yield opened
