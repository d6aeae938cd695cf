"""What an agent reads of the fields of a server's answer."""

import pytest

from pico_core.tunnel.agreement import URL, told


@pytest.mark.parametrize("size", [512, 513])
def test_a_longer_text_is_cut(size: int) -> None:
    assert told(((URL, b"x" * size),), URL) == "x" * 512
