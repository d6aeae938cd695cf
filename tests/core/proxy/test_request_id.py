"""How often a request may come back as a client's."""

import pytest

from pico_core.http.message import MessageError
from pico_core.proxy.request_id import next_pass


def test_a_request_comes_back_sixteen_times() -> None:
    known = b"0123456789abcdef"
    for passes in range(1, 17):
        known = next_pass(known, b"fedcba9876543210")
        assert known == b"fedcba9876543210-%d" % passes
    with pytest.raises(MessageError) as caught:
        next_pass(known, b"fedcba9876543210")
    assert caught.value.status == 508
