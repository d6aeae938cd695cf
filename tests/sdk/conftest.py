"""Every scenario runs on every runtime."""

import pytest

from tests.sdk.kit import Kit


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def kit(request: pytest.FixtureRequest) -> Kit:
    return Kit(request.param)
