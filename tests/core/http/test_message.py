"""Heads as records: fields are looked up, and a head is given another framing."""

from pico_core.http.message import field_values, split_fields
from pico_core.http.writing import response_bytes
from tests.core.http.heads import request, response


def test_fields_can_be_looked_up() -> None:
    fields = request(b"A: 1 ", b"a:2", b"B:", b"C: x:y").fields
    assert split_fields(fields) == [
        (b"host", b"h.example"),
        (b"a", b"1"),
        (b"a", b"2"),
        (b"b", b""),
        (b"c", b"x:y"),
    ]
    assert field_values(fields, b"a") == [b"1", b"2"]
    assert field_values(fields, b"d") == []


def test_a_body_may_come_until_the_end_and_leave_in_chunks_and_the_other_way_round() -> None:
    until_end, chunked = response(line=b"HTTP/1.0 200 OK"), response(b"Transfer-Encoding: chunked")
    assert response_bytes(until_end, b"") == b"HTTP/1.1 200 OK\r\n\r\n"
    assert response_bytes(chunked, b"") == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert response_bytes(until_end.with_chunks(chunked=True), b"") == response_bytes(chunked, b"")
    assert response_bytes(chunked.with_chunks(chunked=False), b"") == response_bytes(until_end, b"")


def test_a_head_that_has_the_framing_already_is_the_same_head() -> None:
    head = response(b"Transfer-Encoding: chunked")
    assert head.with_chunks(chunked=True) is head
