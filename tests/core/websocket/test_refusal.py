"""Fields of the answer that refuses a tunnel."""

import pytest

from pico_core.websocket.refusal import read_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"5", 5), (b" 5 ", 5), (b"999999999", 999_999_999), (b"1000000000", 0), (b"-5", 0), (b"", 0),
     (b"Fri, 31 Dec 1999 23:59:59 GMT", 0)],
)  # fmt: skip
def test_seconds_of_retry_after(value: bytes, seconds: int) -> None:
    assert read_retry_after([(b"server", b"7"), (b"retry-after", value)]) == seconds


def test_without_retry_after() -> None:
    assert read_retry_after([(b"server", b"7")]) == 0
