"""Any policy and any request: header fields are changed as the policy says, and the message stays one message."""

import re

from hypothesis import given
from hypothesis import strategies as st

from pico_core.config.policies import FieldsConfig, PolicyConfig, covers, user
from pico_core.http.message import HeadLimits, MessageError, RequestHead, split_fields
from pico_core.http.parsing import parse_request_head
from pico_core.http.writing import request_bytes
from pico_core.server.field_edits import FieldEdit
from pico_core.server.policies import Policies

NAMES = st.sampled_from(["Cookie", "x-env", "X_Env", "X-Env-2", "Server", "A", "Authorization", "Accept"])
VALUES = st.text("aB:_ -=,;\t\"'", max_size=12)
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=6)
ENDPOINTS = st.text("ab-", min_size=1, max_size=4)
RIGHT = re.compile(rb"(?i:basic) +YTpi")
"""The credentials of user ``a`` with password ``b`` (RFC 7617)."""
QUALIFIED = st.builds("{}{}".format, st.sampled_from(["", "a/", "ab/"]), ENDPOINTS)
"""Names inside the cluster, with a tenant or without."""
STARRED = st.builds("{}{}*".format, st.sampled_from(["", "a/", "ab/"]), st.one_of(ENDPOINTS, st.just("")))
PATTERNS = st.lists(st.one_of(QUALIFIED, STARRED), min_size=1, max_size=3)


def same(name: str) -> bytes:
    return name.lower().replace("_", "-").encode()


def check_refused(error: MessageError) -> None:
    assert error.status == 400
    assert error.reason


@given(LINES, st.lists(st.tuples(NAMES, VALUES.map(str.strip)), max_size=2), st.lists(NAMES, max_size=2))
def test_fields(lines: list[tuple[str, str]], added: list[tuple[str, str]], removed: list[str]) -> None:
    text = "".join(f"{name}:{value}\r\n" for name, value in lines)
    head = parse_request_head(f"PUT /x HTTP/1.1\r\nHost: a\r\n{text}Content-Length: 3\r\n\r\n".encode(), HeadLimits())
    edit = FieldEdit.of(FieldsConfig(add=tuple(f"{name}: {value}" for name, value in added), remove=tuple(removed)))
    edited = head if edit is None else edit.of_request(head)
    again = parse_request_head(request_bytes(edited, b""), HeadLimits())
    assert (again.method, again.target, again.host, again.content_length) == (b"PUT", b"/x", b"a", 3)
    gone = {same(name) for name in (*removed, *(name for name, _ in added))}
    kept = [(name, value) for name, value in split_fields(head.fields) if same(name.decode()) not in gone]
    assert split_fields(again.fields) == kept + [(name.lower().encode(), value.encode()) for name, value in added]


@given(st.lists(PATTERNS, max_size=4), st.lists(QUALIFIED, max_size=8))
def test_the_first_that_has_the_endpoint(policies: list[list[str]], endpoints: list[str]) -> None:
    table = Policies([PolicyConfig(endpoints=tuple(patterns), burst=0) for patterns in policies])
    for endpoint in endpoints * 2:
        first = next((each for each in policies if any(covers(pattern, endpoint) for pattern in each)), None)
        found = table.of(endpoint)
        assert (None if found is None else list(found.config.endpoints)) == first


@given(
    st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"Basic ", b"YTpi", b"=", b" ", b"basic"])), max_size=5)
)
def test_no_authorization_but_the_right_one_is_taken(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    policy = Policies([PolicyConfig(endpoints=("*",), basic_auth=(user("a:b"),))]).of("x")
    assert policy is not None
    try:
        head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: %b\r\n\r\n" % value, HeadLimits())
    except MessageError as error:
        check_refused(error)
        return
    found = RIGHT.fullmatch(value.partition(b"\r\n")[0].strip(b" \t"))
    assert policy.knows(head) == bool(found)
    assert policy.knows(head) == bool(found)  # the right ones are remembered


def test_a_head_without_fields() -> None:
    edit = FieldEdit.of(FieldsConfig(add=("A: b",)))
    assert edit is not None
    assert edit.of_request(RequestHead(b"GET", b"/", 1, b"", b"", True)).fields == b"A: b\r\n"
