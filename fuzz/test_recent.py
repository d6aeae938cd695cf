"""Whatever heads follow each other on a connection, remembering changes nothing."""

from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pico_core.http.head import HeadLimits, HeadReader, MessageError, RequestHead, parse_request_head, request_bytes
from pico_core.http.recent import RequestReader

LIMITS = HeadLimits()

lines = st.one_of(
    st.builds(
        b"%b %b HTTP/1.%d\r\n".__mod__,
        st.tuples(
            st.sampled_from([b"GET", b"POST", b"CONNECT", b"TRACE", b"get", b"X" * 33]),
            st.sampled_from([b"/", b"/a?b", b"*", b"http://h/", b"/ ", b"/\x7f", b"/ HTTP/1.1\r\nX: /"]),
            st.integers(0, 1),
        ),
    ),
    st.binary(max_size=20),
)
fields = st.lists(
    st.sampled_from(
        [b"Host: h\r\n", b"Connection: close\r\n", b"X: y HTTP/1.1\r\n", b"Content-Length: 3\r\n", b"bad\r\n"]
    ),
    max_size=4,
).map(b"".join)
heads = st.builds(lambda line, rest: line + rest + b"\r\n", lines, fields)


def plain(data: bytes) -> tuple[RequestHead, bytes] | None:
    read = HeadReader(LIMITS).receive(data)
    return None if read is None else (parse_request_head(read[0], LIMITS), read[1])


def outcome(
    receive: Callable[[bytes], tuple[RequestHead, bytes] | None], data: bytes
) -> tuple[RequestHead, bytes, bytes] | tuple[int, str] | None:
    try:
        read = receive(data)
    except MessageError as error:
        return error.status, error.reason
    if read is None:
        return None
    head, rest = read
    written = request_bytes(head, b"")
    return msgspec.structs.replace(head, onward=b""), written, rest


@given(st.lists(heads, min_size=2, max_size=6))
def test_a_sequence_of_heads(sequence: list[bytes]) -> None:
    reader = RequestReader(LIMITS)
    for head in sequence:
        expected = outcome(plain, head)
        assert outcome(reader.read, head) == expected
        if not expected or isinstance(expected[0], int):
            return
