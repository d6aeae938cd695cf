"""Whatever heads follow each other on a connection, remembering changes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head
from pico_core.http.recent import RequestReader
from tests.core.http.reading import outcome, plain

LIMITS = HeadLimits()

lines = st.one_of(
    st.builds(
        b"%b %b HTTP/1.%d\r\n".__mod__,
        st.tuples(
            st.sampled_from([b"GET", b"POST", b"CONNECT", b"TRACE", b"get", b"X" * 33]),
            st.sampled_from([b"/", b"/a?b", b"*", b"http://h/", b"/ ", b"/\x7f", b"/ HTTP/1.1\r\nX: /"]),
            st.integers(0, 2),
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


@given(st.lists(heads, min_size=2, max_size=6))
def test_a_sequence_of_heads(sequence: list[bytes]) -> None:
    reader = RequestReader(LIMITS)
    for head in sequence:
        expected = outcome(plain(parse_request_head, LIMITS), head)
        assert outcome(reader.read, head) == expected
        if not expected or isinstance(expected[0], int):
            return
